"""The native engine's source of batches: those of `data.batches`, with a position that can be saved."""

from __future__ import annotations

import hashlib

import numpy as np

from spire.training.data import Batch, TokenCorpus, batches


class LineStream:
    """See `engine.Source`. Whole lines of a corpus, at most `tokens_per_step` tokens a batch."""

    def __init__(self, corpus: TokenCorpus, tokens_per_step: int, seed: int):
        self.corpus, self.tokens_per_step, self.seed = corpus, tokens_per_step, seed
        self.blocks = corpus.blocks
        self._restart()

    def _restart(self) -> None:
        self._batches, self._drawn = batches(self.corpus, self.tokens_per_step, self.seed), 0

    def __next__(self) -> Batch:
        self._drawn += 1
        return next(self._batches)

    def identity(self) -> dict:
        digest = hashlib.sha256()
        for part in (self.corpus.tokens, self.corpus.kinds, self.corpus.offsets, self.corpus.block_of):
            digest.update(np.ascontiguousarray(part).view(np.uint8))
        return {"corpus": digest.hexdigest(), "blocks": self.blocks, "tokens": self.tokens_per_step, "seed": self.seed}

    def state(self) -> dict:
        return {"drawn": self._drawn}

    def restore(self, state: dict) -> None:
        """Draws the batches of the past again and drops them: 0.1 ms apiece, and exact whatever `batches` does."""
        self._restart()
        for _ in range(state["drawn"]):
            next(self)
