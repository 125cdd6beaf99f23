"""`explain [TASK [REALIZATION ...]]`: for every plan which realizations it has, which branches it leaves out, and why.

`-p` chooses plans. With a realization that is not in a plan it says what keeps it out. `--json` for programs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from ducttape.cli.session import Session
from ducttape.plan.reasons import PlanUse, TaskUse, explain
from ducttape.plan.select import RealizationGlob, glob_matches
from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean

_MANY = 20


def run(options) -> int:
    session = Session(options)
    uses = explain(session.workflow, list(options.plans))
    task_glob, realization_globs = (options.globs or ["*"])[0], options.globs[1:]
    known = session.workflow.tasks
    if not any(glob_matches(task_glob, name) for name in known):
        raise TapeError(Diagnostic(f"no task matches '{task_glob}'", hint=did_you_mean(task_glob, known)))
    if options.json:
        print(json.dumps([_as_json(use, task_glob, realization_globs) for use in uses], indent=1))
        return 0
    for use in uses:
        print(_title(use))
        for problem in use.problems:
            where = f"{problem.span}: " if problem.span else ""
            print(f"  {where}{problem.message}" + (f" ({problem.hint})" if problem.hint else ""))
        for task in use.tasks:
            if glob_matches(task_glob, task.task):
                print("\n".join(f"  {line}" for line in _lines(task, realization_globs)))
        unused = [name for name in use.unused if glob_matches(task_glob, name)]
        if unused:
            print(f"  needed by no goal: {' '.join(unused)}")
    return 0


def _title(use: PlanUse) -> str:
    if use.span is None:
        return "no plan: every task with at most one branch off the baseline, and what that needs"
    return f"plan {use.name or '(without a name)'} ({use.span.source.name}:{use.span.line})"


def _lines(task: TaskUse, globs: Iterable[str]) -> Iterator[str]:
    count = len(task.realizations)
    text = f"{task.task}: {count} realization{'s' if count != 1 else ''}"
    if task.reached_by:
        lines = " ".join(dict.fromkeys(str(span.line) for span in task.reached_by))
        text += f", reached by line{'s' if ' ' in lines else ''} {lines}"
    if task.needed_by:
        text += f", needed by {', '.join(task.needed_by)}"
    yield text
    for point in task.points:
        yield f"  {point.point}: {' '.join(point.taken) or '(not visible in any)'}"
        for left_out in point.left_out:
            names = " ".join(left_out.branches[:_MANY]) + (" ..." if len(left_out.branches) > _MANY else "")
            yield f"    without {names}: {left_out.reason}"
    if not globs:
        for realized in task.realizations:
            yield f"  {realized.key.realization} ({realized.realization.full_name})"
    for text in globs:
        glob = RealizationGlob(text)
        found = [r for r in task.realizations if glob.matches(r.realization)]
        for realized in found:
            yield f"  {realized.key.realization} ({realized.realization.full_name})"
        if not found:
            yield f"  {text} is not in it: {_why_not(task, glob)}"


def _why_not(task: TaskUse, glob: RealizationGlob) -> str:
    reasons = []
    points = {point.point: point for point in task.points}
    for name, pattern in glob.branches():
        point = points.get(name)
        if point is None:
            near = did_you_mean(name, points)
            reasons.append(f"{task.task} has no branch point '{name}'" + (f" ({near})" if near else ""))
        elif not any(pattern(branch) for branch in point.taken):
            left = [out for out in point.left_out if any(pattern(branch) for branch in out.branches)]
            reasons += [f"{name}: {out.reason}" for out in left] or [f"'{name}' has no such branch"]
    return "; ".join(reasons) or (
        "each of these branches is taken, but not together; points without a name stay at the baseline, +* frees them"
    )


def _as_json(use: PlanUse, task_glob: str, globs: list[str]) -> dict:
    tasks = []
    for task in use.tasks:
        if not glob_matches(task_glob, task.task):
            continue
        parsed = [RealizationGlob(text) for text in globs]
        chosen = [r for r in task.realizations if not globs or any(g.matches(r.realization) for g in parsed)]
        tasks.append(
            {
                "task": task.task,
                "reached_by": [str(span) for span in task.reached_by],
                "needed_by": task.needed_by,
                "realizations": [{"name": r.key.realization, "full_name": r.realization.full_name} for r in chosen],
                "not_in_plan": {
                    g.text: _why_not(task, g)
                    for g in parsed
                    if not any(g.matches(r.realization) for r in task.realizations)
                },
                "points": [
                    {
                        "point": p.point,
                        "taken": p.taken,
                        "left_out": [{"branches": o.branches, "reason": o.reason} for o in p.left_out],
                    }
                    for p in task.points
                ],
            }
        )
    return {
        "plan": use.name,
        "at": str(use.span) if use.span else None,
        "tasks": tasks,
        "unused": [name for name in use.unused if glob_matches(task_glob, name)],
        "problems": [p.message for p in use.problems],
    }
