"""Which branch points are visible when: the algebra behind goal-directed planning.

The alternatives of a value (spec 4) form an *exclusive* family of realizations: any two of them disagree on a point
that both have. A `Shape` describes such a family without listing it:

- `flat`: the points that every alternative has;
- `conditions`: choices `(point, {branch: further shape})` whose point is flat at that level; a branch that is
  missing from the choice has no alternative.

Almost every shape of a real tape is just a set of flat points, so joining, grafting and counting cost nothing there.
Shapes are interned by their `Shapes` factory: equal shapes are the same object. `None` is the shape without any
alternative.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from ducttape.workflow.branchpoints import BranchPoints


class Condition:
    """A choice at `point` (a number): `options` maps each possible branch number to the shape that it adds."""

    __slots__ = ("point", "options", "points")

    def __init__(self, point: int, options: dict[int, Shape]):
        self.point = point
        self.options = options
        self.points = frozenset({point}).union(*(s.points for s in options.values()))


class Shape:
    """`flat` and `conditions` as above; `points` are all points that some alternative has."""

    __slots__ = ("flat", "conditions", "points")

    def __init__(self, flat: frozenset[int], conditions: tuple[Condition, ...]):
        self.flat = flat
        self.conditions = conditions
        self.points = flat.union(*(c.points for c in conditions))


class Shapes:
    """Makes and combines shapes over one registry of branch points."""

    def __init__(self, registry: BranchPoints):
        self.registry = registry
        self._sizes = [len(p.branches) for p in registry]
        self._shapes: dict[tuple, Shape] = {}
        self._conditions: dict[tuple, Condition] = {}
        self._fixed: dict[tuple, Shape | None] = {}
        self.empty = self._shape(frozenset(), ())

    def _shape(self, flat: frozenset[int], conditions: tuple[Condition, ...]) -> Shape:
        key = (flat, tuple(map(id, conditions)))
        if key not in self._shapes:
            self._shapes[key] = Shape(flat, conditions)
        return self._shapes[key]

    def _condition(self, point: int, options: dict[int, Shape]) -> Condition:
        key = (point, tuple((b, id(s)) for b, s in sorted(options.items())))
        if key not in self._conditions:
            self._conditions[key] = Condition(point, options)
        return self._conditions[key]

    def join(self, shapes: Iterable[Shape | None]) -> Shape | None:
        """The natural join: one alternative of each, all consistent."""
        shapes = list(dict.fromkeys(shapes))
        if None in shapes:
            return None
        if len(shapes) == 1:
            return shapes[0]
        flat = frozenset().union(*(s.flat for s in shapes))
        conditions = dict.fromkeys(c for s in shapes for c in s.conditions)
        return self._shape(flat, tuple(c for c in conditions if not self._adds_nothing(c, flat)))

    def _adds_nothing(self, condition: Condition, flat: frozenset[int]) -> bool:
        return len(condition.options) == self._sizes[condition.point] and all(
            not s.conditions and s.flat <= flat for s in condition.options.values()
        )

    def choose(self, point: int, options: Mapping[int, Shape | None]) -> Shape | None:
        """The shape of `(point: branch=shape ...)`; options without alternatives are left out."""
        if len(options) == self._sizes[point] and all(s is self.empty for s in options.values()):
            return self._shape(frozenset({point}), ())
        fixed = {b: self.fix(s, point, b, needed=False) for b, s in options.items()}
        alive = {b: s for b, s in fixed.items() if s is not None}
        if not alive:
            return None
        flat = frozenset.intersection(*(s.flat for s in alive.values())) | {point}
        rest = {b: self._shape(s.flat - flat, tuple(c for c in s.conditions)) for b, s in alive.items()}
        condition = self._condition(point, rest)
        return self._shape(flat, () if self._adds_nothing(condition, flat) else (condition,))

    def fix(self, shape: Shape | None, point: int, branch: int, needed: bool) -> Shape | None:
        """The alternatives that agree with `point` = `branch`, with the point removed.

        With `needed` (a graft) the alternatives that do not have the point at all are dropped.
        """
        if shape is None or (point not in shape.points):
            return None if needed else shape
        key = (shape, point, branch, needed)
        if key not in self._fixed:
            self._fixed[key] = self._fix(shape, point, branch, needed)
        return self._fixed[key]

    def _fix(self, shape: Shape, point: int, branch: int, needed: bool) -> Shape | None:
        if needed and point not in shape.flat:
            # The point is visible under some branches of other points only: split by the first of those.
            split = next(c for c in shape.conditions if point in c.points)
            rest = self._shape(shape.flat, tuple(c for c in shape.conditions if c is not split))
            parts = {b: self.fix(self.join((rest, s)), point, branch, True) for b, s in split.options.items()}
            return self.choose(split.point, parts)
        parts: list[Shape | None] = [self._shape(shape.flat - {point}, ())]
        for condition in shape.conditions:
            if condition.point == point:
                chosen = condition.options.get(branch)
                parts.append(self.fix(chosen, point, branch, False) if chosen is not None else None)
            else:
                inner = {b: self.fix(s, point, branch, False) for b, s in condition.options.items()}
                parts.append(self.choose(condition.point, inner))
        return self.join(parts)

    def possible(self, shape: Shape) -> bool:
        """Whether there is any alternative at all: conditions can contradict one another."""
        if not shape.conditions:
            return True
        everything = [range(n) for n in self._sizes]
        return next(realizations(shape, (), everything), None) is not None


def realizations(shape: Shape, order: Sequence[int], allowed: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    """Every alternative whose branches are all `allowed` (branch numbers per point number), each once.

    An alternative is a tuple of branch numbers along `order`, -1 for a point that it does not have. The cost is
    proportional to the output, plus the branches of conditional points that lead nowhere.
    """
    pending: list[tuple[dict[int, int], frozenset[int], tuple[Condition, ...]]] = [({}, shape.flat, shape.conditions)]
    while pending:
        chosen, flat, conditions = pending.pop()
        if conditions:
            condition, rest = conditions[0], conditions[1:]
            point = condition.point
            branches = (chosen[point],) if point in chosen else allowed[point]
            for branch in reversed(branches):
                added = condition.options.get(branch)
                if added is not None:
                    pending.append(({**chosen, point: branch}, flat | added.flat, added.conditions + rest))
            continue
        yield from product(*((chosen[p],) if p in chosen else allowed[p] if p in flat else (-1,) for p in order))


def visible(shape: Shape, branch_of: Mapping[int, int]) -> frozenset[int]:
    """The points of the one alternative that agrees with `branch_of`, which must cover it."""
    flat, pending = shape.flat, list(shape.conditions)
    while pending:
        condition = pending.pop()
        added = condition.options[branch_of[condition.point]]
        flat |= added.flat
        pending.extend(added.conditions)
    return flat
