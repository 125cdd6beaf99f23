"""`summary [NAME]`: the tape's summaries on stdout, one tab separated table each.

Every `of` body runs in an empty temporary folder, once for each complete realization of its task, with that task's
variables and `TASK_DIR`; each of its outputs is a file that must end up with exactly one line: the cell. Rows are
realizations, columns the branch points that vary and then the labels; `--` stands for what is missing. Bodies that
fail are reported, and the exit code is 1.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from ducttape.cli.session import Session
from ducttape.cli.terminal import say
from ducttape.plan.tasks import RealizedTask
from ducttape.run.local import environment, script
from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean

MISSING = "--"


def run(options) -> int:
    session = Session(options)
    summaries = session.workflow.summaries
    names = options.globs or list(summaries)
    for name in names:
        if name not in summaries:
            raise TapeError(Diagnostic(f"unknown summary '{name}'", hint=did_you_mean(name, summaries)))
    if not names:
        raise TapeError(Diagnostic("this tape has no summary", hint="summary NAME {\n  of TASK > LABEL { ... }\n}"))
    states = session.store.survey()
    problems = 0
    found = {}
    for name in names:
        rows: dict[str, _Row] = {}
        for of in summaries[name].members:
            if not any(key.task == of.name for key in session.plan.tasks):
                say(f"warning: summary {name}: no planned task '{of.name}'")
            for key, task in session.plan.tasks.items():
                if key.task == of.name:
                    row = rows.setdefault(task.realization.full_name, _Row(dict(task.realization.branches)))
                    cells, bad = _cells(session, task, of) if states[key].done else ({}, [])
                    row.cells |= {item.name: cells.get(item.name) for item in of.items("output")}
                    problems += len(bad)
                    for problem in bad:
                        say(f"error: summary {name} of {key}: {problem}")
        found[name] = list(rows.values())
    if options.json:
        data = {n: [{"branches": r.branches, "values": r.cells} for r in rows] for n, rows in found.items()}
        print(json.dumps(data, indent=1))
    else:
        for rows in found.values():
            print("\n".join(_table(rows)))
    return 1 if problems else 0


class _Row:
    """One realization: its branches and its cells by label, None where there is no value."""

    def __init__(self, branches: dict[str, str]):
        self.branches = branches
        self.cells: dict[str, str | None] = {}


def _table(rows: list[_Row]) -> list[str]:
    points = sorted({p for row in rows for p in row.branches})
    values = {p: {row.branches.get(p) for row in rows} for p in points}
    varying = [p for p in points if len(values[p]) > 1]
    labels = sorted({label for row in rows for label in row.cells})
    lines = [f"# Constant branch point: {p}={p}.{next(iter(values[p]))}" for p in points if p not in varying]
    lines.append("# Variable branch points: " + ", ".join(varying))
    lines.append("\t".join([*varying, *labels]))
    for row in rows:
        cells = [row.branches.get(p) or MISSING for p in varying]
        lines.append("\t".join([*cells, *(row.cells.get(label) or MISSING for label in labels)]))
    return lines


def _cells(session: Session, task: RealizedTask, of) -> tuple[dict[str, str], list[str]]:
    """The values that one `of` body gives for one task, and what went wrong."""
    layout = session.layout
    cells: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="ducttape-summary-") as folder:
        values = layout.variables(task, session.plan.tasks, session.packages.directories)
        values |= {item.name: str(Path(folder) / item.name) for item in of.items("output")}
        special = {"TASK_DIR": str(layout.directory(task.key)), "TASK": task.key.task}
        special["REALIZATION"] = task.key.realization
        data = script(of.body.text).encode("utf-8", "surrogateescape")
        env = environment(values, special)
        done = subprocess.run(["bash"], input=data, cwd=folder, env=env, capture_output=True)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            return {}, [f"exit code {done.returncode}" + (f": {said[-1]}" if said else "")]
        problems = []
        for item in of.items("output"):
            try:
                lines = (Path(folder) / item.name).read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                lines = []
            if len(lines) != 1:
                problems.append(f"{item.name} must have exactly one line, not {len(lines)}")
            else:
                cells[item.name] = lines[0].replace("\t", " ")
    return cells, problems
