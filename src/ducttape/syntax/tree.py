"""The syntax tree of a tape: immutable nodes with source spans, and nothing else.

Spans never take part in equality, so two trees are equal when they say the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal as OneOf

from ducttape.syntax.source import Source, Span


def _span() -> Span:
    return field(compare=False, repr=False)


# --- values -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Literal:
    """Text. `form` remembers how it was written: bare, double, single or triple quoted."""

    value: str
    span: Span = _span()
    form: OneOf["bare", "double", "single", "triple"] = field(default="bare", compare=False)


@dataclass(frozen=True, slots=True)
class GlobalVariable:
    """`$name`: a global or config variable."""

    name: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class TaskVariable:
    """`$name@task`: an output (as input) or a param (as param) of a task."""

    name: str
    task: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class SameGlobal:
    """`@`: the global with the name of the left side."""

    span: Span = _span()


@dataclass(frozen=True, slots=True)
class SameTaskVariable:
    """`@task`: the variable of that task with the name of the left side."""

    task: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Graft:
    """`Point:branch` inside `[...]`; `branch` None stands for `*`, all branches together."""

    point: str
    branch: str | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Grafted:
    """`$x@T[Point:branch,...]`."""

    variable: GlobalVariable | TaskVariable | SameTaskVariable
    grafts: tuple[Graft, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of a branch point. `implied` is true when the name was taken from the value."""

    name: str
    value: Value
    span: Span = _span()
    implied: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class BranchPoint:
    """`(Name: a=1 b=2)`; the first branch is the baseline."""

    name: str
    branches: tuple[Branch, ...]
    span: Span = _span()
    name_span: Span = _span()


@dataclass(frozen=True, slots=True)
class SequencePoint:
    """`(Name: first..last..step)`: an inclusive range of decimals as branches."""

    name: str
    first: Decimal
    last: Decimal
    step: Decimal
    span: Span = _span()
    name_span: Span = _span()


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a.txt $x@t (P: b c)]`: several values as one, at least one, none of them a list."""

    items: tuple[Value, ...]
    span: Span = _span()


Value = (
    Literal
    | GlobalVariable
    | TaskVariable
    | SameGlobal
    | SameTaskVariable
    | Grafted
    | BranchPoint
    | SequencePoint
    | ListOf
)


# --- headers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assignment:
    """`name=value`. `value` is None for a bare name (outputs, packages, formal parameters). `dot` marks `.name`."""

    name: str
    value: Value | None
    span: Span = _span()
    name_span: Span = _span()
    dot: bool = False


@dataclass(frozen=True, slots=True)
class Clause:
    """One header clause: `<` input, `>` output, `::` param, `:` package."""

    kind: OneOf["input", "output", "param", "package"]
    items: tuple[Assignment, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Bash:
    """The text between the braces of a body, exactly as written.

    `names` are the variables it reads and `assigned` those it sets itself, each in order and once.
    """

    text: str
    span: Span = _span()
    names: tuple[str, ...] = field(default=(), compare=False)
    assigned: tuple[str, ...] = field(default=(), compare=False)


# --- blocks -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskLike:
    """A named block with header clauses and a bash body; `kind` is the keyword."""

    kind: OneOf["task", "func", "package", "action", "of", "baseline", "branch"]
    name: str
    clauses: tuple[Clause, ...]
    body: Bash
    span: Span = _span()
    name_span: Span = _span()

    def items(self, kind: str) -> tuple[Assignment, ...]:
        """All assignments of the clauses of one kind, in order."""
        return tuple(item for clause in self.clauses if clause.kind == kind for item in clause.items)


@dataclass(frozen=True, slots=True)
class Call:
    """`task name calls function <header>`."""

    name: str
    function: str
    clauses: tuple[Clause, ...]
    span: Span = _span()
    name_span: Span = _span()
    function_span: Span = _span()

    def items(self, kind: str) -> tuple[Assignment, ...]:
        return tuple(item for clause in self.clauses if clause.kind == kind for item in clause.items)


@dataclass(frozen=True, slots=True)
class Group:
    """A named block of blocks: submitter and versioner (actions), summary (ofs), group and branchpoint."""

    kind: OneOf["submitter", "versioner", "summary", "group", "branchpoint"]
    name: str
    clauses: tuple[Clause, ...]
    members: tuple[TaskLike | Call | Group, ...]
    span: Span = _span()
    name_span: Span = _span()

    def items(self, kind: str) -> tuple[Assignment, ...]:
        return tuple(item for clause in self.clauses if clause.kind == kind for item in clause.items)


@dataclass(frozen=True, slots=True)
class PlanBranches:
    """`(Point: a b 1..3)` in a plan; `branches` None stands for `*`. Sequences are already expanded to their texts."""

    point: str
    branches: tuple[str, ...] | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Goal:
    """A task named by `reach`."""

    task: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Reach:
    """`reach a, b via (P: x) * (Q: *)`."""

    goals: tuple[Goal, ...]
    cross: tuple[PlanBranches, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Plan:
    name: str | None
    reaches: tuple[Reach, ...]
    span: Span = _span()
    name_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Variables:
    """`global { ... }` or `config [name] { ... }`."""

    kind: OneOf["global", "config"]
    name: str | None
    assignments: tuple[Assignment, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Import:
    path: Literal
    span: Span = _span()


Block = TaskLike | Call | Group | Plan | Variables | Import


@dataclass(frozen=True, slots=True)
class File:
    """A whole tape or config."""

    blocks: tuple[Block, ...]
    source: Source = field(compare=False, repr=False)
