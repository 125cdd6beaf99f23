"""What the tables of text and of speech translation share: blocks of rows by metric, COMET among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spire.tables.layout import NOT_RUN, Cell, Table

METRICS = {"bleu": "BLEU", "chrf": "chrF2"}
COMET = "COMET-22"


def add_blocks(
    table: Table,
    rows: Sequence[tuple[Sequence[str], Callable[[str], list[Cell]]]],
    published_rows: Callable[[str], list[list[Cell]]],
    blanks: int,
) -> None:
    """Append one ruled block of rows for each metric; COMET has one row for all models in each mode.

    rows: (labels left of the metric: model and, if any, mode; function from a metric to the measured and published
    cells).
    published_rows: the rows of a metric that only the literature fills.
    blanks: cells at the right end that stay empty in the COMET block, where all others say that it was not run.
    """
    for metric, title in METRICS.items():
        table.rule()
        for labels, cells in rows:
            table.add(*labels, title, *cells(metric))
        for row in published_rows(metric):
            table.add(*row)
    table.rule()
    for modes in dict.fromkeys(tuple(labels[1:]) for labels, _ in rows):
        measured = len(table.columns) - len(modes) - 2 - blanks
        table.add("all models", *modes, COMET, *[NOT_RUN] * measured, *[None] * blanks)
