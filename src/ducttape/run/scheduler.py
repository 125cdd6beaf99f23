"""Runs what is to be made, parents first, up to N at a time, and never trusts anything but the store.

Guarantees: a task starts only when all its parents are complete; it is looked at again just before it would start,
under its lock, so an equal re-run of a parent stops there and a result made meanwhile by another controller is
used; a failure costs its own descendants and nothing else (unless `fail_fast`); whatever ends the controller, no
half-made result counts later.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import selectors
import shlex
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ducttape.plan.tasks import RealizedTask, TaskKey
from ducttape.run import local
from ducttape.run.order import ranks
from ducttape.run.submitters import Submitters, is_local
from ducttape.store.attic import move_away
from ducttape.store.layout import EXIT_CODE, OWN_FILES, SCRIPT, VERSION
from ducttape.store.locks import Locks
from ducttape.store.record import Identity
from ducttape.store.state import State, Status, Store
from ducttape.syntax.diagnostics import Diagnostic, TapeError

_LOCK_POLL = 0.5
_POLL = 0.02
_GRACE = 5.0
# Linux takes no environment string of 128 KiB or more.
_LONGEST_VALUE = 127 * 1024


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
    run was interrupted (by the signal `interrupted`); `blocked` were not tried.
    """

    made: list[TaskKey] = field(default_factory=list)
    reused: list[TaskKey] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    stopped: list[TaskKey] = field(default_factory=list)
    blocked: list[TaskKey] = field(default_factory=list)
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    interrupted: int | None = None

    @property
    def ok(self) -> bool:
        return not self.failed and not self.blocked and self.interrupted is None


@dataclass(slots=True)
class _Running:
    task: RealizedTask
    body: local.Body
    identity: Identity
    slots: list[int]


def cpus(task: RealizedTask) -> int:
    """The cores that a task asks for with `.cpus`, 1 unless it says otherwise."""
    for param in task.params:
        if param.dot and param.name == "cpus":
            if not is_local(task) and not param.value.isdigit():
                # What a cluster makes of it is between the two.
                return 1
            if not param.value.isdigit() or int(param.value) < 1:
                problem = f"task {task.key.task}: .cpus must be a whole number of at least 1, not '{param.value}'"
                raise TapeError(Diagnostic(problem, param.span))
            return int(param.value)
    return 1


def weight(task: RealizedTask, jobs: int) -> int:
    """How many of the N slots a task takes: its `.cpus`, at most N; one when it runs on other machines."""
    return min(cpus(task), jobs) if is_local(task) else 1


def check(task: RealizedTask, jobs: int, submitters: Submitters | None = None) -> None:
    """Raise `TapeError` for a task that could never start: a bad `.cpus`, a bad submitter, an impossible value."""
    weight(task, jobs)
    submitter = (submitters or Submitters()).of(task)
    if submitter is not None and len(os.fsencode(task.body)) >= _LONGEST_VALUE:
        problem = f"task {task.key.task}: its body is too long for submitter '{submitter.name}' (128 KiB)"
        raise TapeError(Diagnostic(problem, task.span, hint="put a part of it into a script file"))
    for output in task.outputs:
        if output.path in OWN_FILES:
            problem = f"task {task.key.task}: output {output.name} has the name of a file of the engine, {output.path}"
            raise TapeError(Diagnostic(problem, output.span, hint="give it another name"))
    for param in task.params:
        try:
            bad = b"\0" in os.fsencode(param.value)
        except UnicodeEncodeError:
            bad = True
        if bad:
            problem = f"task {task.key.task}: param {param.name} has a character that no environment variable can hold"
            raise TapeError(Diagnostic(problem, param.span))


class Scheduler:
    """One run over one plan. `reporter` is told what happens (see `progress.py`)."""

    def __init__(
        self,
        store: Store,
        package_dirs: Mapping[str, Path],
        reporter,
        jobs: int = 1,
        fail_fast: bool = False,
        stale: str = "rerun",
        version: int = 0,
        configuration: str = "",
        submitters: Submitters | None = None,
        order: Mapping[TaskKey, int] | None = None,
    ):
        self._store, self._packages, self._reporter = store, package_dirs, reporter
        self._jobs, self._fail_fast, self._stale = jobs, fail_fast, stale
        self._version, self._configuration = version, configuration
        self._submitters = submitters or Submitters()
        self._tasks = store.plan.tasks
        self._order = order or ranks(self._tasks, None)
        self._locks = Locks(store.layout.locks)
        self._supervisor = local.Supervisor()
        self._running: dict[TaskKey, _Running] = {}
        self._waiting: set[TaskKey] = set()
        self._announced: set[TaskKey] = set()
        self._free = set(range(jobs))
        self._made: dict[TaskKey, Mapping[str, str]] = {}
        self._outcome = Outcome()
        self._stop = False
        self._signal: int | None = None

    def run(self, states: Mapping[TaskKey, State]) -> Outcome:
        """Make every task of the plan complete; `states` is the survey that the user agreed to."""
        began = time.monotonic()
        weights = {key: weight(task, self._jobs) for key, task in self._tasks.items()}
        pending = {key: {p for p in task.parents if p in self._tasks} for key, task in self._tasks.items()}
        children: dict[TaskKey, list[TaskKey]] = {}
        for key, parents in pending.items():
            for parent in parents:
                children.setdefault(parent, []).append(key)
        ready = [(i, key) for key, i in self._order.items() if not pending[key] and not states[key].done]
        heapq.heapify(ready)

        def complete(key: TaskKey) -> None:
            for child in children.get(key, ()):
                pending[child].discard(key)
                if not pending[child] and not states[child].done:
                    heapq.heappush(ready, (self._order[child], child))

        for key, state in states.items():
            if state.done:
                self._made[key] = state.outputs
                complete(key)
        try:
            with self._signals() as wake, selectors.DefaultSelector() as selector:
                selector.register(wake, selectors.EVENT_READ, None)
                self._loop(ready, weights, complete, selector)
        finally:
            for running in self._running.values():
                running.body.kill()
                running.body.wait()
            self._locks.release_all()
            self._supervisor.close()
            self._store.cache.flush()
        settled = {*self._made, *self._outcome.stopped, *(f.key for f in self._outcome.failed)}
        self._outcome.blocked = [key for key in self._tasks if key not in settled]
        self._outcome.interrupted = self._signal
        self._outcome.wall_seconds = time.monotonic() - began
        return self._outcome

    def _loop(self, ready: list, weights: Mapping[TaskKey, int], complete, selector) -> None:
        retry_at = 0.0
        while True:
            if self._signal is not None:
                self._interrupt()
                return
            if self._waiting and time.monotonic() >= retry_at:
                for key in self._waiting:
                    heapq.heappush(ready, (self._order[key], key))
                self._waiting.clear()
                retry_at = time.monotonic() + _LOCK_POLL
            while ready and not self._stop and self._signal is None and weights[ready[0][1]] <= len(self._free):
                _, key = heapq.heappop(ready)
                if self._begin(key, weights[key], selector):
                    complete(key)
            if not self._running and (self._stop or not (ready or self._waiting)):
                return
            timeout = self._reporter.interval
            if self._waiting:
                timeout = min(timeout or _LOCK_POLL, _LOCK_POLL)
            without = [r for r in self._running.values() if r.body.fd is None]
            if without:
                timeout = min(timeout or _POLL, _POLL)
            events = selector.select(timeout)
            for event, _ in events:
                if event.data is None:
                    os.read(event.fd, 4096)
            done = [event.data for event, _ in events if event.data is not None]
            done += [r for r in without if r.body.has_ended()]
            for running in done:
                if self._finish(running, selector):
                    complete(running.task.key)
            self._reporter.tick()

    # --- one task -----------------------------------------------------------------------------------------------

    def _begin(self, key: TaskKey, slots: int, selector) -> bool:
        """Start a task whose parents are complete; True when it turned out to be complete already."""
        task, layout = self._tasks[key], self._store.layout
        try:
            owner = self._locks.acquire(layout.lock(key))
            if owner is not None:
                self._waiting.add(key)
                if key not in self._announced:
                    self._announced.add(key)
                    self._reporter.waiting(task, owner)
                return False
            state = self._store.state(key, self._made)
            if state.status is Status.STALE and self._stale == "keep":
                self._store.accept(task, state)
                state = State(Status.COMPLETE, outputs=state.outputs)
            if state.adopted and state.done:
                self._store.adopt(task, state)
            if state.done:
                self._locks.release(layout.lock(key))
                self._made[key] = state.outputs
                self._outcome.reused.append(key)
                self._reporter.reused(task)
                return True
            if state.status is Status.STALE and self._stale == "fail":
                self._fail(task, "stale, and --stale=fail was given: " + "; ".join(state.reasons))
                return False
            self._launch(task, state.identity or self._store.identity(task, self._made)[0], slots, selector)
        except OSError as e:
            self._fail(task, _os_reason(e), e.errno == errno.ENOSPC)
        except TapeError as e:
            problem = e.diagnostics[0]
            self._fail(task, problem.message + (f"; hint: {problem.hint}" if problem.hint else ""))
        return False

    def _launch(self, task: RealizedTask, identity: Identity, slots: int, selector) -> None:
        layout = self._store.layout
        directory = layout.directory(task.key)
        if not local.end_orphans(directory):
            self._fail(task, "processes of an earlier run still work in its directory and cannot be ended")
            return
        if layout.versioned:
            directory = layout.place(task.key) / str(self._version)
            layout.choose(task.key, directory)
        move_away(layout, task.key)
        directory.mkdir(parents=True)
        _link_full_name(layout.full_name_link(task), layout.place(task.key))
        (directory / VERSION).write_text(f"{self._version}\n", encoding="utf-8")
        values = layout.variables(task, self._tasks, self._packages)
        (directory / SCRIPT).write_text(archival_script(task, values), encoding="utf-8", errors="surrogateescape")
        taken = sorted(self._free)[:slots]
        special = {
            "CONFIGURATION": self._configuration,
            "TASK": task.key.task,
            "REALIZATION": task.key.realization,
            "THREAD_ID": str(taken[0]),
            **local.threads(cpus(task)),
        }
        submitter = self._submitters.of(task)
        together = "".join(f"{k}={v}\n" for k, v in values.items())
        for name, value in (("TASK_VARIABLES", together), ("COMMANDS", task.body)):
            if len(os.fsencode(value)) < _LONGEST_VALUE:
                special[name] = value
        if submitter is not None:
            special |= submitter.defaults
        run = task.body if submitter is None else submitter.run
        body = local.Body(directory, run, local.environment(values, special), self._supervisor)
        running = self._running[task.key] = _Running(task, body, identity, taken)
        self._free.difference_update(taken)
        if body.fd is not None:
            selector.register(body.fd, selectors.EVENT_READ, running)
        self._reporter.started(task, directory)

    def _finish(self, running: _Running, selector) -> bool:
        """Settle a body that ended; True when its task is complete now."""
        task, layout = running.task, self._store.layout
        if running.body.fd is not None:
            selector.unregister(running.body.fd)
        ended = running.body.wait()
        del self._running[task.key]
        self._free.update(running.slots)
        self._outcome.cpu_seconds += ended.cpu_seconds
        directory = layout.directory(task.key)
        self._reporter.ended(task)
        try:
            (directory / EXIT_CODE).write_text(str(ended.exit_code), encoding="utf-8")
            if ended.exit_code != 0:
                self._fail(task, _exit_reason(ended.exit_code))
                return False
            outputs, missing = self._store.output_digests(task)
            if missing:
                names = ", ".join(f"{name} ({layout.output_named(task, name)})" for name in missing)
                self._fail(task, f"exit code 0, but it did not make its output {names}")
                return False
            record = self._store.make_record(
                task,
                running.identity,
                outputs,
                start=ended.start,
                end=ended.end,
                cpu_seconds=round(ended.cpu_seconds, 3),
                peak_memory_bytes=ended.peak_memory_bytes,
            )
            record.write(directory)
        except OSError as e:
            self._fail(task, _os_reason(e), e.errno == errno.ENOSPC)
            return False
        self._made[task.key] = outputs
        self._outcome.made.append(task.key)
        self._locks.release(layout.lock(task.key))
        self._store.cache.flush()
        self._reporter.finished(task, record)
        return True

    def _fail(self, task: RealizedTask, reason: str, stop: bool = False) -> None:
        failure = Failure(task.key, reason, self._store.layout.directory(task.key))
        self._outcome.failed.append(failure)
        self._locks.release(self._store.layout.lock(task.key))
        self._reporter.failed(task, failure)
        self._stop = self._stop or stop or self._fail_fast

    # --- being interrupted --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self):
        """Turn Ctrl-C, TERM and HUP into a flag and a wake-up: they take effect between two steps, never in one."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        previous = {}

        def note(number, frame):
            if self._signal is not None:
                for running in self._running.values():
                    running.body.kill()
            self._signal = number

        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGINT:
                    previous[number] = signal.signal(number, note)
            wakeup = signal.set_wakeup_fd(writer.fileno())
            try:
                yield reader
            finally:
                signal.set_wakeup_fd(wakeup)
        except ValueError:
            # Only the main thread may handle signals; a library caller in another thread keeps its own handling.
            yield reader
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            reader.close()
            writer.close()

    def _interrupt(self) -> None:
        self._reporter.interrupted(len(self._running))
        self._outcome.stopped = list(self._running)
        for running in self._running.values():
            running.body.terminate()
        deadline = time.monotonic() + _GRACE
        for running in self._running.values():
            while not running.body.has_ended():
                if time.monotonic() > deadline:
                    running.body.kill()
                time.sleep(0.01)
            self._outcome.cpu_seconds += running.body.wait().cpu_seconds
        self._running.clear()


def archival_script(task: RealizedTask, values: Mapping[str, str]) -> str:
    """`ducttape_task.sh`: the variables as exports and the body, to read or to run by hand; never run by the engine."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
    return f"#!/usr/bin/env bash\nset -o errexit -o pipefail -o nounset\n{exports}{task.body}\n"


def _link_full_name(link: Path | None, directory: Path) -> None:
    if link is None:
        return
    with contextlib.suppress(FileExistsError):
        os.symlink(directory.name, link)


def _exit_reason(code: int) -> str:
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"exit code {code} (killed by {signal.Signals(code - 128).name})"
    return f"exit code {code}"


def _os_reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk ({error.filename or 'while writing'})"
    if error.errno == errno.E2BIG:
        return "its variables are too large for an environment (128 KiB for one value, about 2 MiB together)"
    return str(error)
