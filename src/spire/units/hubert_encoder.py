"""A layer of HuBERT or wav2vec 2.0 as an `Encoder`, exact under batching, in bounded memory.

An utterance's features follow from its own samples alone, bit for bit: see `hubert_cpu` and `hubert_cuda`.

Long audio: the waveform is normalized as a whole, then computed in chunks of 1,600,000 samples (100 s) as fairseq's
reader did (spirelm 3.1), except that each chunk reads on to the end of its last frame. So no frame is lost at a cut: T
is floor((N - 80) / 320) for any N, where fairseq's reader lost a frame a cut. Attention does not reach across cuts.
`label_stream` holds the features of a few chunks only; `stream` must hold those of the utterance that it returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import nn

from spire.errors import UserError
from spire.units.encoder import Encoder
from spire.units.hubert import load_hubert
from spire.units.hubert_cpu import CpuHubert
from spire.units.hubert_cuda import PackedHubert
from spire.units.kmeans import KMeans
from spire.units.placement import place
from spire.units.weights import digest

CHUNK = 1_600_000  # samples


def normalize_wav(wav: np.ndarray, eps: float | None = 1e-7) -> np.ndarray:
    """(x - mean) / sqrt(var + eps) over the utterance's own samples, float32; as it is with eps None. fairseq used eps
    1e-5: it matters for quiet recordings (5 % at an RMS of 0.01)."""
    wav = np.asarray(wav, dtype=np.float32)
    if eps is None or not len(wav):
        return wav
    return (wav - wav.mean()) / np.sqrt(wav.var() + np.float32(eps))


class HubertEncoder(Encoder):
    """Features after `layer` (1-based, no final norm) of the model in `folder`; `dim` is its hidden size.

    `threads` packs of utterances are computed at a time, each by one thread: they change the speed, never a bit.
    `device` and `dtype` as in `spire.units.placement`; `chunk` is in samples, rounded down to whole frames.
    """

    def __init__(
        self,
        folder: str | Path,
        layer: int,
        normalization: str = "none",
        smoothing: int = 0,
        eps: float | None = 1e-7,
        threads: int = 1,
        device: str = "cpu",
        dtype: str = "float32",
        chunk: int = CHUNK,
    ):
        super().__init__(normalization, smoothing)
        if layer < 1:
            raise UserError(f"{folder}: layer {layer} is not a layer", hint="--layer counts from 1")
        _, where, numbers = place(nn.Identity(), device, dtype)
        self.model = load_hubert(folder, layer)
        shape = self.shape = self.model.shape
        self.name, self.layer, self.eps, self.dim = shape.model_type, layer, eps, shape.hidden_size
        self.digest = digest(folder)
        self._hop = int(np.prod(shape.conv_stride))
        self.rate_hz = 16_000 / self._hop
        self._chunk = chunk // self._hop
        if self._chunk < 1:
            raise UserError(f"chunks of {chunk} samples are shorter than a frame", hint=f"at least {self._hop}")
        # Packs run beside each other, not threads within a product: that scales better and keeps the bits.
        torch.set_num_threads(1)
        self._threads = max(1, threads)
        if where.type == "cpu":
            self._engine: CpuHubert | PackedHubert = CpuHubert(self.model, numbers, release=True)
        else:
            self._engine = PackedHubert(self.model, where, numbers, release=True)

    def _raw_stream(self, wavs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        none = np.zeros((0, self.dim), np.float32)
        for parts in self._parts(wavs, self._engine.features):
            yield parts[0] if len(parts) == 1 else np.concatenate([none, *parts])

    def label_stream(self, wavs: Iterable[np.ndarray], kmeans: KMeans) -> Iterator[np.ndarray]:
        """The labels int32 [T] of each waveform, in input order; where `plain`, features never leave the device."""
        if not self.plain:
            yield from super().label_stream(wavs, kmeans)
            return
        kmeans.label(np.zeros((0, self.dim), np.float32))
        assigner = self._engine.assigner(kmeans.centroids)
        for parts in self._parts(wavs, lambda pieces: self._engine.labels(pieces, assigner)):
            yield np.concatenate([np.zeros(0, np.int32), *parts])

    def _parts(
        self, wavs: Iterable[np.ndarray], run: Callable[[list[np.ndarray]], list[np.ndarray]]
    ) -> Iterator[list[np.ndarray]]:
        """The results of each waveform's chunks, in input order."""
        counts: deque[int] = deque()
        ready: deque[np.ndarray] = deque()

        def pieces() -> Iterator[np.ndarray]:
            for wav in wavs:
                chunks = self._chunks(wav)
                counts.append(len(chunks))
                yield from chunks

        for results in self._run_packs(_packs(pieces(), self.shape.frames, self._engine.rows), run):
            ready.extend(results)
            while counts and counts[0] <= len(ready):
                yield [ready.popleft() for _ in range(counts.popleft())]
        for count in counts:
            yield [ready.popleft() for _ in range(count)]

    def _chunks(self, wav: np.ndarray) -> list[np.ndarray]:
        total = self.shape.frames(len(wav))
        wav = np.ascontiguousarray(normalize_wav(wav, self.eps))
        chunks = []
        for start in range(0, total, self._chunk):
            # Samples behind the last frame count in a GroupNorm over time.
            last = start + self._chunk >= total
            length = None if last else self.shape.samples(self._chunk)
            chunks.append(wav[start * self._hop :][:length])
        return chunks

    def _run_packs(
        self, packs: Iterator[list[np.ndarray]], run: Callable[[list[np.ndarray]], list[np.ndarray]]
    ) -> Iterator[list[np.ndarray]]:
        if self._threads == 1:
            yield from map(run, packs)
            return
        running: deque[Future] = deque()
        with ThreadPoolExecutor(self._threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                for pack in packs:
                    running.append(pool.submit(run, pack))
                    if len(running) > self._threads:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                for future in running:
                    future.cancel()


def _packs(pieces: Iterable[np.ndarray], frames: Callable[[int], int], most: int) -> Iterator[list[np.ndarray]]:
    """Successive pieces of at most `most` frames together; a longer one by itself."""
    pack: list[np.ndarray] = []
    held = 0
    for piece in pieces:
        count = frames(len(piece))
        if pack and held + count > most:
            yield pack
            pack, held = [], 0
        pack.append(piece)
        held += count
    if pack:
        yield pack
