"""Frames of several corpora with weights, cut into blocks: batch t is a function of the seed and t alone.

A block is a run of consecutive frames of one corpus; blocks set aside for measuring are never trained on. In a corpus,
epoch e visits all training blocks in an order drawn from (seed, corpus, e). Of each batch, corpus c has its weight's
share, exact to a block over any stretch of batches. Nothing is remembered between batches: training can stop after any
and go on with the next, and neither shards nor parts of a corpus on disk change anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from spire.errors import UserError

_ORDER, _ASIDE, _START = 1, 2, 3  # streams of random numbers, kept apart


class Frames(Protocol):
    """Rows that can be read anywhere: a feature folder or an array."""

    rows: int
    dim: int
    fingerprint: str

    def read(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start, dim]"""
        ...


class ArrayFrames:
    """An array [rows, dim] in memory as `Frames`."""

    def __init__(self, array: np.ndarray, fingerprint: str = ""):
        self.array = np.ascontiguousarray(array, dtype=np.float32)
        self.rows, self.dim = self.array.shape
        self.fingerprint = fingerprint

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.array[start:stop]


class Corpora:
    """Weighted corpora of equal dimension.

    `weights` are shares of the whole (any positive scale); by default a corpus weighs as much as it has frames.
    `aside` frames (about) are set aside for measuring, each corpus giving its share, at most a fifth of its blocks.
    Attributes: dim, rows (of all), weights (adding up to 1), train_rows (frames to train on).
    """

    def __init__(
        self,
        corpora: Sequence[Frames],
        weights: Sequence[float] | None = None,
        block: int = 100,
        aside: int = 0,
        seed: int = 42,
    ):
        if not corpora:
            raise UserError("no features to train on", hint="give --features or --manifest")
        if weights is None:
            weights = [float(c.rows) for c in corpora]
        if len(weights) != len(corpora):
            reason = f"{len(weights)} weights for {len(corpora)} corpora"
            raise UserError(reason, hint="--weights takes one number for each corpus, in their order")
        if not all(np.isfinite(w) and w > 0 for w in weights):
            raise UserError(f"weights {list(weights)} are not all positive", hint="leave out what should weigh nothing")
        if block < 1 or aside < 0:
            raise UserError(f"blocks of {block} frames, {aside} set aside", hint="--block is at least 1")
        if not all(c.rows for c in corpora):
            raise UserError("a corpus has no frame", hint="leave it out, or check its audio paths")
        dims = sorted({c.dim for c in corpora})
        if len(dims) > 1:
            raise UserError(f"corpora have frames of {dims} dimensions", hint="use one encoder and layer for all")
        self.corpora, self.block, self.seed, self.dim = list(corpora), block, seed, dims[0]
        self.weights = [float(w) / sum(weights) for w in weights]
        self.rows = sum(c.rows for c in corpora)
        self._train: list[np.ndarray] = []
        self._aside: list[np.ndarray] = []
        for number, corpus in enumerate(self.corpora):
            blocks = -(-corpus.rows // block)
            count = min(round(aside * self.weights[number] / block), blocks // 5)
            order = np.random.default_rng([seed, _ASIDE, number]).permutation(blocks)
            self._aside.append(np.sort(order[:count]))
            self._train.append(np.sort(order[count:]))
        self.train_rows = sum(self._rows_of(c, ids) for c, ids in enumerate(self._train))
        self._epoch = lru_cache(maxsize=2 * len(self.corpora))(self._permuted)

    @property
    def fingerprint(self) -> list:
        """What a checkpoint must agree with (JSON)."""
        return [
            [[c.rows, c.dim, c.fingerprint] for c in self.corpora],
            self.weights,
            self.block,
            [len(ids) for ids in self._aside],
            self.seed,
        ]

    def _rows_of(self, corpus: int, blocks: np.ndarray) -> int:
        rows = self.corpora[corpus].rows
        return int(np.minimum((blocks + 1) * self.block, rows).sum() - (blocks * self.block).sum())

    def _permuted(self, corpus: int, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, _ORDER, corpus, epoch])
        return self._train[corpus][rng.permutation(len(self._train[corpus]))]

    def _read(self, corpus: int, blocks: np.ndarray) -> list[np.ndarray]:
        """The frames of blocks; neighbours are read in one go."""
        frames, parts = self.corpora[corpus], []
        runs = np.split(blocks, np.flatnonzero(np.diff(blocks) != 1) + 1) if len(blocks) else []
        for run in runs:
            start, stop = int(run[0]) * self.block, min((int(run[-1]) + 1) * self.block, frames.rows)
            parts.append(frames.read(start, stop))
        return parts

    def batch(self, step: int, rows: int) -> np.ndarray:
        """About `rows` frames [n, dim]: batch `step` of the sequence of batches of this size; never empty."""
        wanted = max(rows / self.block, 1.0)
        parts: list[np.ndarray] = []
        for number, weight in enumerate(self.weights):
            first, stop = int(wanted * weight * step), int(wanted * weight * (step + 1))
            blocks = len(self._train[number])
            drawn = [self._epoch(number, k // blocks)[k % blocks] for k in range(first, stop)]
            parts += self._read(number, np.array(drawn, np.int64))
        if not parts:  # weights below a block each
            heaviest = int(np.argmax(self.weights))
            blocks = len(self._train[heaviest])
            parts = self._read(heaviest, self._epoch(heaviest, step // blocks)[[step % blocks]])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def training(self, rows: int, first: int = 0) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """All training frames in corpus order, `rows` at a time (the last fewer): (position, frames [n, dim], weights
        [n] float64). Weights add up to 1 over all. `first` skips frames that came before, a multiple of `rows`."""
        position, held, held_weights, count = 0, [], [], 0
        for number, blocks in enumerate(self._train):
            weight = self.weights[number] / max(self._rows_of(number, blocks), 1)
            step = max(1, rows // self.block)
            for start in range(0, len(blocks), step):
                chosen = blocks[start : start + step]
                size = self._rows_of(number, chosen)
                if position + count + size <= first:
                    position += size
                    continue
                frames = np.concatenate(self._read(number, chosen))
                skip = max(0, first - position - count)
                position += skip
                held.append(frames[skip:])
                held_weights.append(np.full(size - skip, weight))
                count += size - skip
                while count >= rows:
                    frames, weights = np.concatenate(held), np.concatenate(held_weights)
                    yield position, frames[:rows], weights[:rows]
                    position, count = position + rows, count - rows
                    held, held_weights = [frames[rows:]], [weights[rows:]]
        if count:
            yield position, np.concatenate(held), np.concatenate(held_weights)

    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """The frames set aside [n, dim] and their weights [n] float64, which add up to 1; n may be 0."""
        parts, weights = [], []
        for number, blocks in enumerate(self._aside):
            frames = self._read(number, blocks)
            parts += frames
            weights += [np.full(len(f), self.weights[number] / self._rows_of(number, blocks)) for f in frames]
        if not parts:
            return np.zeros((0, self.dim), np.float32), np.zeros(0)
        total = np.concatenate(weights)
        return np.concatenate(parts), total / total.sum()

    def sample(self, rows: int) -> np.ndarray:
        """At most about `rows` training frames [n, dim], each corpus giving its share; every block at most once."""
        parts: list[np.ndarray] = []
        for number, weight in enumerate(self.weights):
            ids = self._train[number]
            count = min(len(ids), max(1, round(rows * weight / self.block)))
            rng = np.random.default_rng([self.seed, _START, number])
            parts += self._read(number, np.sort(ids[rng.permutation(len(ids))[:count]]))
        return np.concatenate(parts)
