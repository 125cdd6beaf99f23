"""Asks Slurm about all jobs at once, and finds out what became of those that an answer does not mention.

One `squeue` for everything, seldom while all is well and files tell of ends; when a job is missing, one that shows jobs
that ended a while ago; then the completion log and the accounting. Only when none of them knows a job, in several
answers over a while, is it lost.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable

from ducttape.run.slurm_cancel import Cancels
from ducttape.run.slurm_commands import Answer, Commands
from ducttape.run.slurm_flights import Flight, Flights, Patience
from ducttape.run.slurm_journal import Submission
from ducttape.run.slurm_sender import Sender
from ducttape.run.slurm_states import (
    Queue,
    Seen,
    Site,
    read_completion_log,
    read_config,
    read_sacct,
    read_squeue,
    sacct,
    squeue,
)

# After a node could not launch a job, Slurm holds it until somebody releases it.
_LAUNCH_FAILED = "launch failed requeued held"


class Watch:
    """What Slurm says of `flights`. `site` is None until Slurm has told its configuration."""

    def __init__(
        self, commands: Commands, flights: Flights, sender: Sender, patience: Patience, heard: Callable[[], None]
    ):
        self._commands, self._flights, self._sender, self._patience = commands, flights, sender, patience
        self.cancels = Cancels(commands, flights, heard)
        self.site: Site | None = None
        self._questions: deque[tuple[list[str], Callable[[Answer], None]]] = deque()
        self._at, self._pause = 0.0, patience.ask
        self._user = str(os.getuid())

    def ask_soon(self) -> None:
        """Something has changed: begin to ask often again."""
        self._pause = self._patience.ask
        self._at = min(self._at, time.monotonic() + self._pause) if self._at else 0.0

    def ask_now(self) -> None:
        self._at = 0.0

    def is_due(self, later: float = 0.0) -> bool:
        """Whether something is to be asked; `later` when there are other calls to make."""
        return bool(self._questions) or (len(self._flights) > 0 and time.monotonic() >= self._at + later)

    def ask_site(self) -> None:
        self._commands.start(["scontrol", "show", "config"], self._hear_site)

    def ask(self) -> None:
        """Make the next call. One may be made."""
        if self._questions:
            self._commands.start(*self._questions.popleft())
            return
        doubtful = bool(self.cancels.keys) or any(flight.doubtful for flight in self._flights)
        self._commands.start(squeue(self._user, everything=doubtful), lambda answer: self._hear(answer, doubtful))
        self._pause = self._patience.ask if doubtful else min(self._patience.ask_longest, 1.5 * self._pause)
        self._at = time.monotonic() + max(self._pause, self._patience.interval)

    def _hear_site(self, answer: Answer) -> None:
        if not answer.is_busy:
            self.site = read_config(answer.out) if answer.ok else Site()

    def _hear(self, answer: Answer, everything: bool) -> None:
        queue = read_squeue(answer.out) if answer.ok else None
        if queue is None:
            return
        for submission in self._flights.submissions():
            if not self._sender.is_sending(submission):
                self._find_number(submission, queue, answer.began)
        missing = []
        for flight in self._flights:
            seen = queue.jobs.get(flight.job)
            if seen is not None and seen.alive:
                flight.is_seen(seen)
                self._help(flight, seen)
            elif seen is not None:
                flight.has_ended(seen)
            elif flight.submission.job is not None and answer.began > flight.since:
                flight.is_absent(answer.began)
                missing.append(flight)
        # A job that ends while Slurm answers may be missing once.
        missing = [flight for flight in missing if flight.ended is None and flight.absent > 1]
        if missing and everything:
            self._search(missing)
        elif any(flight.absent for flight in self._flights):
            self.ask_now()

    def _help(self, flight: Flight, seen: Seen) -> None:
        """End a job that can never start; release one that is held because a node failed to start it."""
        if seen.state != "PENDING":
            return
        if seen.reason == "DependencyNeverSatisfied":
            self.cancels.job(flight.job_id)
        elif seen.reason.lower().replace("_", " ") == _LAUNCH_FAILED and flight.released < self._patience.answers:
            flight.released += 1
            self._questions.append((["scontrol", "release", flight.job_id], lambda answer: None))

    def _find_number(self, submission: Submission, queue: Queue, began: float) -> None:
        """Find a submission whose number is not known by its name; have it sent again when Slurm does not know it."""
        numbers = sorted(queue.names.get(submission.name, []), key=int)
        if submission.job is None and numbers:
            submission.note_job(numbers[0])
            self.cancels.submission(submission)
        if submission.job is not None:
            # Slurm took a request twice: one is enough.
            for number in numbers:
                if number != submission.job:
                    self.cancels.job(number)
            return
        flights = list(self._flights.of(submission).values())
        if began > flights[0].since:
            flights[0].is_absent(began)
        if not flights[0].is_lost(self._patience):
            return
        if self.cancels.keys.issuperset(submission.tasks.values()):
            for flight in flights:
                flight.has_ended(Seen("CANCELLED"))
        else:
            flights[0].absent = 0
            self._sender.send_once_more(submission)

    def _search(self, missing: list[Flight]) -> None:
        """Look for jobs that squeue does not know."""
        site = self.site or Site()
        if site.completion_log is not None:
            found = read_completion_log(site.completion_log, {flight.submission.job for flight in missing})
            for flight in missing:
                if flight.job in found:
                    flight.has_ended(found[flight.job])
            missing = [flight for flight in missing if flight.ended is None]
        if not site.accounting:
            self._conclude(missing, {})
        elif missing and not self._questions:
            since = min(flight.submission.data["created"] for flight in missing)
            numbers = sorted({flight.submission.job for flight in missing}, key=int)

            def hear(answer: Answer) -> None:
                if not answer.is_busy:
                    self._conclude(missing, read_sacct(answer.out) if answer.ok else {})

            self._questions.append((sacct(numbers, since), hear))

    def _conclude(self, missing: list[Flight], jobs: dict) -> None:
        for flight in missing:
            seen = jobs.get(flight.job)
            if seen is not None and not seen.alive:
                flight.has_ended(seen)
            elif flight.is_lost(self._patience, factor=1 if seen is None else 10):
                # The accounting may never learn of an end, so it does not keep a job alive for ever.
                flight.has_ended(Seen("LOST"))
