"""All measures of a study, found by what they measure; plain means of several, and one model against another.

Guarantee: a mean has an interval, and two models are compared, where the items behind every part were kept; each
resample draws the items of every part, those of equally many items together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.scoring.bootstrap import percentiles
from spire.tables.layout import Number
from spiritlm.evaluation.measures import Measure, paired_resamples, read_measures, resampled

Part = tuple[str, str]
"""(test set, direction)"""


class Collected:
    """Measures by (model, task, test set, direction, metric); `UserError` when two share all of these."""

    def __init__(self, measures: Iterable[Measure]):
        self._found: dict[tuple[str, str, str, str, str], Measure] = {}
        for m in measures:
            key = (m.model, m.task, m.test_set, m.direction, m.metric)
            if key in self._found:
                raise UserError(f"measured twice: {m.stem} of {m.model}", "give every folder once")
            self._found[key] = m

    @classmethod
    def read(cls, folders: Sequence[Path]) -> Collected:
        """The measures of all folders; `UserError` as `read_measures`."""
        return cls(measure for folder in folders for measure in read_measures(folder))

    def __iter__(self):
        return iter(self._found.values())

    def get(self, model: str, task: str, part: Part, metric: str) -> Measure | None:
        return self._found.get((model, task, *part, metric))

    def select(self, **wanted: str) -> list[Measure]:
        """Measures whose fields have the wanted values, in the order of reading."""
        return [m for m in self if all(getattr(m, name) == value for name, value in wanted.items())]

    def models(self, **wanted: str) -> list[str]:
        return sorted({m.model for m in self.select(**wanted)})

    def parts(self, **wanted: str) -> list[Part]:
        return sorted({(m.test_set, m.direction) for m in self.select(**wanted)})

    def mean(self, model: str, task: str, parts: Sequence[Part], metric: str, digits: int = 1) -> Number | None:
        """One measure, or the plain mean of several; None where one is missing, or there are no parts."""
        found = self._all(model, task, parts, metric)
        if not found:
            return None
        value, low, high = found[0].value, found[0].ci_low, found[0].ci_high
        if len(found) > 1:
            value, low, high = sum(m.value for m in found) / len(found), None, None
            if all(m.items for m in found):
                bounds = percentiles(np.mean([resampled(m) for m in found], axis=0), value)
                low, high = bounds.low, bounds.high
        counts = {m.n for m in found}
        keys = tuple((m.model, m.task, m.test_set, m.direction, m.metric) for m in found)
        return Number(value, low, high, counts.pop() if len(counts) == 1 else None, digits=digits, cells=keys)

    def gap(
        self, model: str, other: str, task: str, parts: Sequence[Part], metric: str
    ) -> tuple[float, float, float] | None:
        """(model - other, low, high) on the same items, of one part or the plain mean of several; None where a part or
        its items are missing."""
        one, two = (self._all(name, task, parts, metric) for name in (model, other))
        if not one or not two or not all(m.items for m in (*one, *two)):
            return None
        value = sum(m.value for m in one) / len(one) - sum(m.value for m in two) / len(two)
        bounds = percentiles(np.mean([paired_resamples(a, b) for a, b in zip(one, two, strict=True)], axis=0), value)
        return value, bounds.low, bounds.high

    def _all(self, model: str, task: str, parts: Sequence[Part], metric: str) -> list[Measure]:
        found = [self.get(model, task, part, metric) for part in parts]
        return [] if None in found else found
