"""Packed values: what a variable can be, with every name resolved and nothing enumerated.

A packed value is a tree of `Text` and `Made` leaves under `Choose`, `Grafts` and `Several` nodes. Globals and the
params of other tasks are resolved in place, keeping the span of the literal, so a relative path stays relative to the
file that declares it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ducttape.syntax.diagnostics import Diagnostic, did_you_mean
from ducttape.syntax.source import Span
from ducttape.syntax.tree import (
    Assignment,
    BranchPoint,
    GlobalVariable,
    Graft,
    Grafted,
    ListOf,
    Literal,
    SameGlobal,
    SameTaskVariable,
    SequencePoint,
    TaskVariable,
    Value,
)
from ducttape.workflow.branchpoints import BranchPoints, Point
from ducttape.workflow.task import Task
from ducttape.workflow.values import unusable

_OUTPUT_LIST = "an output is one file and cannot be a list"


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A literal."""

    value: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """An output of a task."""

    task: str
    output: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Choose:
    """One value for each branch number of a point."""

    point: Point
    options: dict[int, Packed]


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """One point that a graft fixes: its branch numbers (several only for `*`), and whether the source must have it.

    `needed` is false inside a branch of the same point, where the graft says only what holds anyway.
    """

    point: Point
    branches: tuple[int, ...]
    needed: bool
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Grafts:
    """`inner` with points fixed and hidden.

    All `combinations` of branch numbers are needed together, in order; those that a `*` names in vain are left out when
    the graph is packed.
    """

    fixed: tuple[Fixed, ...]
    inner: Packed
    name: str
    span: Span
    combinations: list[tuple[int, ...]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Several:
    """A list: all `items` together, in the order written, under one consistent choice of branches."""

    items: tuple[Packed, ...]
    span: Span


Packed = Text | Made | Choose | Grafts | Several


class Unresolved(Exception):
    """Internal: the problem has been reported already."""


@dataclass(slots=True)
class Resolver:
    """Resolves the values of task headers. Problems go to `errors`; the value concerned is then left out."""

    tasks: Mapping[str, Task]
    globals: Mapping[str, Assignment]
    points: BranchPoints
    errors: list[Diagnostic]
    _shared: dict[tuple[str, str], Packed | None] = field(default_factory=dict)

    def input(self, item: Assignment, task: Task) -> Packed | None:
        """The packed value of `< item`: literals are paths, task variables are outputs."""
        return self._top(item, task, "input")

    def param(self, item: Assignment, task: Task) -> Packed | None:
        """The packed value of `:: item`: literals are texts, task variables are params."""
        return self._top(item, task, "param")

    def output(self, item: Assignment, task: Task) -> Packed | None:
        """The packed value of `> item=...`: a literal, or the value of one of the task's own params or of a global."""
        value = item.value
        if isinstance(value, GlobalVariable):
            own = task.param(value.name)
            if own is not None and own.value is not None:
                value = self.param(own, task)
                found = next(lists(value), None) if value is not None else None
                if found is not None:
                    self._fail(_OUTPUT_LIST, found.span, other=item.span, label="it would name this output")
                    return None
                return value
        if not isinstance(value, Literal | GlobalVariable | SameGlobal):
            self.errors.append(
                Diagnostic(
                    f"output '{item.name}' of task '{task.name}' must be a literal, $param or $global",
                    item.value.span,
                    hint="an output's name may vary by branch through a param: :: file=(Point: ...) with > out=$file",
                )
            )
            return None
        return self._top(item, task, "output")

    def _top(self, item: Assignment, task: Task, mode: str) -> Packed | None:
        try:
            return self._resolve(item.value, item.name, mode, {}, ())
        except Unresolved:
            return None
        except RecursionError:
            self.errors.append(Diagnostic(f"'{item.name}' stands for too many names in a row", item.span))
            return None

    def _fail(
        self, message: str, span: Span, hint: str | None = None, other: Span | None = None, label="declared here"
    ):
        found = Diagnostic(message, span, hint=hint, other=other, other_label=label)
        if not any(e.message == message and e.span == span for e in self.errors):
            self.errors.append(found)
        return Unresolved()

    def _resolve(self, value: Value, left: str, mode: str, chosen: dict, stack: tuple) -> Packed:
        match value:
            case Literal():
                if not value.value and mode != "param":
                    raise self._fail(f"{mode} '{left}' has an empty name", value.span)
                if wrong := unusable(value.value):
                    raise self._fail(wrong, value.span)
                return Text(value.value, value.span)
            case GlobalVariable():
                return self._global(value.name, value.span, mode, chosen, stack)
            case SameGlobal():
                return self._global(left, value.span, mode, chosen, stack)
            case TaskVariable():
                return self._of_task(value.name, value.task, value.span, mode, chosen, stack)
            case SameTaskVariable():
                return self._of_task(left, value.task, value.span, mode, chosen, stack)
            case BranchPoint():
                point = self.points.by_name[value.name]
                options = {}
                for branch in value.branches:
                    inside = {**chosen, value.name: (branch.name, branch.span, "branch")}
                    options[point.index[branch.name]] = self._resolve(branch.value, left, mode, inside, stack)
                return Choose(point, options)
            case SequencePoint():
                point = self.points.by_name[value.name]
                names = self.points.branches_of(value)
                return Choose(point, {point.index[n]: Text(n, value.span) for n in names})
            case Grafted():
                return self._grafted(value, left, mode, chosen, stack)
            case ListOf():
                if mode == "output":
                    raise self._fail(_OUTPUT_LIST, value.span)
                items = tuple(self._resolve(item, left, mode, chosen, stack) for item in value.items)
                return Several(items, value.span)
        raise TypeError(f"not a value: {value!r}")

    def _global(self, name: str, span: Span, mode: str, chosen: dict, stack: tuple) -> Packed:
        key = ("$" + name, mode)
        item = self.globals.get(name)
        if item is None or item.value is None:
            hint = (
                did_you_mean(name, self.globals) or f"set it in a block: global {{ {name}=... }}, or with -D {name}=..."
            )
            raise self._fail(f"unknown global '{name}'", span, hint)
        if key in stack:
            raise self._fail(f"global '{name}' is defined by itself", span, other=item.span)
        return self._once(key, item, mode, chosen, stack)

    def _once(self, key: tuple[str, str], item: Assignment, mode: str, chosen: dict, stack: tuple) -> Packed:
        """The value of a global or param; shared by all its mentions that stand in no branch."""
        if chosen:
            return self._resolve(item.value, item.name, mode, chosen, (*stack, key))
        if key not in self._shared:
            self._shared[key] = None
            self._shared[key] = self._resolve(item.value, item.name, mode, chosen, (*stack, key))
        if self._shared[key] is None:
            raise Unresolved()
        return self._shared[key]

    def _of_task(self, name: str, task_name: str, span: Span, mode: str, chosen: dict, stack: tuple) -> Packed:
        source = self.tasks.get(task_name)
        if source is None:
            raise self._fail(f"unknown task '{task_name}'", span, did_you_mean(task_name, self.tasks))
        if mode == "output":
            raise self._fail("an output cannot be named by another task's variable", span, other=source.name_span)
        outputs, params = [o.name for o in source.outputs], [p.name for p in source.params]
        if mode == "input":
            if name in outputs:
                return Made(task_name, name, span)
            raise self._missing("output", name, source, span, outputs, crossing=name in params)
        item = source.param(name)
        if item is None:
            raise self._missing("param", name, source, span, params, crossing=name in outputs)
        key = (f"${name}@{task_name}", mode)
        if key in stack:
            raise self._fail(f"param '{name}' of task '{task_name}' is defined by itself", span, other=item.span)
        return self._once(key, item, mode, chosen, stack)

    def _missing(self, kind: str, name: str, source: Task, span: Span, candidates: list[str], crossing: bool):
        other_kind = "param" if kind == "output" else "output"
        if crossing:
            message = f"'{name}' is {'an' if kind == 'param' else 'a'} {other_kind} of task '{source.name}', but " + (
                "an input can read only an output" if kind == "output" else "a param can read only a param"
            )
            wanted = ", ".join(candidates) or "none"
            hint = f"{kind}s of '{source.name}': {wanted}"
        else:
            message = f"task '{source.name}' has no {kind} '{name}'"
            hint = did_you_mean(name, candidates) or f"it has no {kind}s at all"
        return self._fail(message, span, hint, other=source.name_span)

    def _grafted(self, value: Grafted, left: str, mode: str, chosen: dict, stack: tuple) -> Packed:
        fixed: list[Fixed] = []
        inside = dict(chosen)
        for graft in value.grafts:
            if any(f.point.name == graft.point for f in fixed):
                raise self._fail(f"branch point '{graft.point}' is grafted twice", graft.span)
            fixed.append(self._fixed(graft, chosen))
            inside.pop(graft.point, None)
            if graft.branch is not None:
                inside[graft.point] = (graft.branch, graft.span, "graft")
        inner = self._resolve(value.variable, left, mode, inside, stack)
        return Grafts(tuple(fixed), inner, value.span.text, value.span)

    def _fixed(self, graft: Graft, chosen: dict) -> Fixed:
        point = self.points.get(graft.point)
        if point is None:
            names = [p.name for p in self.points]
            raise self._fail(f"unknown branch point '{graft.point}'", graft.span, did_you_mean(graft.point, names))
        if graft.branch is None:
            return Fixed(point, tuple(range(len(point.branches))), True, graft.span)
        if graft.branch not in point.index:
            hint = did_you_mean(graft.branch, point.branches)
            message = f"branch point '{point.name}' has no branch '{graft.branch}'"
            raise self._fail(message, graft.span, hint, other=point.span)
        if graft.point in chosen and chosen[graft.point][0] != graft.branch:
            own, span, what = chosen[graft.point]
            if what == "graft":
                raise self._fail(
                    f"graft '{graft.point}:{own}' on what is grafted to '{graft.point}:{graft.branch}' already",
                    span,
                    hint=f"a graft hides its branch point: '{graft.point}' cannot be chosen a second time",
                    other=graft.span,
                    label="first grafted here",
                )
            raise self._fail(
                f"graft '{graft.point}:{graft.branch}' inside branch '{own}' of the same branch point swaps branches",
                graft.span,
                hint=f"graft '{graft.point}:{own}' here, or use a branch point of another name",
                other=span,
                label=f"inside '{own}'",
            )
        return Fixed(point, (point.index[graft.branch],), graft.point not in chosen, graft.span)


def lists(value: Packed) -> Iterator[Several]:
    """Every list inside a packed value, in declaration order."""
    match value:
        case Several():
            yield value
        case Choose():
            for option in value.options.values():
                yield from lists(option)
        case Grafts():
            yield from lists(value.inner)


def literal_of(item: Assignment | None, globals_: Mapping[str, Assignment]) -> Literal | None:
    """The literal behind an assignment, through `$other` globals; None when it is anything else. Never raises."""
    seen = set()
    while item is not None and item.name not in seen:
        seen.add(item.name)
        if isinstance(item.value, Literal):
            return item.value
        if not isinstance(item.value, GlobalVariable):
            return None
        item = globals_.get(item.value.name)
    return None
