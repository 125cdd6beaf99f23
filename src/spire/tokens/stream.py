"""Batches of packed rows for the training loop: `spire.training.engine.Source` over tokenized corpora.

Guarantees: in each epoch every chosen document is used exactly once (the last few may come in the first update of the
next epoch); blocks are spread evenly over it; after `restore` the same batches follow bit for bit. Batches follow from
the corpus, the seed and the rows' number and length, not from processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spire.errors import UserError
from spire.tokens.mix import Selection
from spire.tokens.rows import LOOKAHEAD, Packer
from spire.training.data import Batch, order


@dataclass
class PackedBatch(Batch):
    """Documents laid end to end, row by row; `ids` and the like have room for all rows, the filler at the end.

    Attribute rows: numbers of the documents (places in `starts`) of each row; those of a row sum to at most the rows'
    length. Attention must stay within documents: borders are in `starts`.
    """

    rows: list[list[int]] = field(default_factory=list)


class PackedStream:
    """See `engine.Source`: `rows` rows of `length` tokens an update."""

    def __init__(self, selection: Selection, length: int, rows: int, seed: int):
        longest = int(selection.lengths.max())
        if longest > length:
            raise UserError(
                f"{selection.path} has a document of {longest} tokens, longer than rows of {length}",
                hint=f"corpus_tokenize.py --window {length}, or --sequence-length {longest}",
            )
        self.selection, self.length, self.rows, self.seed = selection, length, rows, seed
        self.blocks = selection.blocks
        self.restore({"epoch": 0, "position": 0, "waiting": []})

    def __next__(self) -> PackedBatch:
        return self._assembled(self._packer.update(self._draw))

    def identity(self) -> dict:
        return {
            "corpus": self.selection.digest,
            "blocks": self.blocks,
            "rows": self.rows,
            "length": self.length,
            "seed": self.seed,
        }

    def state(self) -> dict:
        return {"epoch": self._epoch, "position": self._position, "waiting": [list(w) for w in self._packer.waiting]}

    def restore(self, state: dict) -> None:
        # A small corpus is not drawn out of its order by a long line.
        self._packer = Packer(self.length, self.rows, min(LOOKAHEAD, len(self.selection) // 16))
        self._packer.waiting.extend(tuple(w) for w in state["waiting"])
        self._epoch, self._position = state["epoch"], state["position"]
        self._order = order(self.selection, self.seed, self._epoch)

    def _draw(self) -> tuple[int, int, int]:
        if self._position == len(self._order):
            self._epoch, self._position = self._epoch + 1, 0
            self._order = order(self.selection, self.seed, self._epoch)
        document = int(self._order[self._position])
        self._position += 1
        return document, int(self.selection.lengths[document]), self._epoch

    def _assembled(self, packed: list[list[tuple[int, int, int]]]) -> PackedBatch:
        size = self.length * self.rows
        ids, positions = np.zeros(size, np.int64), np.zeros(size, np.int64)
        kinds, blocks = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        starts, rows = [0], []
        for row in packed:
            rows.append(list(range(len(starts) - 1, len(starts) - 1 + len(row))))
            for document, length, _ in row:
                at = slice(starts[-1], starts[-1] + length)
                ids[at], kinds[at] = self.selection.document(document)
                positions[at] = np.arange(length)
                blocks[at] = self.selection.block_of[document]
                starts.append(at.stop)
        epoch = max(epoch for row in packed for _, _, epoch in row)
        return PackedBatch(ids, positions, kinds, blocks, starts, epoch, rows)
