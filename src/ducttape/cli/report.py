"""`report`: what every complete task cost, on stdout: wall and CPU seconds, peak memory of its largest process, bytes
of its outputs; then the sums by task, and the time that failed attempts took; `--json` too (complete tasks only).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ducttape.cli.session import Session
from ducttape.cli.terminal import table
from ducttape.plan.tasks import TaskKey
from ducttape.run.progress import duration, memory
from ducttape.store.layout import EXIT_CODE, START, Layout, numbered
from ducttape.store.objects import read_object
from ducttape.store.record import Record
from ducttape.store.sizes import size_text

_HEAD = ["wall", "cpu", "memory", "outputs"]


@dataclass(frozen=True, slots=True)
class _Failed:
    """Attempts at a task that failed and whose directories are still there: how many, and their seconds."""

    count: int
    wall_seconds: float
    cpu_seconds: float


def run(options) -> int:
    session = Session(options)
    tasks = session.selected()
    records = [(t.key, Record.read(session.layout.directory(t.key))) for t in tasks]
    found = [(key, r) for key, r in records if r is not None]
    failed = {key: _failed(session.layout, key) for key, _ in records}
    if options.json:
        rows = [
            {
                "task": key.task,
                "realization": key.realization,
                "wall_seconds": r.wall_seconds,
                "cpu_seconds": r.cpu_seconds,
                "peak_memory_bytes": r.peak_memory_bytes,
                "output_bytes": sum(r.output_sizes.values()) if r.output_sizes else None,
                "start": r.start,
                "end": r.end,
                "host": r.host,
                "job": r.job,
                "attempts": r.attempts,
                "failed_attempts": failed[key].count,
                "failed_wall_seconds": failed[key].wall_seconds,
                "failed_cpu_seconds": failed[key].cpu_seconds,
                "notes": r.notes,
            }
            for key, r in found
        ]
        print(json.dumps(rows, indent=1))
        return 0
    rows = [[key.task, key.realization, *_measures([r])] for key, r in found]
    lines = table([["task", "realization", *_HEAD], *rows], right=frozenset({2, 3, 4, 5}))
    groups: dict[str, list[Record]] = {}
    for key, r in found:
        groups.setdefault(key.task, []).append(r)
    sums = [[task, str(len(group)), *_measures(group)] for task, group in groups.items()]
    if bad := [some for some in failed.values() if some.count]:
        count = sum(some.count for some in bad)
        wall = duration(sum(some.wall_seconds for some in bad))
        cpu = duration(sum(some.cpu_seconds for some in bad))
        sums.append(["failed", f"{count} attempt{'s' if count > 1 else ''}", wall, cpu, "--", "--"])
    sums.append(["total", f"{len(found)} of {len(records)} tasks", *_measures([r for _, r in found])])
    lines += ["", *table([["task", "realizations", *_HEAD], *sums], right=frozenset({2, 3, 4, 5}))]
    print("\n".join(lines))
    return 0


def _measures(records: list[Record]) -> list[str]:
    """Sums of time and size and the largest memory; `--` where nothing is known."""
    wall, cpu, peak = (
        [value for r in records if (value := getattr(r, name)) is not None]
        for name in ("wall_seconds", "cpu_seconds", "peak_memory_bytes")
    )
    sizes = [sum(r.output_sizes.values()) for r in records if r.output_sizes]
    return [
        duration(sum(wall)) if wall else "--",
        duration(sum(cpu)) if cpu else "--",
        memory(max(peak)) if peak else "--",
        size_text(sum(sizes)) if sizes else "--",
    ]


def _failed(layout: Layout, key: TaskKey) -> _Failed:
    """What is left of failed attempts; those that were cleared for a new one are not known any more."""
    attempts = layout.attempts(key)
    directories = [layout.directory(key), *(attempts / str(number) for number in numbered(attempts))]
    found = [seconds for d in directories if (seconds := _failed_seconds(d)) is not None]
    return _Failed(len(found), sum(wall for wall, _ in found), sum(cpu for _, cpu in found))


def _failed_seconds(directory: Path) -> tuple[float, float] | None:
    """The wall and CPU seconds of an attempt that ended without a result; None for any other directory."""
    try:
        end = (directory / EXIT_CODE).stat().st_mtime
    except OSError:
        return None
    mark = read_object(directory / START)
    start, cpu = mark.get("start"), mark.get("cpu_seconds")
    if not isinstance(start, int | float) or Record.read(directory) is not None:
        return None
    return max(0.0, end - start), cpu if isinstance(cpu, int | float) else 0.0
