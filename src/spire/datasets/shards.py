"""Parts of a corpus: `--shard i/n` is the part i (from 0) of n, contiguous, and the n parts together are the corpus.

Where lengths are known the parts are cut to equal length, else to equal numbers. The cuts follow from the corpus and n
alone, so that every job of an array finds its own without asking the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from spire.errors import UserError


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, 0 <= index < count; `Shard()` is everything."""

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def stem(self, name: str) -> str:
        """`name` for everything, else `name.00003-of-00128`: sorts in the order of the parts."""
        return name if self.count == 1 else f"{name}.{self.index:05d}-of-{self.count:05d}"

    def cut(self, pieces: int, weights: np.ndarray | None = None) -> tuple[int, int]:
        """First and last + 1 of this part of `pieces` pieces; `weights` [pieces] float64, >= 0."""
        return _boundary(self.index, self.count, pieces, weights), _boundary(
            self.index + 1, self.count, pieces, weights
        )


def parse_shard(text: str) -> Shard:
    """`i/n` as on the command line; UserError for anything else, or when i is not one of 0..n-1."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match:
        raise UserError(f"--shard {text!r} is not i/n", hint="the first of eight parts is 0/8, the last 7/8")
    index, count = int(match[1]), int(match[2])
    if index >= count:
        raise UserError(f"--shard {text}: there is no such part", hint=f"parts of {count} are 0 to {max(count - 1, 0)}")
    return Shard(index, count)


def _boundary(index: int, count: int, pieces: int, weights: np.ndarray | None) -> int:
    if index in (0, count):
        return pieces if index else 0
    total = 0.0 if weights is None else float(weights.sum())
    if not total:
        return pieces * index // count
    ends = np.cumsum(weights, dtype=np.float64)
    # A piece belongs to the part that its middle lies in.
    return int(np.searchsorted(ends - np.asarray(weights) / 2, total * index / count))
