"""A w2v-BERT 2.0 layer as an `Encoder`, exact under batching (see `windows`).

An utterance of N samples has floor(((N - 400) // 160 + 1) / 2) frames, 50 a second; below 560 samples there is none.
Mels are normalized over the whole utterance; one longer than 100 s is then computed in windows of 5,000 frames, the
last of which starts earlier so that it is full too. No frame is lost at a cut, but none is attended to across it.

Final norm: each conformer layer ends in a layer norm. "drop" gives the last kept layer's output before it, as published
units have it; "keep" gives `hidden_states[layer]` of transformers. Layers before the last one always keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from spire.errors import UserError
from spire.units.encoder import Encoder
from spire.units.logmel import stacked_fbank
from spire.units.placement import final_norm_of, place
from spire.units.w2v_bert import load_w2v_bert
from spire.units.weights import digest, read_preprocessor
from spire.units.windows import Window, cut, stream_windows

# One utterance keeps a CPU core busy; batches would only add padding. A GPU needs them.
BATCH_FRAMES = {"cpu": 0, "cuda": 30_000}  # frames of a batch, padding included; 0: one window at a time
BUCKET = 20  # frames: in batches, lengths are padded up to a multiple of this
WINDOW_FRAMES = 5000
FRONT_END = {"sampling_rate": (16_000,), "num_mel_bins": (80,), "stride": (2,)}
READ_AHEAD = 16_000_000  # input values waiting for company: 2,000 s


class W2vBertEncoder(Encoder):
    """Features after `layer` (1-based) of the w2v-BERT in `folder`; `dim` is its hidden size."""

    name = "wav2vec2-bert"

    def __init__(
        self,
        folder: str | Path,
        layer: int,
        normalization: str = "none",
        smoothing: int = 0,
        eps: float = 1e-7,
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
        model = load_w2v_bert(folder, layer)
        self.layer, self.eps, self.dim = layer, eps, model.shape.hidden_size
        self.set_final_norm(final_norm, final_norm_of(model.encoder.layers[-1].final_layer_norm))
        self.model, self._device, self._dtype = place(model, device, dtype)
        self._threads = max(1, threads) if self._device.type == "cpu" else 1
        self._batch_frames = BATCH_FRAMES.get(self._device.type, 0)
        self.digest = digest(folder)

    def _raw_stream(self, wavs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        none = np.zeros((0, self.dim), np.float32)
        for parts in stream_windows(wavs, self._windows, self._rows, self._batch, READ_AHEAD, self._threads):
            yield np.concatenate(parts) if parts else none

    def _windows(self, wav: np.ndarray) -> list[Window]:
        mels = stacked_fbank(wav, self.eps)
        multiple = BUCKET if self._batch_frames else 1
        return [
            Window(-(-(stop - start) // multiple) * multiple, mels[start:stop], first, stop - start)
            for start, stop, first in cut(len(mels), WINDOW_FRAMES)
        ]

    def _rows(self, bucket: int) -> int:
        return max(1, self._batch_frames // bucket)

    @torch.inference_mode()
    def _batch(self, bucket: int, values: list[np.ndarray]) -> np.ndarray:
        rows = self._rows(bucket)
        mels = np.zeros((rows, bucket, values[0].shape[1]), np.float32)
        valid = torch.ones(rows, bucket, dtype=torch.bool)
        for row, frames in enumerate(values):
            mels[row, : len(frames)] = frames
            valid[row, len(frames) :] = False
        placed = torch.from_numpy(mels).to(self._device, self._dtype)
        return self.model(placed, valid.to(self._device)).float().cpu().numpy()
