"""Where every planned task stands for a person: its state, and beyond it what runs, what failed and what that blocks.

complete, stale, waiting, absent, incomplete   as in `state.py`
running      a live controller or a job works on it
queued       a job for it was submitted and has not started
failed       its last attempt ended with an error, or without all outputs
blocked      not tried, because a task before it failed, or because the job that its own job waits for was cancelled
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ducttape.plan.tasks import TaskKey
from ducttape.store.jobs import Job, submitted
from ducttape.store.layout import EXIT_CODE, START, STDERR, Layout, numbered
from ducttape.store.locks import Owner, read_owner
from ducttape.store.objects import read_object
from ducttape.store.state import BAD_RECORD, NO_RECORD, State, Status, Store


@dataclass(slots=True)
class Situation:
    """`label` as above. `since` is when it started or was submitted, `ended` when the attempt that failed ended; both
    in seconds since the epoch, None when not known.
    """

    label: str
    state: State
    reason: str = ""
    owner: Owner | None = None
    job: str | None = None
    host: str | None = None
    pid: int | None = None
    since: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    behind: TaskKey | None = None


def situations(store: Store) -> Iterator[tuple[TaskKey, Situation]]:
    """The situation of every planned task, parents first, one at a time: many with their records need much memory."""
    jobs = submitted(store.layout)
    failed: dict[TaskKey, TaskKey] = {}
    idle: set[TaskKey] = set()
    for key, state in store.walk():
        here, parents = _situation(store.layout, key, state, jobs.get(key)), store.plan.tasks[key].parents
        if here.label == "failed":
            failed[key] = key
        elif not state.done and (behind := next((failed[p] for p in parents if p in failed), None)):
            failed[key] = behind
            here.behind = behind
            # A job that waits for one that failed never starts.
            if here.label in (Status.ABSENT, Status.WAITING, Status.INCOMPLETE, "queued"):
                here.label, here.reason = "blocked", f"behind {behind}, which failed"
        elif here.label == "queued" and jobs[key].waits:
            here.behind = next((p for p in parents if p in idle), None)
            if here.behind is not None:
                here.label, here.reason = "blocked", f"its job waited for that of {here.behind}, which is gone"
        without_job = key not in jobs and here.label in (Status.ABSENT, Status.INCOMPLETE)
        if jobs and (without_job or here.label == "blocked"):
            idle.add(key)
        yield key, here


def _situation(layout: Layout, key: TaskKey, state: State, job: Job | None) -> Situation:
    here = Situation(state.status.value, state, "; ".join(state.reasons))
    owner = read_owner(layout.lock(key))
    if owner is not None and not owner.is_gone():
        here.owner = owner
    if state.done:
        return here
    directory = layout.directory(key)
    if job is not None and job.exit_code:
        here.label, here.job, here.host = "failed", job.name, job.host
        here.reason, here.exit_code = job.reason or in_words(job.exit_code), job.exit_code
    elif job is not None and not job.ended:
        mark = _newest_mark(layout, key)
        here.label, here.job = ("running" if mark else "queued"), job.name
        here.since = mark.get("start") or job.sent
        here.host, here.pid = mark.get("host"), mark.get("pid")
    elif here.owner is not None:
        mark = {} if (directory / EXIT_CODE).exists() else _mark(directory)
        here.label, here.host = "running", owner.host
        here.since, here.pid = mark.get("start"), mark.get("pid")
    elif state.status is Status.INCOMPLETE and state.record is None:
        _look_for_failure(here, directory)
    return here


def _look_for_failure(here: Situation, directory: Path) -> None:
    """An exit code without a record is a failure, whatever the code, unless only the record is missing or torn."""
    try:
        path = directory / EXIT_CODE
        here.exit_code = int(path.read_text(encoding="utf-8").split("\n")[0])
        here.ended = path.stat().st_mtime
    except (OSError, ValueError):
        here.since = _mark(directory).get("start")
        return
    mark = _mark(directory)
    here.since = mark.get("start")
    finished = here.exit_code == 0 and here.state.reasons in ([NO_RECORD], [BAD_RECORD])
    if finished and not mark.get("ended"):
        here.exit_code = here.ended = None
        return
    here.label = "failed"
    if finished:
        here.reason = str(mark["ended"])
    elif here.exit_code:
        here.reason = str(mark.get("ended") or in_words(here.exit_code))
        if said := _last_line(directory / STDERR):
            here.reason += f": {said}"
    else:
        here.reason = f"exit code 0, but {here.reason}"


def in_words(code: int) -> str:
    """An exit code, with the signal that it stands for."""
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"exit code {code} (killed by {signal.Signals(code - 128).name})"
    return f"exit code {code}"


def _newest_mark(layout: Layout, key: TaskKey) -> Mapping:
    """The start mark of the newest attempt on a cluster, when it has not ended."""
    attempts = layout.attempts(key)
    for number in reversed(numbered(attempts)):
        directory = attempts / str(number)
        return {} if (directory / EXIT_CODE).exists() else _mark(directory)
    return {}


def _mark(directory: Path) -> Mapping:
    return read_object(directory / START)


def _last_line(path: Path) -> str:
    """The last line with something in it, at most 120 characters of it."""
    try:
        with open(path, "rb") as f:
            f.seek(0, 2)
            f.seek(max(0, f.tell() - 4096))
            lines = f.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    said = "".join(c if c.isprintable() else "?" for c in said)
    return said if len(said) <= 120 else said[:117] + "..."
