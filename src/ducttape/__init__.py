"""ducttape as a library: `load` a tape, `plan` it, `run` it.

    import ducttape
    workflow = ducttape.load("main.tape", configs=["mini.tconf"], defines={"seed": "2"})
    outcome = ducttape.run(workflow, ducttape.plan(workflow), output="out", jobs=2)
    assert outcome.ok

Importing this package costs nothing: everything behind the three functions is imported when one is called. `plan` and
`run` are also rooms of the engine, so they are modules that can be called: `ducttape.plan.tasks` is inside one.
"""

from __future__ import annotations

import types

import ducttape.plan
import ducttape.run

# Type checkers know this name; importing it from `typing` would take longer than all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ducttape.plan.tasks import Plan
    from ducttape.run.outcome import Outcome
    from ducttape.workflow.workflow import Workflow


def load(tape: str | Path, configs: Sequence[str | Path] = (), defines: Mapping[str, str] | None = None) -> Workflow:
    """The checked workflow of a tape; raises `ducttape.syntax.diagnostics.TapeError` for what is wrong with it."""
    from pathlib import Path

    from ducttape.workflow import loader

    return loader.load(Path(tape), [Path(c) for c in configs], defines)


def _plan(workflow: Workflow, plans: Sequence[str] = ()) -> Plan:
    """The realized tasks of the named plans, or of all plans, or of the one-off default of a tape without plans."""
    from ducttape.plan.planner import make_plan

    return make_plan(workflow, list(plans))


def _run(
    workflow: Workflow,
    plan: Plan | None = None,
    output: str | Path | None = None,
    jobs: int = 1,
    stale: str = "rerun",
    fail_fast: bool = False,
    reporter=None,
) -> Outcome:
    """Make every task of a plan complete and say how it went; asks nothing and prints nothing.

    `stale` is `rerun`, `keep` or `fail`, as on the command line. Raises `TapeError` before anything runs when an input
    file is missing, a package cannot be built, or a result is stale under `fail`.
    """
    from ducttape.cli.execute import make
    from ducttape.cli.session import Session, settings

    options = settings(output=output, jobs=jobs, stale=stale, fail_fast=fail_fast)
    return make(Session(options, workflow, plan), reporter)


class _CallablePlan(types.ModuleType):
    __call__ = staticmethod(_plan)


class _CallableRun(types.ModuleType):
    __call__ = staticmethod(_run)


ducttape.plan.__class__ = _CallablePlan
ducttape.run.__class__ = _CallableRun
