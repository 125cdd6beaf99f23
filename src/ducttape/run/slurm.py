"""Slurm as a cluster: sends tasks in arrays, watches all jobs with one question, sends again what was interrupted.

Guarantees: a task that some controller has sent is not sent a second time while its job may live; what a job made is
known from files first (the record, the job's last word), from `squeue` next, and from accounting or the completion log
last; an answer that misses a job proves nothing until several agree over a while and no file has appeared; at most one
call of Slurm's programs a second, none of them waited for. Two jobs for one task, whatever led to them, never write the
same directory (see `job.py`).
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ducttape.plan.tasks import TaskKey
from ducttape.run import slurm_policy
from ducttape.run.cluster import Launch, Settled
from ducttape.run.local import read_mark
from ducttape.run.resources import needs
from ducttape.run.slurm_commands import Answer, Commands, require_programs
from ducttape.run.slurm_journal import Journal, Submission
from ducttape.run.slurm_sender import Listener, Sender
from ducttape.run.slurm_specs import Request, request
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
from ducttape.store.digest import DigestCache
from ducttape.store.layout import RECORD, START, Layout, numbered

_KILLED = 137
_CANCELLED_AT_ONCE = 500
_COMPLETE = ("complete", "kept", "superseded")


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


@dataclass(slots=True)
class _Flight:
    """One task whose job this controller watches."""

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

    @property
    def job(self) -> tuple[str | None, int | None]:
        return self.submission.job, self.index if self.submission.array else None


class Slurm:
    """The `Cluster` of tasks with `.submitter=slurm`; `retry_there` has failed bodies tried again by their own job."""

    name = "slurm"

    def __init__(self, layout: Layout, cache: DigestCache, patience: Patience | None = None, retry_there: bool = False):
        self._layout, self._cache, self._retry_there = layout, cache, retry_there
        self._patience = patience or Patience()
        self._journal = Journal(layout.jobs)
        cache.learn(self._journal.sweep())
        self._commands = Commands(self._patience.interval, self._patience.call)
        listener = Listener(self._sent, self._recalled, self._refused)
        self._sender = Sender(self._commands, self._journal, self._place, listener)
        self._questions: deque[tuple[list[str], Callable[[Answer], None]]] = deque()
        self._site: Site | None = None
        self._flights: dict[TaskKey, _Flight] = {}
        self._of: dict[Submission, dict[int, _Flight]] = {}
        self._added: dict[TaskKey, Request] = {}
        self._settled: list[Settled] = []
        self._to_cancel: deque[str] = deque()
        self._cancelled: set[TaskKey] = set()
        self._extra: set[str] = set()
        self._ask_at = self._look_at = 0.0
        self._ask_pause, self._look_pause = self._patience.ask, self._patience.look
        self._user = str(os.getuid())

    # --- what the scheduler asks --------------------------------------------------------------------------------

    def in_flight(self, key: TaskKey) -> str | None:
        if (flight := self._flights.get(key)) is not None:
            return flight.submission.job_text(flight.index)
        if self._sender.has(key) or key in self._added:
            return "slurm, about to be sent"
        found = self._journal.find(key)
        return found[0].job_text(found[1]) if found else None

    def adopt(self, key: TaskKey) -> None:
        if key in self._flights or self._sender.has(key):
            return
        found = self._journal.find(key)
        if found is None:
            # It ended between two looks.
            self._settled.append(Settled(key, True, self._layout.directory(key)))
            return
        self._watch(key, *found, adopted=True)
        self._ask_soon()

    def add(self, launch: Launch) -> None:
        if self._site is None:
            require_programs()
        retries = needs(launch.task).retries if self._retry_there else 0
        self._added[launch.task.key] = request(launch, self._layout, retries)

    def flush(self) -> list[Settled]:
        self._drive()
        return self._take_settled()

    def send_all(self) -> list[Settled]:
        """As `flush`, and wait until Slurm has, or has refused, everything: for a controller that is to leave."""
        self._drive()
        while self._added or not self._sender.done or any(f.submission.job is None for f in self._flights.values()):
            time.sleep(min(0.2, self.wait_hint()))
            self._commands.poll()
            self._look()
            self._drive()
        # What is complete already is for the run that collects it.
        return [settled for settled in self._take_settled() if not settled.ok]

    def poll(self) -> list[Settled]:
        now = time.monotonic()
        if now >= self._look_at:
            before = len(self._settled)
            self._look()
            busy = len(self._settled) > before
            self._look_pause = self._patience.look if busy else min(self._patience.look_longest, 1.2 * self._look_pause)
            self._look_at = time.monotonic() + self._look_pause
        self._commands.poll()
        self._judge()
        self._drive()
        return self._take_settled()

    def wait_hint(self) -> float:
        times = [max(0.0, self._look_at - time.monotonic())] if self._flights else [self._patience.look_longest]
        if self._added or self._sender.waiting or self._to_cancel or not self._commands.idle:
            times.append(self._commands.wait)
        return max(0.02, min(times))

    def running(self) -> dict[TaskKey, str]:
        found = {key: "to be sent" for key in self._sender.waiting_keys()}
        for key, flight in self._flights.items():
            found[key] = flight.seen.text if flight.seen else "sent" if flight.submission.job else "being sent"
        return found

    def all_in_flight(self) -> dict[TaskKey, str]:
        """Every task that any controller has sent and that has not ended as far as files tell, with its job."""
        keys = [key for s in self._journal.submissions() for index, key in s.tasks.items() if s.is_in_flight(index)]
        return {key: job for key in keys if (job := self.in_flight(key)) is not None}

    def cancel(self, keys: Iterable[TaskKey]) -> None:
        """They settle as cancelled when Slurm says that they ended, or as complete when they were first."""
        for key in keys:
            self.adopt(key)
            if key in self._flights:
                self._cancelled.add(key)
        for submission, flights in self._of.items():
            self._cancel(submission, flights.values())
        self._drive()

    def _cancel(self, submission: Submission, flights: Iterable[_Flight]) -> None:
        chosen = [f.index for f in flights if f.key in self._cancelled]
        if submission.job is None:
            # When its number is known.
            return
        if len(chosen) == len(submission.tasks):
            self._to_cancel.append(submission.job)
        else:
            self._to_cancel.extend(f"{submission.job}_{index}" for index in chosen)

    def close(self) -> None:
        # What sbatch was asked last must be written down; the rest of what was added was never promised to anybody.
        self._commands.finish()
        while self._to_cancel and not self._commands.trouble:
            time.sleep(self._commands.wait)
            self._scancel()
            self._commands.finish()
        for submission in self._of:
            submission.leave()
        self._cache.learn(self._journal.sweep())

    # --- sending ------------------------------------------------------------------------------------------------

    def _place(self, key: TaskKey) -> tuple[Submission, int] | None:
        flight = self._flights.get(key)
        return (flight.submission, flight.index) if flight else self._journal.find(key)

    def _sent(self, submission: Submission) -> None:
        """The intent is written: from now on these tasks are in flight."""
        for index, key in submission.tasks.items():
            self._watch(key, submission, index, adopted=False)
        self._ask_soon()

    def _recalled(self, submission: Submission) -> None:
        """Slurm did not take it, and it is sent later in parts."""
        for flight in list(self._of.get(submission, {}).values()):
            self._forget(flight)

    def _refused(self, keys: Iterable[TaskKey], reason: str) -> None:
        for key in keys:
            if (flight := self._flights.get(key)) is not None:
                self._forget(flight)
            self._settled.append(Settled(key, False, self._layout.directory(key), reason))

    def _watch(self, key: TaskKey, submission: Submission, index: int, adopted: bool) -> None:
        if (old := self._flights.get(key)) is not None:
            self._forget(old)
        flight = self._flights[key] = _Flight(key, submission, index, adopted, time.monotonic())
        self._of.setdefault(submission, {})[index] = flight
        self._look_pause, self._look_at = self._patience.look, 0.0

    def _forget(self, flight: _Flight) -> None:
        del self._flights[flight.key]
        others = self._of[flight.submission]
        others.pop(flight.index, None)
        if not others:
            del self._of[flight.submission]

    def _drive(self) -> None:
        """Make the next call, if one may be made and there is something to say."""
        if not self._commands.idle:
            return
        if self._site is None and (self._added or self._flights):
            self._commands.start(["scontrol", "show", "config"], self._learn_site)
            return
        if self._added and self._site is not None:
            self._sender.add(list(self._added.values()), self._site.largest_index)
            self._added.clear()
        if self._to_cancel:
            self._scancel()
        elif self._questions:
            self._commands.start(*self._questions.popleft())
        elif self._flights and time.monotonic() >= self._ask_at + (5.0 if self._sender.waiting else 0.0):
            self._ask()
        elif self._sender.waiting:
            self._sender.send()

    def _learn_site(self, answer: Answer) -> None:
        if answer.ok or not answer.is_busy:
            self._site = read_config(answer.out) if answer.ok else Site()

    def _scancel(self) -> None:
        jobs = [self._to_cancel.popleft()]
        # A name is a filter for the numbers beside it, so it goes alone.
        while self._to_cancel and len(jobs) < _CANCELLED_AT_ONCE and not (jobs[0] + self._to_cancel[0]).count("--"):
            jobs.append(self._to_cancel.popleft())
        self._commands.start(["scancel", *jobs], lambda answer: self._hear_cancel(jobs, answer))

    def _hear_cancel(self, jobs: list[str], answer: Answer) -> None:
        if answer.is_busy:
            self._to_cancel.extend(jobs)
        self._ask_soon()

    # --- files --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take the last words of jobs that have said them."""
        for submission, flights in list(self._of.items()):
            try:
                found = submission.results() & flights.keys()
            except FileNotFoundError:
                self._vanished(list(flights.values()))
                continue
            done = [flights[index] for index in sorted(found) if self._take(flights[index])]
            self._collect(submission, done)

    def _take(self, flight: _Flight) -> bool:
        """Act on the last word of a job; False when that has to wait for something."""
        now = time.monotonic()
        if flight.result is None:
            flight.result, flight.ended_since = flight.submission.result(flight.index), now
        result = flight.result
        if result is None:
            return False
        if flight.submission.job is None:
            # Slurm took it, although it did not tell us.
            flight.submission.note_job(str(result["job"]).removeprefix("slurm ").partition("_")[0])
        waited = now - flight.ended_since
        if result["outcome"] in _COMPLETE:
            directory = Path(result["directory"])
            if not (directory / RECORD).exists() and waited < self._patience.files:
                return False
            self._cache.learn(result["digests"])
            if self._layout.versioned:
                self._layout.choose(flight.key, directory)
            self._settle(flight, True, directory=directory)
            return True
        killed = result["exit_code"] == _KILLED and result["outcome"] == "failed"
        if killed and flight.ended is None and waited < 2 * self._patience.settle:
            # By the kernel for its memory, or by a person: only Slurm may know.
            self._ask_at = 0.0
            return False
        try:
            asked = Request.again(flight.submission, flight.index)
        except (OSError, ValueError):
            self._settle(flight, False, result["reason"])
            return True
        verdict = slurm_policy.of_result(result, asked, flight.ended)
        directory = Path(result["directory"]) if result["directory"] else None
        return self._follow(flight, verdict, directory)

    def _follow(self, flight: _Flight, verdict: slurm_policy.Verdict, directory: Path | None) -> bool:
        """Send the task again, or settle it; True when its old submission needs no more watching."""
        if flight.key in self._cancelled:
            self._settle(flight, False, "cancelled")
            return True
        if verdict.request is not None:
            self._forget(flight)
            self._sender.add_again(verdict.request)
            return False
        # One that was over before this run began says nothing about what this run would do.
        late = flight.adopted and flight.seen is None
        self._settle(flight, late, verdict.reason, directory, verdict.again)
        return True

    def _vanished(self, flights: list[_Flight]) -> None:
        """Another run of the tape collected or cancelled these."""
        for flight in flights:
            ok = (self._layout.directory(flight.key) / RECORD).exists()
            self._settle(flight, ok, "" if ok else "its job was cancelled or taken over by another run of this tape")
            self._forget(flight)

    def _settle(
        self, flight: _Flight, ok: bool, reason: str = "", directory: Path | None = None, again: bool = False
    ) -> None:
        where = directory or self._newest_attempt(flight.key) or self._layout.directory(flight.key)
        self._settled.append(Settled(flight.key, ok, where, reason, again=again))

    def _collect(self, submission: Submission, flights: list[_Flight]) -> None:
        if not flights:
            return
        for flight in flights:
            self._forget(flight)
        over = submission not in self._of
        submission.collect([f.index for f in flights], last=over)
        if over and submission.data["repeated"]:
            # Of a request that was made twice a job may wait that nobody needs.
            self._to_cancel.append(f"--name={submission.name}")

    def _newest_attempt(self, key: TaskKey) -> Path | None:
        attempts = self._layout.attempts(key)
        return next((attempts / str(n) for n in reversed(numbered(attempts))), None)

    # --- questions ----------------------------------------------------------------------------------------------

    def _ask_soon(self) -> None:
        self._ask_pause = self._patience.ask
        self._ask_at = min(self._ask_at, time.monotonic() + self._ask_pause) if self._ask_at else 0.0

    def _ask(self) -> None:
        flights = self._flights.values()
        doubtful = bool(self._cancelled) or any(f.absent or f.result or f.submission.job is None for f in flights)
        command = squeue(self._user, everything=doubtful)
        self._commands.start(command, lambda answer: self._hear(answer, doubtful))
        self._ask_pause = self._patience.ask if doubtful else min(self._patience.ask_longest, 1.5 * self._ask_pause)
        self._ask_at = time.monotonic() + max(self._ask_pause, self._patience.interval)

    def _hear(self, answer: Answer, everything: bool) -> None:
        queue = read_squeue(answer.out) if answer.ok else None
        if queue is None:
            return
        self._find_numbers(queue, answer.began)
        missing, hopeless = [], []
        for flight in self._flights.values():
            seen = queue.jobs.get(flight.job)
            if seen is not None and seen.alive:
                flight.seen, flight.absent, flight.ended = seen, 0, None
                if seen.state == "PENDING" and seen.reason == "DependencyNeverSatisfied":
                    hopeless.append(flight)
            elif seen is not None:
                self._has_ended(flight, seen)
            elif flight.submission.job is not None and answer.began > flight.since:
                flight.absent += 1
                flight.absent_since = flight.absent_since if flight.absent > 1 else answer.began
                missing.append(flight)
        for flight in hopeless:
            self._to_cancel.append("_".join(str(part) for part in flight.job if part is not None))
        missing = [f for f in missing if f.ended is None and f.absent > 1]
        if missing and everything:
            self._search(missing)
        elif any(f.absent for f in self._flights.values()):
            self._ask_at = 0.0

    def _find_numbers(self, queue: Queue, began: float) -> None:
        """Find submissions whose number is not known by their names; send those again that Slurm does not have."""
        for submission, flights in list(self._of.items()):
            if self._sender.is_sending(submission):
                continue
            numbers = sorted(queue.names.get(submission.name, []), key=int)
            if submission.job is None and numbers:
                submission.note_job(numbers[0])
                self._cancel(submission, flights.values())
            if submission.job is not None:
                # Slurm took a request twice: one is enough.
                extra = set(numbers) - {submission.job} - self._extra
                self._to_cancel.extend(extra)
                self._extra |= extra
                continue
            flight = next(iter(flights.values()))
            if began > flight.since:
                flight.absent += 1
                flight.absent_since = flight.absent_since if flight.absent > 1 else began
            if not self._is_lost(flight):
                continue
            if self._cancelled.issuperset(submission.tasks.values()):
                for lost in flights.values():
                    self._has_ended(lost, Seen("CANCELLED"))
            else:
                flight.absent = 0
                self._sender.send_once_more(submission)

    def _is_lost(self, flight: _Flight) -> bool:
        enough = flight.absent >= self._patience.answers
        return enough and time.monotonic() - flight.absent_since >= self._patience.lost

    def _search(self, missing: list[_Flight]) -> None:
        """Look for jobs that squeue does not know: in the completion log, in the accounting, and then give them up."""
        site, numbers = self._site or Site(), sorted({f.submission.job for f in missing}, key=int)
        if site.completion_log is not None:
            self._conclude(missing, read_completion_log(site.completion_log, set(numbers)))
        elif site.accounting and not self._questions:
            since = min(f.submission.data["created"] for f in missing)

            def hear(answer: Answer) -> None:
                if not answer.is_busy:
                    self._conclude(missing, read_sacct(answer.out) if answer.ok else {})

            self._questions.append((sacct(numbers, since), hear))
        elif not site.accounting:
            self._conclude(missing, {})

    def _conclude(self, missing: list[_Flight], jobs: dict) -> None:
        for flight in missing:
            seen = jobs.get(flight.job)
            if seen is not None and not seen.alive:
                self._has_ended(flight, seen)
            elif seen is None and self._is_lost(flight):
                self._has_ended(flight, Seen("LOST"))

    def _has_ended(self, flight: _Flight, seen: Seen) -> None:
        if flight.ended is None:
            flight.ended, flight.ended_since = seen, time.monotonic()

    def _judge(self) -> None:
        """Decide about jobs that ended without a last word, once it is late enough for one."""
        now = time.monotonic()
        for flight in [f for f in self._flights.values() if f.ended is not None and f.result is None]:
            speaks = flight.ended.state in ("COMPLETED", "FAILED")
            patience = self._patience.files if speaks else self._patience.settle
            if now - flight.ended_since < patience and flight.key not in self._cancelled:
                continue
            submission, index = flight.submission, flight.index
            try:
                asked = Request.again(submission, index)
            except (OSError, ValueError):
                self._vanished([flight])
                continue
            log = submission.last_log_line(index)
            verdict = slurm_policy.of_state(flight.ended, asked, self._starts(flight), log)
            if self._follow(flight, verdict, None):
                self._collect(submission, [flight])

    def _starts(self, flight: _Flight) -> int:
        """How often the job of a task has begun it."""
        attempts, job = self._layout.attempts(flight.key), flight.submission.job_text(flight.index)
        return sum(read_mark(attempts / str(n) / START).get("job") == job for n in numbered(attempts))

    def _take_settled(self) -> list[Settled]:
        settled, self._settled = self._settled, []
        return settled
