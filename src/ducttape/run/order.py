"""Which of several ready tasks starts first; every order keeps parents before children.

arbitrary      as in the plan: the order of the tape
breadth-first  all tasks without parents, then those that follow directly, and so on
depth-first    everything that the first goal needs, the goal itself, then the second goal
"""

from __future__ import annotations

from collections.abc import Mapping

from ducttape.plan.tasks import RealizedTask, TaskKey
from ducttape.syntax.diagnostics import Diagnostic, TapeError

TRAVERSALS = ("arbitrary", "breadth-first", "depth-first")


def ranks(tasks: Mapping[TaskKey, RealizedTask], traversal: str | None) -> dict[TaskKey, int]:
    """The rank of every task of a plan. `traversal` is one of the words above or how it begins; None is the first."""
    first = (traversal or TRAVERSALS[0])[:1].lower()
    if first == "a":
        keys = list(tasks)
    elif first == "b":
        keys = _breadth_first(tasks)
    elif first == "d":
        keys = _depth_first(tasks)
    else:
        raise TapeError(Diagnostic(f"unknown traversal '{traversal}'", hint=f"-t takes {', '.join(TRAVERSALS)}"))
    return {key: rank for rank, key in enumerate(keys)}


def _breadth_first(tasks: Mapping[TaskKey, RealizedTask]) -> list[TaskKey]:
    depth: dict[TaskKey, int] = {}
    for key, task in tasks.items():
        depth[key] = 1 + max((depth[p] for p in task.parents if p in depth), default=0)
    return sorted(tasks, key=depth.__getitem__)


def _depth_first(tasks: Mapping[TaskKey, RealizedTask]) -> list[TaskKey]:
    needed = {parent for task in tasks.values() for parent in task.parents}
    seen: set[TaskKey] = set()
    order: list[TaskKey] = []
    for goal in (key for key in tasks if key not in needed):
        stack = [(goal, iter(tasks[goal].parents))]
        seen.add(goal)
        while stack:
            key, parents = stack[-1]
            parent = next((p for p in parents if p in tasks and p not in seen), None)
            if parent is None:
                order.append(key)
                stack.pop()
            else:
                seen.add(parent)
                stack.append((parent, iter(tasks[parent].parents)))
    return order
