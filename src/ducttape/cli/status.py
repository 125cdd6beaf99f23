"""`status`: what is complete, stale, incomplete or absent, and why; `--json` for programs. Changes nothing."""

from __future__ import annotations

import json
import sys
from collections import Counter

from ducttape.cli.session import Session
from ducttape.cli.terminal import Paint, say
from ducttape.store.locks import read_owner


def run(options) -> int:
    session = Session(options)
    chosen = {t.key for t in session.selected()}
    states = {key: state for key, state in session.store.survey().items() if key in chosen}
    paint = Paint(sys.stdout, not options.no_color)
    rows = []
    for key, state in states.items():
        owner = read_owner(session.layout.lock(key))
        running = str(owner) if owner and not owner.is_gone() else None
        rows.append((key, state, running))
    if options.json:
        data = [
            {
                "task": key.task,
                "realization": key.realization,
                "status": state.status.value,
                "reasons": state.reasons,
                "adopted": state.adopted,
                "locked_by": running,
                "directory": str(session.layout.directory(key)),
            }
            for key, state, running in rows
        ]
        print(json.dumps(data, indent=1))
        return 0
    for key, state, running in rows:
        reasons = "; ".join([*(["locked by " + running] if running else []), *state.reasons])
        label = paint(state.status.value.ljust(10), state.status.value)
        print(f"{label} {key}" + (f"  ({reasons})" if reasons else ""))
    counts = Counter(state.status.value for state in states.values())
    say(", ".join(f"{n} {status}" for status, n in counts.items()))
    return 0
