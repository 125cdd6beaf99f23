"""The tasks whose jobs a controller watches, by task and by submission, and how patient it is with them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ducttape.plan.tasks import TaskKey
from ducttape.run.slurm_journal import Submission
from ducttape.run.slurm_states import Seen


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: between calls (`interval`); between questions about all jobs, at first and at most (`ask`,
    `ask_longest`); between looks at files (`look`, `look_longest`); until a job that ended must have left its files
    (`settle` where none are to be expected, `files` else); until a job nobody knows is lost, and a submission without
    a number is sent again (`lost`), after at least `answers` answers; until a call must have ended (`call`).
    """

    interval: float = 1.0
    ask: float = 3.0
    ask_longest: float = 30.0
    look: float = 0.2
    look_longest: float = 2.0
    settle: float = 5.0
    files: float = 60.0
    lost: float = 30.0
    answers: int = 3
    call: float = 60.0


@dataclass(eq=False, slots=True)
class Flight:
    """One task in flight. `seen` is what Slurm said of its job while that lived, `ended` what it said of its end, and
    `result` the job's own last word; `absent` counts the answers in a row that did not know the job. Times are those
    of the monotonic clock.
    """

    key: TaskKey
    submission: Submission
    index: int
    adopted: bool
    since: float
    seen: Seen | None = None
    absent: int = 0
    absent_since: float = 0.0
    ended: Seen | None = None
    ended_since: float = 0.0
    result: dict | None = None
    released: int = 0

    @property
    def job(self) -> tuple[str | None, int | None]:
        """As an answer of Slurm names it: the number, and the index in the array."""
        return self.submission.job, self.index if self.submission.array else None

    @property
    def job_id(self) -> str:
        """As commands take it."""
        return f"{self.submission.job}_{self.index}" if self.submission.array else str(self.submission.job)

    @property
    def doubtful(self) -> bool:
        """Whether it may have ended, or never begun, without anybody having said so."""
        return bool(self.absent) or self.ended is not None or self.result is not None or self.submission.job is None

    def is_seen(self, seen: Seen) -> None:
        self.seen, self.absent, self.ended = seen, 0, None

    def is_absent(self, since: float) -> None:
        """One more answer, asked for at `since`, does not know the job."""
        self.absent += 1
        if self.absent == 1:
            self.absent_since = since

    def has_ended(self, seen: Seen) -> None:
        if self.ended is None:
            self.ended, self.ended_since = seen, time.monotonic()

    def is_lost(self, patience: Patience, factor: int = 1) -> bool:
        """Whether enough answers over a long enough time have not known the job."""
        waited = time.monotonic() - self.absent_since
        return self.absent >= patience.answers and waited >= factor * patience.lost


class Flights:
    """All of them. A task has at most one."""

    def __init__(self):
        self._by_key: dict[TaskKey, Flight] = {}
        self._by_submission: dict[Submission, dict[int, Flight]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Flight]:
        """A copy: flights may go meanwhile."""
        return iter(list(self._by_key.values()))

    def __contains__(self, key: TaskKey) -> bool:
        return key in self._by_key

    def get(self, key: TaskKey) -> Flight | None:
        return self._by_key.get(key)

    def submissions(self) -> list[Submission]:
        return list(self._by_submission)

    def of(self, submission: Submission) -> dict[int, Flight]:
        """The flights of a submission by index."""
        return self._by_submission.get(submission, {})

    def add(self, key: TaskKey, submission: Submission, index: int, adopted: bool) -> None:
        if (old := self._by_key.get(key)) is not None:
            self.remove(old)
        flight = self._by_key[key] = Flight(key, submission, index, adopted, time.monotonic())
        self._by_submission.setdefault(submission, {})[index] = flight

    def remove(self, flight: Flight) -> None:
        del self._by_key[flight.key]
        others = self._by_submission[flight.submission]
        del others[flight.index]
        if not others:
            del self._by_submission[flight.submission]
