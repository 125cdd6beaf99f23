"""The recipe of a run, and what a run did."""

from __future__ import annotations

from dataclasses import dataclass

from spire.errors import UserError
from spire.training.schedule import rate

PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Settings:
    """The recipe. `unit_weight` is the loss weight of speech units (text has 1); `tokens_per_step` counts real
    tokens; `floor` is the share of the peak rate that falling schedules end at.
    """

    steps: int
    tokens_per_step: int
    lr: float
    warmup: int = 50
    schedule: str = "wsd"
    seed: int = 1
    threads: int = 1
    unit_weight: float = 1.0
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.98
    clip: float = 1.0
    precision: str = "auto"
    log_every: int = 25
    floor: float = 0.02

    def __post_init__(self) -> None:
        for name in ("steps", "tokens_per_step", "lr", "threads", "clip", "log_every"):
            if not getattr(self, name) > 0:
                raise UserError(f"--{name.replace('_', '-')} is {getattr(self, name)}, must be above 0")
        if not 0 <= self.floor <= 1:
            raise UserError(f"--floor is {self.floor}, must be in [0, 1]")
        if self.precision not in PRECISIONS:
            raise UserError(f"unknown precision {self.precision!r}", hint=f"choose one of {', '.join(PRECISIONS)}")
        rate(0, self.steps, self.lr, self.warmup, self.schedule)


@dataclass(frozen=True)
class Outcome:
    """What a run did: steps, tokens seen, epochs begun, loss over the last tenth, CPU and wall seconds, precision and
    its reason. A run that was taken up again counts what it did before, too.
    """

    steps: int
    tokens: int
    epochs: int
    loss: float
    cpu_seconds: float
    wall_seconds: float
    precision: str
    reason: str
