"""What the scheduler asks of a cluster: jobs that run elsewhere and outlive the controller that sent them.

A cluster never decides whether a result counts: that is the record in the task's directory, which the job itself
writes last. It sends, watches, sends again after what was not the task's fault, and tells how each task ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ducttape.plan.tasks import RealizedTask, TaskKey
from ducttape.store.record import Identity, Record


@dataclass(slots=True)
class Launch:
    """A task to be sent.

    `identity` has "" for the digest of an input that is not made yet; `values` are the variables of inputs, params and
    packages (outputs get theirs where the job runs); `special` further variables. `waits` are parents still in flight.
    With `keep_old` an existing result stays when the full identity turns out to be the one in its record.
    """

    task: RealizedTask
    identity: Identity
    values: dict[str, str]
    special: dict[str, str]
    version: int
    waits: tuple[TaskKey, ...] = ()
    keep_old: bool = False


@dataclass(slots=True)
class Settled:
    """How a sent task ended.

    `reason` says why it is not complete; `directory` has its logs; `again` means that trying again may help (its body
    failed, rather than that it was refused or cancelled).
    """

    key: TaskKey
    ok: bool
    directory: Path
    reason: str = ""
    record: Record | None = None
    again: bool = False
    notes: list[str] = field(default_factory=list)


class Cluster(Protocol):
    """One kind of cluster. Nothing here blocks for longer than one submission."""

    name: str

    def in_flight(self, key: TaskKey) -> str | None:
        """The job that some submission, of whichever controller, has for a task and that is not collected yet."""

    def adopt(self, key: TaskKey) -> None:
        """From now on `poll` tells of this task in flight too."""

    def add(self, launch: Launch) -> None:
        """Take a task for the next `flush`."""

    def flush(self) -> list[Settled]:
        """Send what was added, one call for each group of equal options; what the cluster refused comes back."""

    def send_all(self) -> list[Settled]:
        """As `flush`, and wait until the cluster has taken or refused everything: for a controller that leaves."""

    def poll(self) -> list[Settled]:
        """The sent and adopted tasks that ended since the last call. Never waits for the cluster to answer."""

    def wait_hint(self) -> float:
        """Seconds until `poll` should be called again."""

    def running(self) -> dict[TaskKey, str]:
        """For people: each task in flight, with the state of its job ("pending", "running on n1")."""

    def cancel(self, keys: Iterable[TaskKey]) -> None:
        """End the jobs of these tasks."""

    def close(self) -> None:
        """The controller leaves; the jobs go on."""
