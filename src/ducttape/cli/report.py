"""`report`: what every complete task cost, on stdout: wall and CPU seconds, peak memory of its largest process;
`--json` too.
"""

from __future__ import annotations

import json

from ducttape.cli.session import Session
from ducttape.cli.terminal import table
from ducttape.run.progress import duration, memory
from ducttape.store.record import Record


def run(options) -> int:
    session = Session(options)
    records = [(t.key, Record.read(session.layout.directory(t.key))) for t in session.selected()]
    found = [(key, r) for key, r in records if r is not None]
    if options.json:
        rows = [
            {
                "task": key.task,
                "realization": key.realization,
                "wall_seconds": r.wall_seconds,
                "cpu_seconds": r.cpu_seconds,
                "peak_memory_bytes": r.peak_memory_bytes,
                "start": r.start,
                "end": r.end,
                "host": r.host,
                "notes": r.notes,
            }
            for key, r in found
        ]
        print(json.dumps(rows, indent=1))
        return 0
    rows = [["task", "realization", "wall", "cpu", "memory"]]
    for key, r in found:
        rows.append(
            [
                key.task,
                key.realization,
                duration(r.wall_seconds) if r.wall_seconds is not None else "--",
                duration(r.cpu_seconds) if r.cpu_seconds is not None else "--",
                memory(r.peak_memory_bytes) if r.peak_memory_bytes is not None else "--",
            ]
        )
    wall, cpu = (sum(getattr(r, name) or 0 for _, r in found) for name in ("wall_seconds", "cpu_seconds"))
    peak = max((r.peak_memory_bytes or 0 for _, r in found), default=0)
    rows.append(["total", f"{len(found)} of {len(records)} tasks", duration(wall), duration(cpu), memory(peak)])
    print("\n".join(table(rows, right=frozenset({2, 3, 4}))))
    return 0
