"""Documents packed whole into rows of one length, an update at a time.

Guarantees: a document is in exactly one row, whole; no row is longer than its length; every update has the same number
of rows; a document that does not fit into its update comes first in the next. The rows follow from the lengths and
their order alone.

Why best fit with a lookahead: documents of speech language models are short against 4,096 tokens. Those of an update,
put longest first into the fullest row that has room, leave holes in the last rows only, and the next documents in line
fill these. `scripts/corpus_report.py` measures the waste of a corpus; docs/mixing.md has figures. Concatenation with
cuts at the row's end wastes nothing, but cuts a document in most rows, and the second half of an answer or a transcript
has lost its question or its speech.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable

from spire.errors import UserError

# How many documents in line are tried for the holes of an update.
LOOKAHEAD = 256


class _Rows:
    """Rows that are being filled; at most `count` of them (0: any number)."""

    def __init__(self, length: int, count: int = 0):
        self.length, self.count = length, count
        self.rows: list[list[int]] = []
        self.free: list[tuple[int, int]] = []

    def put(self, document: int, size: int) -> bool:
        """Into the row that it fills best; False when there is none."""
        at = bisect.bisect_left(self.free, (size, -1))
        if at < len(self.free):
            room, row = self.free.pop(at)
        elif self.count and len(self.rows) == self.count:
            return False
        else:
            room, row = self.length, len(self.rows)
            self.rows.append([])
        self.rows[row].append(document)
        bisect.insort(self.free, (room - size, row))
        return True

    @property
    def largest_hole(self) -> int:
        """Tokens of the widest room that is left."""
        return self.length if len(self.rows) < self.count else self.free[-1][0] if self.free else 0


def pack(lengths: list[int], length: int) -> list[list[int]]:
    """Rows of document numbers whose lengths sum to at most `length`: best fit, longest first.

    Raises UserError when a document is longer than `length`.

    >>> pack([3, 2, 2, 4, 1], 5)
    [[3, 4], [0, 1], [2]]
    """
    rows = _Rows(length)
    for document in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if lengths[document] > length:
            raise UserError(
                f"a document of {lengths[document]} tokens does not fit a row of {length}",
                hint="tokenize with a --window of no more than the rows' length",
            )
        rows.put(document, lengths[document])
    return rows.rows


class Packer:
    """Endless updates of `count` rows of `length` tokens from a stream of documents.

    Attribute waiting: (document, length, epoch) of those that were drawn and not yet packed; with the position of the
    stream it is the whole state.
    """

    def __init__(self, length: int, count: int):
        if length < 2 or count < 1:
            raise UserError("rows need at least 2 tokens each, and an update at least 1 row")
        self.length, self.count = length, count
        self.waiting: deque[tuple[int, int, int]] = deque()

    def update(self, draw: Callable[[], tuple[int, int, int]]) -> list[list[tuple[int, int, int]]]:
        """Rows of the next update; `draw` gives the stream's next (document, length, epoch)."""
        late = len(self.waiting)
        chosen: list[tuple[int, int, int]] = []
        total, capacity = 0, self.length * self.count

        def next_document() -> tuple[int, int, int]:
            if self.waiting:
                return self.waiting.popleft()
            return draw()

        while True:
            entry = next_document()
            if total + entry[1] > capacity:
                self.waiting.appendleft(entry)
                break
            chosen.append(entry)
            total += entry[1]
        rows = _Rows(self.length, self.count)
        # Those that did not fit last time go first, so that nothing waits for ever.
        order = sorted(range(len(chosen)), key=lambda i: (i >= late, -chosen[i][1], i))
        left = [chosen[i] for i in sorted(i for i in order if not rows.put(i, chosen[i][1]))]
        # `left` and the documents in line fill the holes; what does not fit keeps its place in the line.
        line, tried = deque(left), 0
        passed: list[tuple[int, int, int]] = []
        while tried < LOOKAHEAD and rows.largest_hole:
            entry = line.popleft() if line else next_document()
            chosen.append(entry)
            if not rows.put(len(chosen) - 1, entry[1]):
                passed.append(chosen.pop())
            tried += 1
        self.waiting.extendleft(reversed([*passed, *line]))
        return [[chosen[i] for i in row] for row in rows.rows]
