"""Plans written by hand, for tests of the store and the runner that need no tape."""

from __future__ import annotations

import sys
from pathlib import Path

from ducttape.plan.tasks import (
    FromFile,
    FromTask,
    Input,
    Output,
    PackageDefinition,
    Param,
    Plan,
    Realization,
    RealizedTask,
    TaskKey,
)
from ducttape.run.outcome import Outcome
from ducttape.run.progress import Silent
from ducttape.run.scheduler import Scheduler
from ducttape.store.layout import Layout
from ducttape.store.state import State, Store
from ducttape.syntax.source import Source, Span

SPAN = Span(Source("hand.tape", "written by hand\n"), 0, 7)
BASELINE = "Baseline.baseline"


def task(
    name, body="", inputs=None, outputs=("out",), params=None, real=BASELINE, packages=(), full=None
) -> RealizedTask:
    """`inputs` maps a name to a Path, to (task, output), or to a list of those; outputs may be `name=path`."""
    found = []
    for key, value in (inputs or {}).items():
        sources = value if isinstance(value, list) else [value]
        found.append(
            Input(
                key,
                tuple(
                    FromFile(s, SPAN)
                    if isinstance(s, Path)
                    else FromTask(TaskKey(s[0], s[2] if len(s) > 2 else real), s[1])
                    for s in sources
                ),
                SPAN,
            )
        )
    made = [Output(o.split("=")[0], o.split("=")[-1], SPAN) for o in outputs]
    given = [Param(k.lstrip("."), v, SPAN, k.startswith(".")) for k, v in (params or {}).items()]
    realization = Realization((), real, full or real)
    return RealizedTask(TaskKey(name, real), realization, tuple(found), tuple(made), tuple(given), packages, body, SPAN)


def plan(*tasks: RealizedTask, packages: dict[str, PackageDefinition] | None = None) -> Plan:
    return Plan({t.key: t for t in tasks}, packages or {})


def store(base: Path, *tasks: RealizedTask, **options) -> Store:
    return Store(Layout(Path(base)), plan(*tasks), **options)


def states(base: Path, *tasks: RealizedTask) -> dict[str, State]:
    return {str(k): s for k, s in store(base, *tasks).walk()}


def run(base: Path, *tasks: RealizedTask, reporter=None, **options) -> Outcome:
    """Make the tasks complete under `base`, as the command would."""
    s = store(base, *tasks)
    return Scheduler(s, {}, reporter or Silent(), **options).run(s.survey())


def names(keys) -> list[str]:
    return [k.task for k in keys]


def read(base: Path, name: str, file: str = "out", real: str = BASELINE) -> str:
    return (Path(base) / name / real / file).read_text()


PYTHON = sys.executable
