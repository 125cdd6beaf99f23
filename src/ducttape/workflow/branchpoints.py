"""The registry of branch points: each with its branches in declaration order, the first one the baseline.

Branches are numbered per point from 0 (the baseline), points are numbered in the order of their first mention. Every
mention of a point must name the same baseline and the same set of branches; of sequences, which the original never
compared, only the baseline must agree, and the registry holds the union.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.source import Span
from ducttape.syntax.tree import BranchPoint, SequencePoint, Value
from ducttape.workflow.values import expand_sequence, mentions

BASELINE_POINT = "Baseline"
BASELINE_BRANCH = "baseline"


@dataclass(slots=True)
class Point:
    """One branch point. `index` maps a branch name to its number; `span` is the first mention's name."""

    id: int
    name: str
    branches: list[str]
    span: Span
    sequence: bool
    index: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.index.update((b, i) for i, b in enumerate(self.branches))

    @property
    def baseline(self) -> str:
        return self.branches[0]

    def add(self, branch: str) -> None:
        if branch not in self.index:
            self.index[branch] = len(self.branches)
            self.branches.append(branch)


class BranchPoints:
    """All branch points of a workflow, by name and by number."""

    def __init__(self) -> None:
        self.by_name: dict[str, Point] = {}
        self.points: list[Point] = []
        self._sequences: dict[int, tuple[str, ...]] = {}

    def __iter__(self):
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def get(self, name: str) -> Point | None:
        return self.by_name.get(name)

    def branches_of(self, node: BranchPoint | SequencePoint) -> tuple[str, ...]:
        """The branch names of one mention, in its own order."""
        if isinstance(node, BranchPoint):
            return tuple(b.name for b in node.branches)
        if id(node) not in self._sequences:
            self._sequences[id(node)] = expand_sequence(node)
        return self._sequences[id(node)]

    def _declare(self, node: BranchPoint | SequencePoint) -> Iterable[Diagnostic]:
        names = self.branches_of(node)
        is_sequence = isinstance(node, SequencePoint)
        if node.name == BASELINE_POINT:
            yield Diagnostic(f"branch point name '{BASELINE_POINT}' is reserved", node.name_span)
            return
        if len(set(names)) != len(names):
            twice = next(b for b in node.branches if names.count(b.name) > 1)
            last = next(b for b in reversed(node.branches) if b.name == twice.name)
            yield Diagnostic(
                f"branch '{twice.name}' occurs twice in branch point '{node.name}'", last.span, other=twice.span
            )
            return
        known = self.by_name.get(node.name)
        if known is None:
            point = Point(len(self.points), node.name, list(names), node.name_span, is_sequence)
            self.by_name[node.name] = point
            self.points.append(point)
            return
        if names[0] != known.baseline:
            yield Diagnostic(
                f"branch point '{node.name}' has baseline '{names[0]}' here and '{known.baseline}' elsewhere",
                node.name_span,
                hint="the first branch is the baseline and must be the same everywhere",
                other=known.span,
            )
        elif is_sequence or known.sequence:
            for name in names:
                known.add(name)
        elif set(names) != set(known.branches):
            missing = [b for b in known.branches if b not in names]
            extra = [b for b in names if b not in known.index]
            parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"adds {', '.join(extra)}"] * bool(extra)
            yield Diagnostic(
                f"branch point '{node.name}' has different branches here: it {' and '.join(parts)}",
                node.name_span,
                hint="every mention of a branch point must have the same set of branches",
                other=known.span,
            )


def collect(values: Iterable[Value | None]) -> tuple[BranchPoints, list[Diagnostic]]:
    """The registry of all points mentioned in `values`, in order, and what contradicts what."""
    registry, errors = BranchPoints(), []
    for value in values:
        for node in mentions(value):
            try:
                errors.extend(registry._declare(node))
            except TapeError as error:
                errors.extend(error.diagnostics)
    return registry, errors
