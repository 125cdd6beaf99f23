"""The packed graph: every task with its packed values, in an order where parents come first.

`pack` resolves all headers and raises one TapeError with everything that is wrong: unknown names, references of the
wrong kind, cycles, grafts that fix nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.source import Span
from ducttape.syntax.tree import Assignment
from ducttape.workflow.branchpoints import BranchPoints
from ducttape.workflow.packed import Choose, Grafts, Made, Packed, Resolver, Several, Text
from ducttape.workflow.shapes import Shape, Shapes
from ducttape.workflow.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """One header variable: its assignment, its packed value, and the numbers of the points it may depend on, sorted."""

    name: str
    item: Assignment
    value: Packed
    points: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PackedTask:
    """A task ready to be realized. `outputs` holds only those with a value. `shape` None: no realization can exist."""

    task: Task
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    params: tuple[Variable, ...]
    shape: Shape | None
    points: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PackedGraph:
    """`tasks` by name: parents before children, otherwise as declared."""

    tasks: dict[str, PackedTask]
    points: BranchPoints


def pack(tasks: Mapping[str, Task], globals_: Mapping[str, Assignment], points: BranchPoints) -> PackedGraph:
    errors: list[Diagnostic] = []
    resolver = Resolver(tasks, globals_, points, errors)
    resolved: dict[str, tuple] = {}
    for task in tasks.values():
        resolved[task.name] = (
            [(i, resolver.input(i, task)) for i in task.inputs if i.value is not None],
            [(o, resolver.output(o, task)) for o in task.outputs if o.value is not None],
            [(p, resolver.param(p, task)) for p in task.params if p.value is not None],
        )
    if errors:
        raise TapeError(errors)
    order = _order(tasks, {name: _parents(groups[0]) for name, groups in resolved.items()})
    measure = _Measure(Shapes(points), errors)
    packed = {name: measure.task(tasks[name], *resolved[name]) for name in order}
    if errors:
        raise TapeError(errors)
    return PackedGraph(packed, points)


def leaves(value: Packed) -> Iterator[Text | Made]:
    """All leaves of a packed value, in declaration order."""
    if isinstance(value, Choose):
        for option in value.options.values():
            yield from leaves(option)
    elif isinstance(value, Grafts):
        yield from leaves(value.inner)
    elif isinstance(value, Several):
        for item in value.items:
            yield from leaves(item)
    else:
        yield value


def _parents(inputs: list[tuple[Assignment, Packed]]) -> dict[str, Span]:
    """The tasks that inputs read, with the place of the first reference."""
    found: dict[str, Span] = {}
    for _, value in inputs:
        for leaf in leaves(value):
            if isinstance(leaf, Made):
                found.setdefault(leaf.task, leaf.span)
    return found


def _order(tasks: Mapping[str, Task], parents: Mapping[str, Mapping[str, Span]]) -> list[str]:
    """Topological order, the earliest declared task first among those that are ready. A cycle raises TapeError."""
    children: dict[str, list[str]] = {name: [] for name in tasks}
    missing = {name: len(found) for name, found in parents.items()}
    for name, found in parents.items():
        for parent in found:
            children[parent].append(name)
    ready = [(tasks[name].index, name) for name, count in missing.items() if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        _, name = heapq.heappop(ready)
        order.append(name)
        for child in children[name]:
            missing[child] -= 1
            if not missing[child]:
                heapq.heappush(ready, (tasks[child].index, child))
    if len(order) == len(tasks):
        return order
    raise TapeError(_cycles(tasks, parents, set(tasks) - set(order)))


def _cycles(tasks: Mapping[str, Task], parents: Mapping, stuck: set[str]) -> list[Diagnostic]:
    """One diagnostic for each cycle met when walking from child to parent, each task in at most one."""
    found, seen = [], set()
    for start in sorted(stuck, key=lambda n: tasks[n].index):
        path: dict[str, int] = {}
        at = start
        while at not in path and at not in seen:
            path[at] = len(path)
            # A stuck task always has a stuck parent: otherwise it would have become ready.
            at = next(p for p in parents[at] if p in stuck)
        if at in path:
            cycle = [name for name, place in path.items() if place >= path[at]]
            first = min(range(len(cycle)), key=lambda i: tasks[cycle[i]].index)
            cycle = cycle[first:] + cycle[:first]
            last = cycle[-1]
            if len(cycle) == 1:
                found.append(Diagnostic(f"task '{at}' reads its own output", parents[at][at]))
            else:
                text = " -> ".join([*cycle, cycle[0]])
                found.append(
                    Diagnostic(
                        f"tasks read each other's outputs in a cycle: {text}",
                        parents[cycle[0]][cycle[1]],
                        other=parents[last][cycle[0]],
                        other_label="and the cycle closes here",
                    )
                )
        seen.update(path)
    return found


class _Measure:
    """Finds the shapes of values and tasks, parents first."""

    def __init__(self, shapes: Shapes, errors: list[Diagnostic]):
        self._shapes = shapes
        self._errors = errors
        self._tasks: dict[str, Shape | None] = {}
        self._values: dict[int, Shape | None] = {}

    def task(self, task: Task, *groups: list[tuple[Assignment, Packed]]) -> PackedTask:
        inputs, outputs, params = (
            tuple(Variable(item.name, item, value, self._points(value)) for item, value in group) for group in groups
        )
        everything = (*inputs, *outputs, *params)
        shape = self._shapes.join([self._shapes.empty, *(self._value(v.value) for v in everything)])
        self._tasks[task.name] = shape
        return PackedTask(task, inputs, outputs, params, shape, tuple(sorted(shape.points)) if shape else ())

    def _points(self, value: Packed) -> tuple[int, ...]:
        shape = self._value(value)
        return tuple(sorted(shape.points)) if shape else ()

    def _value(self, value: Packed) -> Shape | None:
        # Packed values live as long as the graph, so their identity is a safe key.
        key = id(value)
        if key not in self._values:
            self._values[key] = self._shape(value)
        return self._values[key]

    def _shape(self, value: Packed) -> Shape | None:
        match value:
            case Made():
                return self._tasks[value.task]
            case Choose():
                return self._shapes.choose(value.point.id, {b: self._value(v) for b, v in value.options.items()})
            case Grafts():
                return self._grafts(value)
            case Several():
                return self._shapes.join([self._value(item) for item in value.items])
        return self._shapes.empty

    def _grafts(self, value: Grafts) -> Shape | None:
        inner = self._value(value.inner)
        if inner is None:
            return None
        for fixed in value.fixed:
            if fixed.needed and fixed.point.id not in inner.points:
                self._errors.append(
                    Diagnostic(
                        f"impossible graft: {value.name.split('[')[0]} has no branch point '{fixed.point.name}'",
                        fixed.span,
                        hint=self._visible_hint(inner),
                        other=fixed.point.span,
                        other_label=f"'{fixed.point.name}' is declared here",
                    )
                )
                return inner
        parts = []
        is_glob = any(len(f.branches) > 1 for f in value.fixed)
        for combination in product(*(f.branches for f in value.fixed)):
            shape = inner
            for fixed, branch in zip(value.fixed, combination, strict=True):
                shape = self._shapes.fix(shape, fixed.point.id, branch, fixed.needed)
            if shape is not None and not self._shapes.possible(shape):
                shape = None
            if shape is None and is_glob:
                continue
            value.combinations.append(combination)
            parts.append(shape)
        joined = self._shapes.join(parts) if parts else None
        if joined is None or not self._shapes.possible(joined):
            self._errors.append(
                Diagnostic(f"impossible graft: nothing that {value.name} stands for has these branches", value.span)
            )
        return joined

    def _visible_hint(self, shape: Shape) -> str:
        names = [self._shapes.registry.points[p].name for p in sorted(shape.points)]
        return f"its branch points: {', '.join(names)}" if names else "it has no branch points at all"
