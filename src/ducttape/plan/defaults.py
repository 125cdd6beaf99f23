"""Dot-params that a site gives to all tasks: `ducttape_default_NAME=value` in a config stands for `.NAME=value`.

`ducttape_default_submitter` counts for every task without `.submitter`; the others only for tasks that do not run on
this machine by the plain `shell`, and that do not give the param themselves. Dot-params say how to run a task, so no
result depends on them. `ducttape_default_config` and `ducttape_default_plan` are directives and no params.
"""

from __future__ import annotations

from dataclasses import replace

from ducttape.plan.tasks import Param, Plan, RealizedTask
from ducttape.workflow.directives import PREFIX
from ducttape.workflow.workflow import Workflow

_DEFAULT = f"{PREFIX}default_"
_SUBMITTER = "submitter"
_LOCAL = "shell"
_DIRECTIVES = (f"{_DEFAULT}config", f"{_DEFAULT}plan")


def with_defaults(plan: Plan, workflow: Workflow) -> Plan:
    """The plan with the site's dot-params. TapeError for one that is not a literal."""
    found = {}
    for name in workflow.globals:
        if name.startswith(_DEFAULT) and name not in _DIRECTIVES and (param := _param(workflow, name)):
            found[param.name] = param
    if not found:
        return plan
    return Plan({key: _completed(task, found) for key, task in plan.tasks.items()}, plan.packages)


def _param(workflow: Workflow, name: str) -> Param | None:
    literal = workflow.directives.literal(name)
    return Param(name.removeprefix(_DEFAULT), literal.value, literal.span, dot=True) if literal.value else None


def _completed(task: RealizedTask, defaults: dict[str, Param]) -> RealizedTask:
    given = {p.name: p.value for p in task.params if p.dot}
    submitter = given.get(_SUBMITTER) or (defaults[_SUBMITTER].value if _SUBMITTER in defaults else _LOCAL)
    missing = [p for name, p in defaults.items() if name not in given]
    if submitter == _LOCAL:
        missing = [p for p in missing if p.name == _SUBMITTER]
    return replace(task, params=(*task.params, *missing)) if missing else task
