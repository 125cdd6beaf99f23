"""The learning rate of every step, as a pure function of the step number."""

from __future__ import annotations

import math

from spire.errors import UserError

SHAPES = ("wsd", "cosine", "linear", "constant")


def rate(step: int, steps: int, peak: float, warmup: int, shape: str = "wsd", floor: float = 0.02) -> float:
    """Learning rate of `step` (0-based) out of `steps`.

    All shapes rise linearly over `warmup` steps to `peak`. Then "wsd" stays there until half of the run and falls
    linearly to `floor` x peak at the end; "linear" falls at once; "cosine" falls along half a cosine; "constant" stays.

    >>> [round(rate(s, 10, 1.0, 2), 2) for s in (0, 1, 4, 9)]
    [0.5, 1.0, 1.0, 0.22]
    """
    if shape not in SHAPES:
        raise UserError(f"unknown schedule {shape!r}", hint=f"choose one of {', '.join(SHAPES)}")
    if step < warmup:
        return peak * (step + 1) / warmup
    if shape == "constant":
        return peak
    start = max(warmup, steps // 2) if shape == "wsd" else warmup
    done = max(0.0, (step - start) / max(1, steps - start))
    if shape == "cosine":
        return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
    return peak * (1 - (1 - floor) * min(1.0, done))
