"""Tells people what a run does: plain lines anywhere, a live view on a terminal.

A reporter only listens; a run's results do not depend on it. Tasks' own output lines go to stdout and stderr with
the prefix `task/realization: `, except under the live view, where they stay in the task's files.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ducttape.plan.tasks import RealizedTask, TaskKey
from ducttape.store.layout import STDERR, STDOUT
from ducttape.store.record import Record


def duration(seconds: float) -> str:
    """`0.4 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(size: int) -> str:
    """`12 MB` or `3.4 GB`, decimal units."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log, at most 64 KiB of it."""
    try:
        with open(path, "rb") as f:
            f.seek(max(0, os.fstat(f.fileno()).st_size - 65536))
            return f.read().decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        return []


def put(stream, text: str) -> None:
    """Write and flush; a reader that has gone away silences the stream and does not end the run."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Echo:
    """Copies the growing logs of one task, whole lines at a time."""

    def __init__(self, key: TaskKey, directory: Path):
        self._prefix = f"{key}: "
        self._logs = [(directory / STDOUT, sys.stdout), (directory / STDERR, sys.stderr)]
        self._read = [0, 0]

    def copy(self, final: bool = False) -> None:
        for i, (path, stream) in enumerate(self._logs):
            try:
                # Most tasks say nothing, and asking for a size is cheaper than opening.
                if os.stat(path).st_size <= self._read[i]:
                    continue
                with open(path, "rb") as f:
                    f.seek(self._read[i])
                    data = f.read()
            except OSError:
                continue
            if not final:
                data = data[: data.rfind(b"\n") + 1]
            self._read[i] += len(data)
            if data:
                text = data.decode("utf-8", "replace")
                put(stream, "".join(f"{self._prefix}{line}\n" for line in text.removesuffix("\n").split("\n")))


class Lines:
    """Plain lines on stderr: `start task/real`, `done task/real 12.3 s (4/20)`."""

    interval = 0.1

    def __init__(self, total: int, paint=None, echo: bool = True):
        self._total, self._done = total, 0
        self._last = 0.0
        self._paint = paint or (lambda text, kind: text)
        self._echo_wanted = echo
        self._echoes: dict[TaskKey, _Echo] = {}

    def __enter__(self):
        return self

    def __exit__(self, *exc) -> None:
        for echo in self._echoes.values():
            echo.copy(final=True)

    def say(self, kind: str, text: str) -> None:
        put(sys.stderr, f"{self._paint(kind, kind)} {text}\n")

    def _count(self) -> str:
        self._done += 1
        return f"({self._done}/{self._total})"

    def started(self, task: RealizedTask, directory: Path) -> None:
        self.say("start", str(task.key))
        if self._echo_wanted:
            self._echoes[task.key] = _Echo(task.key, directory)

    def ended(self, task: RealizedTask) -> None:
        if echo := self._echoes.pop(task.key, None):
            echo.copy(final=True)

    def finished(self, task: RealizedTask, record: Record) -> None:
        self.say("done", f"{task.key} {duration(record.wall_seconds)} {self._count()}")

    def reused(self, task: RealizedTask) -> None:
        self.say("kept", f"{task.key}: already complete {self._count()}")

    def failed(self, task: RealizedTask, failure) -> None:
        self.say("failed", f"{task.key}: {failure.reason} {self._count()}")

    def waiting(self, task: RealizedTask, owner) -> None:
        self.say("wait", f"{task.key}: locked by {owner}")

    def submitted(self, task: RealizedTask, job: str) -> None:
        self.say("sent", f"{task.key}: {job}")

    def away(self, jobs: Mapping[TaskKey, str]) -> None:
        """What is on clusters now, with the state of each job."""

    def retrying(self, task: RealizedTask, reason: str, delay: float) -> None:
        self.say("again", f"{task.key}: {reason}; next try in {duration(delay)}")

    def interrupted(self, running: int) -> None:
        self.say("interrupted", f"ending {running} running tasks")

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._last >= self.interval:
            self._last = now
            for echo in self._echoes.values():
                echo.copy()


class Live(Lines):
    """The same, with a table below: running tasks, elapsed and expected time, counts."""

    interval = 0.25

    def __init__(self, total: int, expected: dict[TaskKey, float], paint=None):
        super().__init__(total, paint, echo=False)
        self._expected = expected
        self._start: dict[TaskKey, float] = {}
        self._directories: dict[TaskKey, Path] = {}
        self._jobs: Mapping[TaskKey, str] = {}
        self._failures = 0

    def __enter__(self):
        from rich.console import Console
        from rich.live import Live as RichLive

        self._console = Console(stderr=True, highlight=False)
        # Refreshed from the scheduler's own loop: a thread here would be alive while the scheduler forks.
        self._live = RichLive(console=self._console, auto_refresh=False, transient=True)
        self._live.__enter__()
        return self

    def __exit__(self, *exc) -> None:
        self._live.__exit__(*exc)

    def say(self, kind: str, text: str) -> None:
        from rich.text import Text

        style = {
            "done": "green",
            "again": "yellow",
            "failed": "bold red",
            "wait": "yellow",
            "interrupted": "bold yellow",
        }.get(kind, "cyan")
        if kind != "start":
            self._console.print(Text.assemble((kind, style), " ", text))

    def started(self, task: RealizedTask, directory: Path) -> None:
        self._start[task.key] = time.monotonic()
        self._directories[task.key] = directory

    def ended(self, task: RealizedTask) -> None:
        """Show what the task printed to its standard output: results, tables. Its log stays in its directory."""
        self._start.pop(task.key, None)
        try:
            printed = (self._directories[task.key] / STDOUT).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        from rich.text import Text

        for line in printed.splitlines():
            if sys.stdout.isatty():
                self._console.print(Text(f"{task.key}: {line}"), soft_wrap=True)
            else:
                put(sys.stdout, f"{task.key}: {line}\n")

    def away(self, jobs: Mapping[TaskKey, str]) -> None:
        self._jobs = jobs

    def failed(self, task: RealizedTask, failure) -> None:
        self._failures += 1
        super().failed(task, failure)

    def tick(self) -> None:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        if now - self._last < self.interval:
            return
        self._last = now
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for key, start in list(self._start.items())[:20]:
            elapsed, expected = now - start, self._expected.get(key)
            of = f"of about {duration(expected)}" if expected else ""
            table.add_row("running", str(key), duration(elapsed), of, Text(self._last_line(key), style="dim"))
        for key, job in list(self._jobs.items())[:10]:
            table.add_row("sent", str(key), "", "", Text(job, style="dim"))
        parts = [f"{self._done}/{self._total} settled", f"{len(self._start)} running"]
        parts += [f"{len(self._jobs)} on a cluster"] if self._jobs else []
        parts += [f"{self._failures} failed"] if self._failures else []
        counts = Text(", ".join(parts), style="bold")
        self._live.update(Group(table, counts), refresh=True)

    def _last_line(self, key: TaskKey) -> str:
        """The newest line that the task wrote: steps report their progress there."""
        for name in (STDERR, STDOUT):
            lines = [line for line in tail(self._directories[key] / name, 3) if line.strip()]
            if lines:
                return "".join(c for c in lines[-1].strip() if c.isprintable())[:60]
        return ""


class Silent(Lines):
    """Says nothing: for the library."""

    interval = None

    def __init__(self):
        super().__init__(0, echo=False)

    def say(self, kind: str, text: str) -> None:
        return

    def tick(self) -> None:
        return
