"""A shuffle that is computed, not stored: document i of an epoch's order, for any number of documents.

Guarantee: for n documents and one key, `shuffled(0) ... shuffled(n - 1)` are all of 0 ... n - 1, each once; another
epoch gives another order. It takes no memory and no work beforehand, so an epoch of hundreds of millions of documents
can be taken up at any place. (Four rounds of a Feistel network over the next power of four, walked until in range.)
"""

from __future__ import annotations

import numpy as np

_MASK = (1 << 64) - 1


class Shuffle:
    """The order of `count` documents that `key` (numbers, such as seed and epoch) gives."""

    def __init__(self, count: int, *key: int):
        self.count = count
        self._half = max(1, ((count - 1).bit_length() + 1) // 2)
        self._low = (1 << self._half) - 1
        self._keys = [int(k) for k in np.random.SeedSequence(key).generate_state(4, np.uint64)]

    def __getitem__(self, place: int) -> int:
        """The document at `place`; IndexError beyond the last."""
        if not 0 <= place < self.count:
            raise IndexError(place)
        place = self._once(place)
        while place >= self.count:
            place = self._once(place)
        return place

    def _once(self, number: int) -> int:
        left, right = number >> self._half, number & self._low
        for key in self._keys:
            left, right = right, left ^ (_mixed(right + key) & self._low)
        return left << self._half | right


def _mixed(number: int) -> int:
    """The finalizer of splitmix64: every bit of the result depends on every bit of `number`."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)
