"""Loss on a held-out sample while a run goes on, and what follows from it: early stopping, and the best weights.

Guarantees: an evaluation changes neither weights nor batches; the same sample is measured every time, every line of it
once; best and patience go into checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from spire.training.data import Batch, TokenCorpus, _assemble
from spire.training.engine import Engine
from spire.training.log import JsonLines
from spire.training.watch import Means


def held_out(corpus: TokenCorpus, tokens_per_batch: int) -> list[Batch]:
    """Every line of `corpus` once, in batches of at most `tokens_per_batch` tokens (or one longer line)."""
    batches, pending, size = [], [], 0
    for line, length in enumerate(np.diff(corpus.offsets).tolist()):
        if pending and size + length > tokens_per_batch:
            batches.append(_assemble(corpus, pending, 0, tokens_per_batch))
            pending, size = [], 0
        pending.append(line)
        size += length
    return [*batches, _assemble(corpus, pending, 0, tokens_per_batch)]


class Evaluation:
    """Measures `batches` (any that the engine takes) every `every` updates and at the end.

    `patience` evaluations in a row without a better loss stop the run (0: never); with `keeps_best` it ends with the
    weights of its best evaluation. Log lines: step, eval_loss (weighted as in training), blocks, best_step.
    """

    def __init__(
        self,
        batches: Sequence,
        blocks: list[str],
        every: int,
        unit_weight: float,
        log: JsonLines,
        patience: int = 0,
        keeps_best: bool = False,
    ):
        self.batches, self.blocks, self.every, self.unit_weight = batches, blocks, every, unit_weight
        self.log, self.patience, self.keeps_best = log, patience, keeps_best
        self.best, self.best_step, self.worse = math.inf, 0, 0
        self.improved = False

    @property
    def stops(self) -> bool:
        return 0 < self.patience <= self.worse

    @property
    def why(self) -> str:
        return f"the held-out loss has not improved on step {self.best_step} in {self.worse} evaluations"

    def due(self, step: int, steps: int) -> bool:
        return step % self.every == 0 or step == steps

    def measure(self, engine: Engine, step: int) -> str:
        """Evaluate, log, and return a note for the progress line."""
        means = Means(self.blocks)
        for batch in self.batches:
            means.add(engine.evaluate(batch))
        loss = means.weighted(self.unit_weight)
        self.improved = loss < self.best
        if self.improved:
            self.best, self.best_step, self.worse = loss, step, 0
        else:
            self.worse += 1
        self.log.write(step=step, eval_loss=loss, blocks=means.read(), best_step=self.best_step)
        return f"held-out loss {loss:.3f}"

    def state(self) -> dict:
        return {"best": self.best, "best_step": self.best_step, "worse": self.worse}

    def restore(self, state: dict) -> None:
        self.best, self.best_step, self.worse = state["best"], state["best_step"], state["worse"]
