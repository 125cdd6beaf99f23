"""What a run would do, as text: one line per task with its reason, or counts per task when there are many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ducttape.cli.terminal import Paint
from ducttape.plan.tasks import RealizedTask, TaskKey
from ducttape.store.attic import is_worth_keeping
from ducttape.store.locks import read_owner
from ducttape.store.state import State, Status

MANY = 40
_LABELS = ("DELETE:", "MOVE TO ATTIC:", "BUILD:", "WAIT FOR LOCK:")


def why(state: State) -> str:
    """The reasons of a state on one line."""
    reasons = "; ".join(state.reasons[:4]) + (f"; and {len(state.reasons) - 4} more" if len(state.reasons) > 4 else "")
    if state.status in (Status.ABSENT, Status.WAITING):
        return reasons
    return f"{state.status}: {reasons}"


def lines(session, states: Mapping[TaskKey, State], builds: list, paint: Paint) -> list[str]:
    """The whole work plan. `builds` are the packages to build first."""
    todo = [session.plan.tasks[key] for key, state in states.items() if not state.done]
    out = []
    owners = {task.key: read_owner(session.layout.lock(task.key)) for task in todo}
    locked = {key: owner for key, owner in owners.items() if owner is not None and not owner.is_gone()}
    for task in todo:
        directory = session.layout.directory(task.key)
        if (
            task.key not in locked
            and not session.layout.versioned
            and states[task.key].status in (Status.STALE, Status.INCOMPLETE)
            and directory.is_dir()
        ):
            label = "MOVE TO ATTIC:" if is_worth_keeping(directory) else "DELETE:"
            out.append(_line(session, task, label, "", paint))
    for package in builds:
        out.append(f"{paint('BUILD:', 'BUILD:')} {package.definition.name} {package.version[:12]}")
    for task in todo:
        if task.key in locked:
            out.append(_line(session, task, "WAIT FOR LOCK:", f"held by {locked[task.key]}", paint))
    if len(todo) + len(out) <= MANY:
        out += [_line(session, task, "RUN:", why(states[task.key]), paint) for task in todo]
        return out
    return (_counts(out) if len(out) > MANY else out) + _tree(todo, states, paint)


def _counts(lines: list[str]) -> list[str]:
    labels = Counter(next(label for label in _LABELS if label in line) for line in lines)
    return [f"{label} {count}" for label, count in labels.items()]


def _line(session, task: RealizedTask, label: str, reason: str, paint: Paint) -> str:
    full = task.realization.full_name
    full = full if len(full) <= 160 else full[:157] + "..."
    where = session.show(task)
    line = f"{paint(label, label)} {paint(where, 'task')} {paint(f'({full})', 'full')}"
    return f"{line}\n    {reason}" if reason else line


def _tree(todo: list[RealizedTask], states: Mapping[TaskKey, State], paint: Paint) -> list[str]:
    """One line per task with counts, and below it the most frequent reasons."""
    groups: dict[str, list[RealizedTask]] = {}
    for task in todo:
        groups.setdefault(task.key.task, []).append(task)
    width = max(map(len, groups))
    out = []
    for name, tasks in groups.items():
        plural = "realization" if len(tasks) == 1 else "realizations"
        out.append(f"{paint('RUN:', 'RUN:')} {paint(name.ljust(width), 'task')}  {len(tasks)} {plural}")
        reasons = Counter(
            "only if a task before it comes out different"
            if states[t.key].status is Status.WAITING
            else why(states[t.key])
            for t in tasks
        )
        out += [f"    {count:>4}  {reason}" for reason, count in reasons.most_common(3)]
        if len(reasons) > 3:
            out.append(f"          and {len(reasons) - 3} other reasons")
    return out
