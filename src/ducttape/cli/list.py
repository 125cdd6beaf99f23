"""`list`: the planned tasks on stdout, one `TASK REALIZATION` a line; `--json` adds full names and directories."""

from __future__ import annotations

import json

from ducttape.cli.session import Session


def run(options) -> int:
    session = Session(options)
    tasks = session.selected()
    if options.json:
        rows = [
            {
                "task": t.key.task,
                "realization": t.key.realization,
                "full_name": t.realization.full_name,
                "directory": str(session.layout.directory(t.key)),
            }
            for t in tasks
        ]
        print(json.dumps(rows, indent=1))
    else:
        print("\n".join(f"{t.key.task} {t.key.realization}" for t in tasks))
    return 0
