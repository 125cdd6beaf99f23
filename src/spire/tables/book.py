"""All score cells of a study, found by what they measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from spire.errors import UserError
from spire.scoring.cells import ScoreCell, read_cells
from spire.tables.layout import Number

TEST_SETS = ("seen", "unseen", "human", "test")
"""Order in tables; further test sets follow by name."""


class Book:
    """Score cells by (model, mode, test set, language pair, metric); `UserError` when two cells share a key."""

    def __init__(self, cells: Iterable[ScoreCell]):
        self._cells: dict[tuple[str, str, str, str, str], ScoreCell] = {}
        for cell in cells:
            if cell.key in self._cells:
                raise UserError(
                    f"scored twice: {cell.model}, {cell.mode} on {cell.test_set} {cell.language_pair}, {cell.metric}",
                    "give every folder of scores once, and every model its own name",
                )
            self._cells[cell.key] = cell

    @classmethod
    def read(cls, folders: Sequence[Path]) -> Book:
        """The cells of all folders; `UserError` as `read_cells`."""
        return cls(cell for folder in folders for cell in read_cells(folder))

    def __iter__(self):
        return iter(self._cells.values())

    def cell(self, model: str, mode: str, test_set: str, pair: str, metric: str) -> ScoreCell | None:
        return self._cells.get((model, mode, test_set, pair, metric))

    def number(self, model: str, mode: str, test_set: str, pair: str, metric: str) -> Number | None:
        """The cell as a table shows it; None when it was not scored."""
        cell = self.cell(model, mode, test_set, pair, metric)
        return Number(cell.value, cell.ci_low, cell.ci_high, cell.n) if cell else None

    def mean(self, model: str, mode: str, test_set: str, pairs: Sequence[str], metric: str) -> Number | None:
        """The plain mean over language pairs, without an interval; None when a pair is missing or there are none."""
        cells = [self.cell(model, mode, test_set, pair, metric) for pair in pairs]
        if not cells or None in cells:
            return None
        return Number(sum(cell.value for cell in cells) / len(cells))

    def models(self, **wanted: str) -> list[str]:
        """Names of the models with a cell whose fields have the wanted values, sorted."""
        return sorted({cell.model for cell in self.select(**wanted)})

    def select(self, **wanted: str) -> list[ScoreCell]:
        return [cell for cell in self if all(getattr(cell, name) == value for name, value in wanted.items())]

    def test_sets(self, **wanted: str) -> list[str]:
        found = {cell.test_set for cell in self.select(**wanted)}
        return [name for name in TEST_SETS if name in found] + sorted(found - set(TEST_SETS))

    def pairs(self, **wanted: str) -> list[str]:
        return sorted({cell.language_pair for cell in self.select(**wanted)})
