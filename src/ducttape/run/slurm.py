"""Slurm as a cluster: sends tasks in arrays, watches all jobs with one question, sends again what was interrupted.

Guarantees: a task that some controller has sent is not sent a second time while its job may live; what a job made is
known from files first (the record, the job's last word), from `squeue` next, and from the completion log or accounting
last; an answer that misses a job proves nothing until several agree over a while and no file has appeared; at most one
call of Slurm's programs a second, none of them waited for. Two jobs for one task, whatever led to them, never write the
same directory (see `job.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from ducttape.plan.tasks import TaskKey
from ducttape.run import slurm_policy
from ducttape.run.cluster import Launch, Settled
from ducttape.run.resources import needs
from ducttape.run.slurm_commands import Commands, require_programs
from ducttape.run.slurm_flights import Flight, Flights, Patience
from ducttape.run.slurm_journal import Journal, Submission
from ducttape.run.slurm_sender import Listener, Sender
from ducttape.run.slurm_specs import Request, request
from ducttape.run.slurm_watch import Watch
from ducttape.store.digest import DigestCache
from ducttape.store.layout import RECORD, START, Layout, numbered
from ducttape.store.objects import read_object

_KILLED = 137
_COMPLETE = ("complete", "kept", "superseded")
# Calls in a row without an answer before people are told.
_TROUBLE = 3


class Slurm:
    """The `Cluster` of tasks with `.submitter=slurm`; `retry_there` has failed bodies tried again by their own job."""

    name = "slurm"

    def __init__(self, layout: Layout, cache: DigestCache, patience: Patience | None = None, retry_there: bool = False):
        self._layout, self._cache, self._retry_there = layout, cache, retry_there
        self._patience = patience = patience or Patience()
        self._journal = Journal(layout.jobs)
        cache.learn(self._journal.sweep())
        self._flights = Flights()
        self._commands = Commands(patience.interval, patience.call)
        listener = Listener(self._sent, self._recalled, self._refused)
        self._sender = Sender(self._commands, self._journal, self._place, listener)
        self._watch = Watch(self._commands, self._flights, self._sender, patience, self._changed)
        self._cancels = self._watch.cancels
        self._added: dict[TaskKey, Request] = {}
        self._settled: list[Settled] = []
        self._look_at, self._look_pause = 0.0, patience.look

    # --- what the scheduler asks --------------------------------------------------------------------------------

    def in_flight(self, key: TaskKey) -> str | None:
        if (flight := self._flights.get(key)) is not None:
            return flight.submission.job_text(flight.index)
        if self._sender.has(key) or key in self._added:
            return "slurm"
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
        self._flights.add(key, *found, adopted=True)
        self._changed()

    def add(self, launch: Launch) -> None:
        """TapeError where Slurm's programs are not installed, and for dot-params without meaning."""
        if self._watch.site is None:
            require_programs()
        retries = needs(launch.task).retries if self._retry_there else 0
        self._added[launch.task.key] = request(launch, self._layout, retries)

    def flush(self) -> list[Settled]:
        self._drive()
        return self._take_settled()

    def send_all(self) -> list[Settled]:
        self._drive()
        while self._added or not self._sender.done or any(f.submission.job is None for f in self._flights):
            time.sleep(min(0.2, self.wait_hint()))
            self._commands.poll()
            self._look()
            self._drive()
        # What is complete already is for the run that collects it.
        return [settled for settled in self._take_settled() if not settled.ok]

    def poll(self) -> list[Settled]:
        if time.monotonic() >= self._look_at:
            before = len(self._settled)
            self._look()
            longer = min(self._patience.look_longest, 1.2 * self._look_pause)
            self._look_pause = self._patience.look if len(self._settled) > before else longer
            self._look_at = time.monotonic() + self._look_pause
        self._commands.poll()
        self._judge()
        self._drive()
        return self._take_settled()

    def wait_hint(self) -> float:
        times = [max(0.0, self._look_at - time.monotonic()) if self._flights else self._patience.look_longest]
        if self._added or self._sender.waiting or self._cancels.waiting or not self._commands.idle:
            times.append(self._commands.wait)
        return max(0.02, min(times))

    def running(self) -> dict[TaskKey, str]:
        trouble = ", Slurm does not answer" if self._commands.trouble >= _TROUBLE else ""
        found = {key: f"to be sent{trouble}" for key in (*self._added, *self._sender.waiting_keys())}
        for flight in self._flights:
            sent = "sent" if flight.submission.job else "being sent"
            found[flight.key] = (flight.seen.text if flight.seen else sent) + trouble
        return found

    def all_in_flight(self) -> dict[TaskKey, str]:
        """Every task that any controller has sent and that has not ended as far as files tell, with its job."""
        keys = [key for s in self._journal.submissions() for index, key in s.tasks.items() if s.is_in_flight(index)]
        return {key: job for key in keys if (job := self.in_flight(key)) is not None}

    def cancel(self, keys: Iterable[TaskKey]) -> None:
        """They settle as cancelled when Slurm says that they ended, or as complete when they were first."""
        require_programs()
        keys = list(keys)
        for key in keys:
            self.adopt(key)
        self._cancels.tasks(key for key in keys if key in self._flights)
        self._drive()

    def close(self) -> None:
        # What sbatch was asked last must be written down; the rest of what was added was never promised to anybody.
        self._commands.finish()
        self._added.clear()
        self._sender.forget()
        self._cancels.finish()
        for submission in self._flights.submissions():
            submission.leave()
        self._cache.learn(self._journal.sweep())

    # --- sending ------------------------------------------------------------------------------------------------

    def _place(self, key: TaskKey) -> tuple[Submission, int] | None:
        flight = self._flights.get(key)
        return (flight.submission, flight.index) if flight else self._journal.find(key)

    def _sent(self, submission: Submission) -> None:
        """The intent is written: from now on these tasks are in flight."""
        for index, key in submission.tasks.items():
            self._flights.add(key, submission, index, adopted=False)
        self._changed()

    def _changed(self) -> None:
        """Look and ask often again."""
        self._look_pause, self._look_at = self._patience.look, 0.0
        self._watch.ask_soon()

    def _recalled(self, submission: Submission) -> None:
        """Slurm did not take it, and it is sent later in parts."""
        for flight in list(self._flights.of(submission).values()):
            self._flights.remove(flight)

    def _refused(self, keys: Iterable[TaskKey], reason: str) -> None:
        for key in keys:
            if (flight := self._flights.get(key)) is not None:
                self._flights.remove(flight)
            self._settled.append(Settled(key, False, self._layout.directory(key), reason))

    def _drive(self) -> None:
        """Make the next call, if one may be made and there is something to say."""
        if not self._commands.idle:
            return
        if self._watch.site is None:
            if self._added or self._flights:
                self._watch.ask_site()
            return
        if self._added:
            self._sender.add(list(self._added.values()), self._watch.site.largest_index)
            self._added.clear()
        if self._cancels.waiting:
            self._cancels.send()
        elif self._watch.is_due(later=5.0 if self._sender.waiting else 0.0):
            self._watch.ask()
        elif self._sender.waiting:
            self._sender.send()

    # --- what became of jobs ------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take the last words of jobs that have said them."""
        for submission in self._flights.submissions():
            flights = self._flights.of(submission)
            try:
                found = submission.results(afresh=any(f.doubtful for f in flights.values())) & flights.keys()
            except FileNotFoundError:
                self._vanished(list(flights.values()))
                continue
            self._collect(submission, [f for f in [flights[i] for i in sorted(found)] if self._take(f)])

    def _take(self, flight: Flight) -> bool:
        """Act on the last word of a job; True when its old submission needs no more watching."""
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
            self._watch.ask_now()
            return False
        return self._follow(flight, Path(result["directory"]) if result["directory"] else None)

    def _judge(self) -> None:
        """Decide about jobs that ended without a last word, once it is late enough for one."""
        for flight in self._flights:
            if flight.ended is None or flight.result is not None:
                continue
            speaks = flight.ended.state in ("COMPLETED", "FAILED")
            patience = self._patience.files if speaks else self._patience.settle
            waited = time.monotonic() - flight.ended_since
            if (waited >= patience or flight.key in self._cancels.keys) and self._follow(flight, None):
                self._collect(flight.submission, [flight])

    def _follow(self, flight: Flight, directory: Path | None) -> bool:
        """Send a task again or settle it as failed; True when its old submission needs no more watching."""
        if flight.key in self._cancels.keys:
            self._settle(flight, False, "cancelled")
            return True
        try:
            asked = Request.again(flight.submission, flight.index)
        except (OSError, ValueError):
            self._vanished([flight])
            return False
        if flight.result is not None:
            verdict = slurm_policy.of_result(flight.result, asked, flight.ended)
        else:
            log = flight.submission.last_log_line(flight.index)
            verdict = slurm_policy.of_state(flight.ended, asked, self._starts(flight), log)
        if verdict.request is not None:
            self._flights.remove(flight)
            self._sender.add_again(verdict.request)
            return False
        # One that was over before this run began says nothing about what this run would do.
        late = flight.adopted and flight.seen is None
        self._settle(flight, late, verdict.reason, directory, verdict.again)
        return True

    def _starts(self, flight: Flight) -> int:
        """How often the job of a task has begun it."""
        attempts, job = self._layout.attempts(flight.key), flight.submission.job_text(flight.index)
        return sum(read_object(attempts / str(n) / START).get("job") == job for n in numbered(attempts))

    def _vanished(self, flights: list[Flight]) -> None:
        """Another run of the tape collected or cancelled these."""
        for flight in flights:
            ok = (self._layout.directory(flight.key) / RECORD).exists()
            self._settle(flight, ok, "" if ok else "its job was cancelled or taken over by another run of this tape")
            self._flights.remove(flight)

    def _settle(
        self, flight: Flight, ok: bool, reason: str = "", directory: Path | None = None, again: bool = False
    ) -> None:
        attempts = self._layout.attempts(flight.key)
        if directory is None:
            newest = next((attempts / str(n) for n in reversed(numbered(attempts))), None)
            directory = newest or self._layout.directory(flight.key)
        self._settled.append(Settled(flight.key, ok, directory, reason, again=again))

    def _collect(self, submission: Submission, flights: list[Flight]) -> None:
        if not flights:
            return
        for flight in flights:
            self._flights.remove(flight)
        over = not self._flights.of(submission)
        submission.collect([flight.index for flight in flights], last=over)
        if over and submission.data["repeated"]:
            # Of a request that was made twice a job may wait that nobody needs.
            self._cancels.everything_named(submission.name)

    def _take_settled(self) -> list[Settled]:
        settled, self._settled = self._settled, []
        return settled
