"""Which realizations of its goals a plan asks for.

Enumeration is goal-directed: only the goals of a plan are enumerated, with the plan's restriction pushed into the
join, so the cost follows the number of realizations asked for and not the size of the whole cross-product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean
from ducttape.syntax.tree import Plan, PlanBranches, Reach
from ducttape.workflow.branchpoints import BASELINE_BRANCH, BASELINE_POINT, BranchPoints
from ducttape.workflow.graph import PackedTask
from ducttape.workflow.shapes import realizations
from ducttape.workflow.workflow import Workflow

Warn = Callable[[Diagnostic], None]
Goal = tuple[PackedTask, tuple[int, ...]]


def choose_plans(workflow: Workflow, names: Sequence[str]) -> list[Plan]:
    """The plans called `names`, else those of `ducttape_default_plan`, else all. An unknown name raises TapeError."""
    place = None
    if not names and (default := workflow.directives.default_plan):
        names, place = default.value.split(), default.span
    if not names:
        return list(workflow.plans)
    known = {p.name for p in workflow.plans if p.name is not None}
    unknown = [
        Diagnostic(
            f"unknown plan '{name}'",
            place,
            hint=did_you_mean(name, sorted(known)) or f"{workflow.tape} names no plan; run it without -p",
        )
        for name in dict.fromkeys(names)
        if name not in known
    ]
    if unknown:
        raise TapeError(unknown)
    return [p for p in workflow.plans if p.name in names]


def planned(workflow: Workflow, plans: Sequence[Plan], warn: Warn) -> Iterator[Goal]:
    """The goals of all `reach` lines, united. Raises one TapeError with every line that is wrong or reaches nothing."""
    errors: list[Diagnostic] = []
    for plan in plans:
        for reach in plan.reaches:
            try:
                yield from reached(workflow, reach, warn)
            except TapeError as error:
                errors.extend(error.diagnostics)
    if errors:
        raise TapeError(errors)
    if plans and not any(plan.reaches for plan in plans):
        raise TapeError(Diagnostic("the plan includes zero tasks", plans[0].span, hint="add: reach TASK"))


def one_off(workflow: Workflow) -> Iterator[Goal]:
    """Every task with at most one branch off the baseline: what runs when there is no plan (spec 4.1)."""
    points = workflow.points
    baseline: list[Sequence[int]] = [(0,)] * len(points)
    for task in workflow.graph.tasks.values():
        if task.shape is None:
            continue
        seen = set()
        for point in (None, *task.points):
            allowed = baseline
            if point is not None:
                allowed = list(baseline)
                allowed[point] = range(len(points.points[point].branches))
            for choice in realizations(task.shape, task.points, allowed):
                if choice not in seen:
                    seen.add(choice)
                    yield task, choice


def reached(workflow: Workflow, reach: Reach, warn: Warn) -> Iterator[Goal]:
    """The goals of one `reach` line; raises TapeError when it is wrong or reaches nothing."""
    errors = [
        Diagnostic(f"unknown task '{g.task}' in a plan", g.span, hint=did_you_mean(g.task, workflow.tasks))
        for g in reach.goals
        if g.task not in workflow.tasks
    ]
    allowed, ignored = _restriction(workflow.points, reach.cross, errors)
    if errors:
        raise TapeError(errors)
    empty = []
    for goal in reach.goals:
        task = workflow.graph.tasks[goal.task]
        count = 0
        if task.shape is not None:
            for choice in realizations(task.shape, task.points, allowed):
                count += 1
                yield task, choice
        if not count:
            empty.append((goal, task))
    if len(empty) == len(reach.goals):
        goal, task = empty[0]
        raise TapeError(_nothing(workflow.points, reach, task, allowed, ignored))
    for goal, _ in empty:
        warn(Diagnostic(f"the plan reaches no realization of '{goal.task}'", goal.span, severity="warning"))
    for diagnostic in ignored:
        warn(diagnostic)


def _restriction(
    points: BranchPoints, cross: Sequence[PlanBranches], errors: list[Diagnostic]
) -> tuple[list[Sequence[int]], list[Diagnostic]]:
    """The allowed branch numbers of every point, the baseline unless listed; and warnings about unknown branches."""
    listed: dict[int, set[int]] = {}
    ignored: list[Diagnostic] = []
    for part in cross:
        if part.point == BASELINE_POINT:
            continue
        point = points.get(part.point)
        if point is None:
            hint = did_you_mean(part.point, [p.name for p in points])
            errors.append(Diagnostic(f"unknown branch point '{part.point}' in a plan", part.span, hint=hint))
            continue
        chosen = listed.setdefault(point.id, set())
        if part.branches is None:
            chosen.update(range(len(point.branches)))
            continue
        unknown = []
        for branch in part.branches:
            if branch in point.index:
                chosen.add(point.index[branch])
            elif branch == BASELINE_BRANCH:
                chosen.add(0)
            else:
                unknown.append(branch)
        if unknown:
            shown = ", ".join(f"'{b}'" for b in unknown[:5]) + (" ..." if len(unknown) > 5 else "")
            ignored.append(
                Diagnostic(
                    f"branch point '{point.name}' has no branch {shown}; the plan goes on without",
                    part.span,
                    hint=did_you_mean(unknown[0], point.branches),
                    other=point.span,
                    severity="warning",
                )
            )
    return [sorted(listed[p.id]) if p.id in listed else (0,) for p in points], ignored


def _nothing(
    points: BranchPoints, reach: Reach, task: PackedTask, allowed: Sequence[Sequence[int]], ignored: list[Diagnostic]
) -> Diagnostic:
    """Why a `reach` line has no vertex."""
    span, hint, other, label = reach.span, None, task.task.name_span, f"task '{task.task.name}' is declared here"
    barred = [points.points[p] for p in task.points if not allowed[p]]
    if task.shape is None:
        hint = f"no joint choice of the inputs and params of '{task.task.name}' is consistent"
    elif barred:
        point = barred[0]
        other, label = point.span, f"'{point.name}' is declared here"
        near = next((d for d in ignored if d.other == point.span), None)
        hint = f"no listed branch of '{point.name}' exists"
        if near is not None:
            span = near.span
            hint += f"; {near.hint}" if near.hint else ""
    elif task.points:
        names = ", ".join(points.points[p].name for p in task.points)
        hint = f"branch points of '{task.task.name}': {names}; those that `via` does not list stay at their baseline"
    return Diagnostic("the plan includes zero tasks", span, hint=hint, other=other, other_label=label)
