"""A run as a stream of events, for programs: one JSON object a line, beside whatever people are shown.

Every line has `time` (seconds since the epoch) and `event`: `run` (total, at the start), `start`, `submit`, `wait`,
`retry`, `reuse`, `done`, `fail`, `interrupt`, `end` (how many settled); those of a task name it by `task` and
`realization`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from ducttape.plan.tasks import RealizedTask
from ducttape.store.record import Record


class Events:
    """A reporter that tells another one everything, after it wrote it to the file `path` (appending)."""

    def __init__(self, path: Path, total: int, reporter):
        self._path, self._total, self._reporter = path, total, reporter
        self._settled = 0

    @property
    def interval(self):
        return self._reporter.interval

    def __enter__(self) -> Events:
        self._file = open(self._path, "a", encoding="utf-8", errors="surrogateescape")
        self._write("run", total=self._total)
        self._reporter.__enter__()
        return self

    def __exit__(self, *exc) -> None:
        self._reporter.__exit__(*exc)
        self._write("end", settled=self._settled)
        self._file.close()

    def __getattr__(self, name: str):
        # `ended`, `away` and `tick` are for people only.
        return getattr(self._reporter, name)

    def _write(self, event: str, task: RealizedTask | None = None, **more) -> None:
        who = {"task": task.key.task, "realization": task.key.realization} if task else {}
        self._file.write(json.dumps({"time": round(time.time(), 3), "event": event, **who, **more}) + "\n")
        self._file.flush()

    def started(self, task: RealizedTask, directory: Path) -> None:
        self._write("start", task, directory=str(directory))
        self._reporter.started(task, directory)

    def submitted(self, task: RealizedTask, job: str) -> None:
        self._write("submit", task, job=job)
        self._reporter.submitted(task, job)

    def waiting(self, task: RealizedTask, owner) -> None:
        self._write("wait", task, owner=str(owner))
        self._reporter.waiting(task, owner)

    def retrying(self, task: RealizedTask, reason: str, delay: float) -> None:
        self._write("retry", task, reason=reason, delay=delay)
        self._reporter.retrying(task, reason, delay)

    def reused(self, task: RealizedTask) -> None:
        self._settled += 1
        self._write("reuse", task)
        self._reporter.reused(task)

    def finished(self, task: RealizedTask, record: Record) -> None:
        self._settled += 1
        cost = {"wall_seconds": record.wall_seconds, "cpu_seconds": record.cpu_seconds}
        self._write("done", task, **cost, peak_memory_bytes=record.peak_memory_bytes, host=record.host, job=record.job)
        self._reporter.finished(task, record)

    def failed(self, task: RealizedTask, failure) -> None:
        self._settled += 1
        self._write("fail", task, reason=failure.reason, directory=str(failure.directory))
        self._reporter.failed(task, failure)

    def interrupted(self, running: int) -> None:
        self._write("interrupt", running=running)
        self._reporter.interrupted(running)
