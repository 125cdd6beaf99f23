"""What the loop keeps of the losses: means for the log, and the values that show a run going wrong.

Guarantee: both go into a checkpoint as JSON and come back exactly, so a run that was taken up again writes the same
log and stops at the same step as one that was not.
"""

from __future__ import annotations

import math

import torch

from spire.errors import UserError
from spire.training.data import TEXT_LOSS, UNIT_LOSS
from spire.training.engine import KINDS, Losses
from spire.training.settings import Settings


class Means:
    """Sums of token losses by block (and by units against text), emptied at every log line."""

    def __init__(self, blocks: list[str]):
        self.blocks = blocks
        self.clear()

    def clear(self) -> None:
        self.sums = torch.zeros(KINDS * len(self.blocks), dtype=torch.float64)
        self.counts = torch.zeros(KINDS * len(self.blocks), dtype=torch.int64)

    def add(self, losses: Losses) -> None:
        n = min(len(self.sums), len(losses.sums))
        self.sums[:n] += losses.sums[:n]
        self.counts[:n] += losses.counts[:n]

    def read(self) -> dict[str, float]:
        """Mean loss in nats of each block, "BLOCK.units" for its units."""
        means = {}
        for k in self.counts.nonzero().flatten().tolist():
            name = self.blocks[k // KINDS] + (".units" if k % KINDS == UNIT_LOSS else "")
            means[name] = self.sums[k].item() / self.counts[k].item()
        return dict(sorted(means.items()))

    def weighted(self, unit_weight: float) -> float:
        """The mean that training optimizes, over everything added: text has weight 1, units `unit_weight`."""
        text, units = slice(TEXT_LOSS, None, KINDS), slice(UNIT_LOSS, None, KINDS)
        total = self.sums[text].sum() + unit_weight * self.sums[units].sum()
        return (total / (self.counts[text].sum() + unit_weight * self.counts[units].sum()).clamp_min(1e-6)).item()

    def state(self) -> dict:
        return {"sums": self.sums.tolist(), "counts": self.counts.tolist()}

    def restore(self, state: dict) -> None:
        self.sums = torch.tensor(state["sums"], dtype=torch.float64)
        self.counts = torch.tensor(state["counts"], dtype=torch.int64)


class Watch:
    """Stops a run whose loss is not a number, or which has been clearly worse than at its start for a while."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.values: list[float] = []
        self.smooth = math.nan

    def check(self, step: int, loss: float, norm: float, lr: float) -> float:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise UserError(
                f"the loss or its gradient is not a number at step {step + 1} (learning rate {lr:.2g})",
                hint=f"lower --lr (now {self.settings.lr:g}) or lengthen --warmup (now {self.settings.warmup})",
            )
        self.values.append(loss)
        self.smooth = loss if len(self.values) == 1 else 0.95 * self.smooth + 0.05 * loss
        recent = self.values[-20:]
        if len(self.values) >= 40 and min(recent) > max(self.values[:5]) + 0.5:
            raise UserError(
                f"the loss is running away: {self.values[0]:.2f} at first, {sum(recent) / 20:.2f} at step {step + 1}",
                hint=f"lower --lr (now {self.settings.lr:g}) or lengthen --warmup (now {self.settings.warmup})",
            )
        return loss

    def tail(self) -> float:
        last = self.values[-max(1, len(self.values) // 10) :]
        return sum(last) / len(last)

    def state(self) -> dict:
        return {"values": self.values, "smooth": self.smooth}

    def restore(self, state: dict) -> None:
        self.values, self.smooth = list(state["values"]), state["smooth"]
