"""Why a plan has the realizations that it has, and not others: which branches of each task are left out, and by what.

    for part in explain(workflow, ["asr"]): ...

A branch is left out of a goal by a `reach` line that does not list it, and of any other task because no planned
realization that needs the task has it, which a graft may settle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ducttape.plan.enumerate import choose_plans, one_off, reached
from ducttape.plan.planner import plan_goals
from ducttape.plan.tasks import RealizedTask
from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.source import Span
from ducttape.syntax.tree import Plan, Reach
from ducttape.workflow.branchpoints import BASELINE_BRANCH, Point
from ducttape.workflow.graph import leaves
from ducttape.workflow.packed import Choose, Grafts, Made, Packed, Several
from ducttape.workflow.workflow import Workflow


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Branches of one point that a plan leaves out of one task, for one reason."""

    branches: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class PointUse:
    """One branch point of a task in one plan; both lists of branches are in the order of the tape."""

    point: str
    taken: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(slots=True)
class TaskUse:
    """One task in one plan: its realizations, the `reach` lines that name it, and the planned tasks that need it."""

    task: str
    realizations: list[RealizedTask]
    reached_by: list[Span]
    needed_by: list[str]
    points: list[PointUse]


@dataclass(slots=True)
class PlanUse:
    """One plan, or the one-off default (`name` and `span` None). `problems` are `reach` lines that reach nothing."""

    name: str | None
    span: Span | None
    tasks: list[TaskUse]
    unused: list[str]
    problems: list[Diagnostic] = field(default_factory=list)


def explain(workflow: Workflow, names: Sequence[str] = ()) -> list[PlanUse]:
    """All plans that `names` choose, each by itself; an unknown name raises TapeError."""
    plans = choose_plans(workflow, names)
    if not plans:
        return [_Explainer(workflow, None).result()]
    return [_Explainer(workflow, plan).result() for plan in plans]


class _Explainer:
    def __init__(self, workflow: Workflow, plan: Plan | None):
        self._workflow, self._plan = workflow, plan
        self._problems: list[Diagnostic] = []
        self._reaches: dict[str, list[Reach]] = {}
        planned = plan_goals(workflow, self._goals()).tasks
        self._tasks: dict[str, list[RealizedTask]] = {}
        self._children: dict[str, dict[str, None]] = {}
        for task in planned.values():
            self._tasks.setdefault(task.key.task, []).append(task)
            for parent in task.parents:
                self._children.setdefault(parent.task, {})[task.key.task] = None

    def result(self) -> PlanUse:
        return PlanUse(
            name=self._plan.name if self._plan else None,
            span=self._plan.span if self._plan else None,
            tasks=[self._task(name) for name in self._tasks],
            unused=[name for name in self._workflow.tasks if name not in self._tasks],
            problems=self._problems,
        )

    def _goals(self) -> Iterator:
        if self._plan is None:
            yield from one_off(self._workflow)
            return
        for reach in self._plan.reaches:
            try:
                yield from reached(self._workflow, reach, self._problems.append)
            except TapeError as error:
                self._problems += error.diagnostics
            for goal in reach.goals:
                self._reaches.setdefault(goal.task, []).append(reach)

    def _task(self, name: str) -> TaskUse:
        realizations = self._tasks[name]
        points = [self._workflow.points.points[p] for p in self._workflow.graph.tasks[name].points]
        taken: dict[str, set[str]] = {p.name: set() for p in points}
        for task in realizations:
            for point, branch in task.realization.branches:
                taken[point].add(str(branch))
        return TaskUse(
            task=name,
            realizations=realizations,
            reached_by=[reach.span for reach in self._reaches.get(name, ())],
            needed_by=list(self._children.get(name, ())),
            points=[self._point(name, point, taken[point.name]) for point in points],
        )

    def _point(self, task: str, point: Point, taken: set[str]) -> PointUse:
        reasons: dict[str, list[str]] = {}
        for branch in point.branches:
            if branch not in taken:
                reasons.setdefault(self._reason(task, point, branch), []).append(branch)
        left_out = tuple(LeftOut(tuple(branches), reason) for reason, branches in reasons.items())
        return PointUse(point.name, tuple(b for b in point.branches if b in taken), left_out)

    def _reason(self, task: str, point: Point, branch: str) -> str:
        reasons = [self._by_line(reach, point, branch) for reach in self._reaches.get(task, ())]
        reasons += [self._by_child(task, child, point, branch) for child in self._children.get(task, ())]
        return "; ".join(dict.fromkeys(reasons)) or "no joint choice of its inputs and params has it"

    def _by_line(self, reach: Reach, point: Point, branch: str) -> str:
        where = f"line {reach.span.line}"
        listed = next((part for part in reach.cross if part.point == point.name), None)
        if listed is None:
            return f"{where} does not list {point.name}, so its baseline {point.branches[0]}"
        every = listed.branches if listed.branches is not None else point.branches
        names = list(dict.fromkeys(point.branches[0] if b == BASELINE_BRANCH else b for b in every))
        if branch in names:
            return f"{where} lists it, but nothing consistent has it"
        return f"{where} lists only {' '.join(names[:8])}{' ...' if len(names) > 8 else ''}"

    def _by_child(self, task: str, child: str, point: Point, branch: str) -> str:
        grafts = [
            graft
            for variable in self._workflow.graph.tasks[child].inputs
            for graft in _grafts(variable.value)
            if any(f.point is point for f in graft.fixed)
            and any(isinstance(leaf, Made) and leaf.task == task for leaf in leaves(graft.inner))
        ]
        if grafts:
            return f"{child} takes {grafts[0].name}"
        return f"no planned realization of {child} has it"


def _grafts(value: Packed) -> Iterator[Grafts]:
    if isinstance(value, Grafts):
        yield value
        yield from _grafts(value.inner)
    elif isinstance(value, Choose):
        for option in value.options.values():
            yield from _grafts(option)
    elif isinstance(value, Several):
        for item in value.items:
            yield from _grafts(item)
