"""Parts of a corpus: `--shard i/n` is part i of n, counted from 1, contiguous; the n parts together are the corpus.

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
    """Part `part` of `parts`, 1 <= part <= parts; `Shard()` is everything."""

    part: int = 1
    parts: int = 1

    def __str__(self) -> str:
        return f"{self.part}/{self.parts}"

    def stem(self, name: str) -> str:
        """`name` for everything, else `name.00003-of-00128`: sorts in the order of the parts."""
        return name if self.parts == 1 else f"{name}.{self.part:05d}-of-{self.parts:05d}"

    def cut(self, pieces: int, weights: np.ndarray | None = None) -> tuple[int, int]:
        """First and last + 1 of this part of `pieces` pieces; `weights` [pieces] float64, >= 0."""
        first, last = (_boundary(end, self.parts, pieces, weights) for end in (self.part - 1, self.part))
        return first, last


def parse_shard(text: str) -> Shard:
    """`i/n` as on the command line; UserError for anything else, or when i is not one of 1..n."""
    match = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise UserError(f"--shard {text!r} is not i/n with i from 1 to n", hint="for example --shard 3/8")
    return Shard(part, parts)


def _boundary(end: int, parts: int, pieces: int, weights: np.ndarray | None) -> int:
    if end in (0, parts):
        return pieces if end else 0
    total = 0.0 if weights is None else float(weights.sum())
    if not total:
        return pieces * end // parts
    ends = np.cumsum(weights, dtype=np.float64)
    # A piece belongs to the part that its middle lies in.
    return int(np.searchsorted(ends - np.asarray(weights) / 2, total * end / parts))
