"""All scores of a study in one CSV file, and back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from spire.errors import UserError
from spire.scoring.cells import FIELDS, METRICS, MODES, ScoreCell, make_cell
from spire.tables.book import TEST_SETS, Book
from spire.textfiles import read_text, write_text

MODELS = ("tower_base", "spire_base", "spire_full", "spire_no_blocks", "spire_no_pseudo", "tower_full")


def write_scores(path: Path, cells: Iterable[ScoreCell]) -> None:
    """Write one line a cell under the heading `FIELDS`, in the order of the tables; numbers with at most six
    decimals."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for cell in sorted(cells, key=_rank):
        writer.writerow([_text(getattr(cell, name)) for name in FIELDS])
    write_text(path, out.getvalue())


def read_scores(path: Path) -> Book:
    """The cells of a CSV file; `UserError` with the line for a missing column, a bad number, or a cell that occurs
    twice."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    missing = [name for name in FIELDS if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{path}:1: no column {', '.join(missing)}", f"expected the heading {','.join(FIELDS)}")
    return Book(make_cell(row, f"{path}:{reader.line_num}") for row in reader)


def _text(value: object) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _rank(cell: ScoreCell) -> tuple:
    """Order of the tables; what has no place in it follows by name."""

    def place(name: str, known: tuple[str, ...]) -> tuple[int, str]:
        return (known.index(name) if name in known else len(known), name)

    return (
        place(cell.table, ("asr", "mt", "st")),
        place(cell.model, MODELS),
        place(cell.mode, MODES),
        place(cell.test_set, TEST_SETS),
        cell.language_pair,
        place(cell.metric, METRICS),
    )
