"""The native engine's source of batches: those of `data.batches`, with a position that can be saved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from spire.training.data import Batch, TokenCorpus, _assemble, order


class LineStream:
    """See `engine.Source`. Whole lines of a corpus, at most `tokens_per_step` tokens a batch (or one longer line).

    A position is the epoch and the place in its order where the next batch begins: to go there costs one shuffle.
    """

    def __init__(self, corpus: TokenCorpus, tokens_per_step: int, seed: int):
        self.corpus, self.tokens_per_step, self.seed = corpus, tokens_per_step, seed
        self.blocks = corpus.blocks
        self.restore({"epoch": 0, "line": 0})

    def __next__(self) -> Batch:
        batch, self._epoch, self._line = next(self._batches)
        return batch

    def _draw(self, epoch: int, line: int) -> Iterator[tuple[Batch, int, int]]:
        """(batch, epoch and place of the line after it)."""
        lengths = self.corpus.lengths()
        pending, size = [], 0
        while True:
            lines = order(self.corpus, self.seed, epoch)
            for place in range(line, len(lines)):
                chosen = int(lines[place])
                if pending and size + lengths[chosen] > self.tokens_per_step:
                    yield _assemble(self.corpus, pending, epoch, self.tokens_per_step), epoch, place
                    pending, size = [], 0
                pending.append(chosen)
                size += int(lengths[chosen])
            epoch, line = epoch + 1, 0

    def identity(self) -> dict:
        digest = hashlib.sha256()
        for part in (self.corpus.tokens, self.corpus.kinds, self.corpus.offsets, self.corpus.block_of):
            digest.update(np.ascontiguousarray(part).view(np.uint8))
        return {"corpus": digest.hexdigest(), "blocks": self.blocks, "tokens": self.tokens_per_step, "seed": self.seed}

    def state(self) -> dict:
        return {"epoch": self._epoch, "line": self._line}

    def restore(self, state: dict) -> None:
        self._epoch, self._line = state["epoch"], state["line"]
        self._batches = self._draw(self._epoch, self._line)
