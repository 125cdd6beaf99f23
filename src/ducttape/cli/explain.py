"""`explain`: which realizations every task has in the plan, and through which branches; `-p` chooses plans."""

from __future__ import annotations

from ducttape.cli.session import Session


def run(options) -> int:
    session = Session(options)
    groups: dict[str, list] = {}
    for task in session.selected():
        groups.setdefault(task.key.task, []).append(task)
    children: dict[str, dict[str, None]] = {}
    for task in session.plan.tasks.values():
        for parent in task.parents:
            children.setdefault(parent.task, {})[task.key.task] = None
    for name, tasks in groups.items():
        needed = children.get(name)
        print(f"{name}: {len(tasks)} realization{'s' if len(tasks) != 1 else ''}"
              + (f", needed by {', '.join(needed)}" if needed else ", a goal"))  # fmt: skip
        points: dict[str, dict[str, None]] = {}
        for task in tasks:
            for point, branch in task.realization.branches:
                points.setdefault(point, {})[branch] = None
        for point, branches in points.items():
            print(f"  {point}: {' '.join(branches)}")
        for task in tasks:
            print(f"  {task.key.realization} ({task.realization.full_name})")
    return 0
