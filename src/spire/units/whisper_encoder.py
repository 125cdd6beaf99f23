"""A layer of Whisper's encoder as an `Encoder`, exact under batching (see `windows`).

Whisper hears 30 s, filled up with silence (`max_source_positions` frames of 320 samples). An utterance of N >= 400
samples has ceil(N / 320) frames, those that touch its audio; a shorter one has none. Longer audio is computed in
windows of 30 s, the last of which starts earlier so that it is nearly full too; each has its own silence, loudest bin
and positions, as if it stood alone.

Final norm: "drop" gives the residual stream after `layer` (`hidden_states[layer]` of transformers, except at the last
layer), "keep" the encoder's `layer_norm` of it (`last_hidden_state`, at the last layer).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from spire.errors import UserError
from spire.units.encoder import Encoder
from spire.units.logmel import WINDOW, whisper_logmel
from spire.units.placement import final_norm_of, place
from spire.units.weights import digest, read_preprocessor
from spire.units.whisper import load_whisper
from spire.units.windows import Window, cut, stream_windows

SAMPLES = 320  # of one frame
ROWS = {"cpu": 1, "cuda": 16}  # windows of a batch: one keeps a CPU core busy
FRONT_END = {"sampling_rate": (16_000,), "hop_length": (160,), "n_fft": (400,)}
READ_AHEAD = 32_000_000  # input values waiting for company


class WhisperEncoder(Encoder):
    """Features after `layer` (1-based) of the Whisper in `folder`; `dim` is its width."""

    name = "whisper"

    def __init__(
        self,
        folder: str | Path,
        layer: int,
        normalization: str = "none",
        smoothing: int = 0,
        threads: int = 1,
        device: str = "cpu",
        dtype: str = "float32",
        final_norm: str = "drop",
    ):
        super().__init__(normalization, smoothing)
        if layer < 1:
            raise UserError(f"{folder}: layer {layer} is not a layer", hint="--layer counts from 1")
        read_preprocessor(folder, FRONT_END)
        torch.set_num_threads(1)
        model = load_whisper(folder, layer)
        self.layer, self.dim = layer, model.shape.d_model
        self.set_final_norm(final_norm, final_norm_of(model.layer_norm))
        self.model, self._device, self._dtype = place(model, device, dtype)
        self._threads = max(1, threads) if self._device.type == "cpu" else 1
        self._window_rows = ROWS.get(self._device.type, 1)
        self.digest = digest(folder)

    def _raw_stream(self, wavs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        none = np.zeros((0, self.dim), np.float32)
        for parts in stream_windows(
            wavs, self._windows, lambda _: self._window_rows, self._batch, READ_AHEAD, self._threads
        ):
            yield np.concatenate(parts) if parts else none

    def _windows(self, wav: np.ndarray) -> list[Window]:
        if len(wav) < WINDOW:
            return []
        size = self.model.shape.max_source_positions
        mels = self.model.shape.num_mel_bins
        return [
            Window(
                size, whisper_logmel(wav[start * SAMPLES : stop * SAMPLES], mels, size * SAMPLES), first, stop - start
            )
            for start, stop, first in cut(-(-len(wav) // SAMPLES), size)
        ]

    @torch.inference_mode()
    def _batch(self, bucket: int, values: list[np.ndarray]) -> np.ndarray:
        mels = np.zeros((self._window_rows, *values[0].shape), np.float32)
        mels[: len(values)] = values
        return self.model(torch.from_numpy(mels).to(self._device, self._dtype)).float().cpu().numpy()
