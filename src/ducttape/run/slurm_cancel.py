"""Ending jobs with scancel: as few calls as may be, again when Slurm does not answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from ducttape.plan.tasks import TaskKey
from ducttape.run.slurm_commands import Answer, Commands
from ducttape.run.slurm_flights import Flights
from ducttape.run.slurm_journal import Submission

_AT_ONCE = 500


class Cancels:
    """`keys` are the tasks that are to end; `heard` is called after each answer."""

    def __init__(self, commands: Commands, flights: Flights, heard: Callable[[], None]):
        self._commands, self._flights, self._heard = commands, flights, heard
        self._queue: deque[str] = deque()
        self._extra: set[str] = set()
        self.keys: set[TaskKey] = set()

    @property
    def waiting(self) -> bool:
        return bool(self._queue)

    def tasks(self, keys: Iterable[TaskKey]) -> None:
        """End the jobs of these tasks, which are in flight."""
        chosen = set(keys)
        self.keys |= chosen
        for submission in self._flights.submissions():
            if any(flight.key in chosen for flight in self._flights.of(submission).values()):
                self.submission(submission)

    def submission(self, submission: Submission) -> None:
        """End those jobs of a submission that are to end; nothing while its number is not known."""
        flights = [flight for flight in self._flights.of(submission).values() if flight.key in self.keys]
        if submission.job is None or not flights:
            return
        whole = len(flights) == len(submission.tasks)
        self._queue.extend([submission.job] if whole else [flight.job_id for flight in flights])

    def job(self, job_id: str) -> None:
        """End a job by its number, once."""
        if job_id not in self._extra:
            self._extra.add(job_id)
            self._queue.append(job_id)

    def everything_named(self, name: str) -> None:
        """End all jobs of a name."""
        self._queue.append(f"--name={name}")

    def send(self) -> None:
        """Make the next call. One may be made, and something is waiting."""
        jobs = [self._queue.popleft()]
        # A name is a filter for the numbers beside it, so it goes alone.
        while self._queue and len(jobs) < _AT_ONCE and not (jobs[0] + self._queue[0]).count("--"):
            jobs.append(self._queue.popleft())
        self._commands.start(["scancel", *jobs], lambda answer: self._hear(jobs, answer))

    def finish(self) -> None:
        """Make the calls that are left, unless Slurm does not answer."""
        while self._queue and not self._commands.trouble:
            time.sleep(self._commands.wait)
            self.send()
            self._commands.finish()

    def _hear(self, jobs: list[str], answer: Answer) -> None:
        if answer.is_busy:
            self._queue.extend(jobs)
        self._heard()
