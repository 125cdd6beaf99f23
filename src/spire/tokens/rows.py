"""Documents packed whole into rows of one length, an update at a time.

Guarantees: a document is in exactly one row, whole; no row is longer than its length; every update has the same number
of rows, and holds the oldest document in line. The rows follow from the lengths and their order alone.

How: a row takes documents in the order of the stream until two more will fill it, and then those two of all in line
that do it best. Longest first into the fullest row (`pack`) leaves 3 % of rows of 4,096 tokens empty where documents
are all 400 to 800 tokens long, as in MLS; choosing pairs leaves less than 0.1 % (docs/mixing.md). Concatenation with
cuts at the row's end wastes nothing, but splits a document in ten, and the second half of an answer or a transcript has
lost its question or its speech.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable

import numpy as np

from spire.errors import UserError

# So many documents more than an update holds are in line, so that its last rows can choose, too.
LOOKAHEAD = 512


def pack(lengths: list[int], length: int) -> list[list[int]]:
    """Rows of document numbers whose lengths sum to at most `length`: best fit, longest first.

    Raises UserError when a document is longer than `length`.

    >>> pack([3, 2, 2, 4, 1], 5)
    [[3, 4], [0, 1], [2]]
    """
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []
    for document in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        size = lengths[document]
        if size > length:
            raise UserError(
                f"a document of {size} tokens does not fit a row of {length}",
                hint="tokenize with a --window of no more than the rows' length",
            )
        at = bisect.bisect_left(free, (size, -1))
        room, row = free.pop(at) if at < len(free) else (length, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(document)
        bisect.insort(free, (room - size, row))
    return rows


class Packer:
    """Endless updates of `count` rows of `length` tokens from a stream of documents.

    Attribute waiting: (document, length, epoch) of those that were drawn and not yet packed, oldest first; with the
    position of the stream it is the whole state.
    """

    def __init__(self, length: int, count: int, lookahead: int = LOOKAHEAD):
        if length < 2 or count < 1:
            raise UserError("rows need at least 2 tokens each, and an update at least 1 row")
        self.length, self.count, self.lookahead = length, count, lookahead
        self.waiting: list[tuple[int, int, int]] = []

    def update(self, draw: Callable[[], tuple[int, int, int]]) -> list[list[tuple[int, int, int]]]:
        """Rows of the next update; `draw` gives the stream's next (document, length, epoch)."""
        total, enough = 0, 0
        while total <= self.length * self.count:
            if enough == len(self.waiting):
                self.waiting.append(draw())
            total += self.waiting[enough][1]
            enough += 1
        while len(self.waiting) < enough + self.lookahead:
            self.waiting.append(draw())
        pool = _Pool(self.waiting, self.length)
        rows = [pool.row() for _ in range(self.count)]
        self.waiting = pool.left()
        return rows


class _Pool:
    """Documents in line, found by age and by length."""

    def __init__(self, entries: list[tuple[int, int, int]], length: int):
        self.entries, self.length = entries, length
        self.taken = np.zeros(len(entries), bool)
        self.oldest = 0
        sizes = np.asarray([size for _, size, _ in entries])
        self.counts = np.bincount(sizes, minlength=length + 1)
        self.of_size: dict[int, deque[int]] = {}
        for i, size in enumerate(sizes.tolist()):
            self.of_size.setdefault(size, deque()).append(i)
        # Below this the row is ended by choice: two documents of the longer kind still fit.
        self.end = 2 * int(np.quantile(sizes, 0.9))

    def row(self) -> list[tuple[int, int, int]]:
        """The oldest documents that fit, then those that fill what is left best."""
        chosen, room, at = [], self.length, self.oldest
        while at < len(self.entries) and (room > self.end or not chosen):
            if not self.taken[at] and self.entries[at][1] <= room:
                room -= self._take(at, chosen)
            at += 1
        while room:
            last = self._best(room)
            if not last:
                break
            for size in last:
                room -= self._take(self._oldest_of(size), chosen)
        while self.oldest < len(self.entries) and self.taken[self.oldest]:
            self.oldest += 1
        return chosen

    def left(self) -> list[tuple[int, int, int]]:
        return [entry for entry, taken in zip(self.entries, self.taken.tolist(), strict=True) if not taken]

    def _best(self, room: int) -> tuple[int, ...]:
        """One or two lengths with the largest sum that is at most `room`; none when nothing fits."""
        counts = self.counts[: room + 1]
        present = np.flatnonzero(counts)
        if not len(present):
            return ()
        # below[x]: the largest length there is that is at most x, 0 for none
        below = np.zeros(room + 1, np.int64)
        below[present] = present
        below = np.maximum.accumulate(below)
        second = below[room - present]
        alone = (second == present) & (counts[present] < 2)
        second[alone] = below[present[alone] - 1]
        best = int(np.argmax(present + second))
        return (int(present[best]), int(second[best])) if second[best] else (int(present[best]),)

    def _oldest_of(self, size: int) -> int:
        line = self.of_size[size]
        while self.taken[line[0]]:
            line.popleft()
        return line.popleft()

    def _take(self, i: int, into: list[tuple[int, int, int]]) -> int:
        size = self.entries[i][1]
        self.taken[i] = True
        self.counts[size] -= 1
        into.append(self.entries[i])
        return size
