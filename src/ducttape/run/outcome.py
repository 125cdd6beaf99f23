"""How a run went, for the caller of the scheduler."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ducttape.plan.tasks import TaskKey


@dataclass(slots=True)
class Failure:
    """A task that did not become complete, why, and where to look."""

    key: TaskKey
    reason: str
    directory: Path


@dataclass(slots=True)
class Outcome:
    """How a run went.

    `made` ran and completed; `reused` were found complete; `failed` did not complete; `stopped` were running when the
    run was interrupted (by the signal `interrupted`); `away` were on a cluster then, where they go on; `blocked` were
    not tried.
    """

    made: list[TaskKey] = field(default_factory=list)
    reused: list[TaskKey] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    stopped: list[TaskKey] = field(default_factory=list)
    away: list[TaskKey] = field(default_factory=list)
    blocked: list[TaskKey] = field(default_factory=list)
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    interrupted: int | None = None

    @property
    def ok(self) -> bool:
        return not self.failed and not self.blocked and self.interrupted is None
