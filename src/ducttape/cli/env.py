"""`env TASK REALIZATION`: the variables that a body sees, on stdout as `name=value` lines under `# TASK
REALIZATION:`.
"""

from __future__ import annotations

import json

from ducttape.cli.session import Session


def run(options) -> int:
    session = Session(options)
    tasks = session.selected(required=True)
    directories = session.packages.directories
    found = {t.key: session.layout.variables(t, session.plan.tasks, directories) for t in tasks}
    if options.json:
        print(json.dumps({str(key): values for key, values in found.items()}, indent=1))
        return 0
    for key, values in found.items():
        print(f"# {key.task} {key.realization}:")
        print("".join(f"{name}={value}\n" for name, value in values.items()))
    return 0
