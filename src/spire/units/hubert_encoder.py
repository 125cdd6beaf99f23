"""A HuBERT layer as an `Encoder`, exact under batching.

Every batch has a shape that follows from the length of its utterances alone (padded to a multiple of 20 frames, a fixed
number of rows for that length, missing rows filled with silence). Matrix products of one shape round alike, so an
utterance's features come out bit for bit the same alone, in company, and in any order.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from spire.errors import UserError
from spire.units.encoder import Encoder
from spire.units.hubert import load_hubert

BUCKET = 20  # frames: lengths are padded up to a multiple of this
BATCH_FRAMES = 1600  # frames of a batch, padding included; what fits into the second-level cache, roughly
READ_AHEAD = 2000 * 16_000  # samples waiting for company before batches are filled up with silence


def normalize_wav(wav: np.ndarray, eps: float = 1e-7) -> np.ndarray:
    """(x - mean) / sqrt(var + eps) over the utterance's own samples, float32. fairseq used eps 1e-5: it matters
    for quiet recordings (5 % at an RMS of 0.01)."""
    wav = np.asarray(wav, dtype=np.float32)
    if not len(wav):
        return wav
    return (wav - wav.mean()) / np.sqrt(wav.var() + np.float32(eps))


class HubertEncoder(Encoder):
    """Features after `layer` (1-based, no final norm) of the HuBERT in `folder`; `dim` is its hidden size."""

    name = "hubert"

    def __init__(
        self,
        folder: str | Path,
        layer: int,
        normalization: str = "none",
        smoothing: int = 0,
        eps: float = 1e-7,
        threads: int = 1,
    ):
        super().__init__(normalization, smoothing)
        if layer < 1:
            raise UserError(f"{folder}: layer {layer} is not a layer", hint="--layer counts from 1")
        torch.set_num_threads(threads)
        self.model = load_hubert(folder, layer)
        self.layer, self.eps = layer, eps
        self.dim = self.model.shape.hidden_size
        with open(Path(folder) / "model.safetensors", "rb") as weights:
            self.digest = hashlib.file_digest(weights, "sha256").hexdigest()[:16]
        self.rate_hz = 16_000 / float(np.prod(self.model.shape.conv_stride))
        # GroupNorm averages over time: padding would change every frame.
        self._padding = self.model.shape.feat_extract_norm == "layer"

    def _raw_stream(self, wavs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        waiting: dict[int, list[tuple[int, np.ndarray, int]]] = {}  # bucket -> (position, samples, frames)
        done: dict[int, np.ndarray] = {}
        order: deque[int] = deque()
        held = 0
        for position, wav in enumerate(wavs):
            order.append(position)
            frames = self.model.shape.frames(len(wav))
            if not frames:
                done[position] = np.zeros((0, self.dim), np.float32)
            else:
                bucket = -(-frames // BUCKET) * BUCKET if self._padding else frames
                waiting.setdefault(bucket, []).append((position, normalize_wav(wav, self.eps), frames))
                held += len(wav)
                if len(waiting[bucket]) == self._rows(bucket):
                    held -= sum(len(samples) for _, samples, _ in waiting[bucket])
                    done.update(self._batch(bucket, waiting.pop(bucket)))
            if held > READ_AHEAD:
                for bucket in sorted(waiting):
                    done.update(self._batch(bucket, waiting[bucket]))
                waiting, held = {}, 0
            while order and order[0] in done:
                yield done.pop(order.popleft())
        for bucket in sorted(waiting):
            done.update(self._batch(bucket, waiting[bucket]))
        for position in order:
            yield done.pop(position)

    def _rows(self, bucket: int) -> int:
        return max(1, BATCH_FRAMES // bucket) if self._padding else 1

    @torch.inference_mode()
    def _batch(self, bucket: int, items: list[tuple[int, np.ndarray, int]]) -> Iterator[tuple[int, np.ndarray]]:
        rows = self._rows(bucket)
        samples = self.model.shape.samples(bucket) if self._padding else len(items[0][1])
        wav = np.zeros((rows, samples), np.float32)
        valid = torch.ones(rows, bucket, dtype=torch.bool)
        for row, (_, values, frames) in enumerate(items):
            # Samples behind the last whole frame reach no frame of the bucket.
            kept = min(len(values), samples)
            wav[row, :kept] = values[:kept]
            valid[row, frames:] = False
        hidden = self.model.layer(
            self.model.frames(torch.from_numpy(wav))[:, :bucket], self.layer, valid if self._padding else None
        ).numpy()
        for row, (position, _, frames) in enumerate(items):
            yield position, hidden[row, :frames].copy()
