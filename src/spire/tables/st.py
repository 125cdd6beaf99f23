"""Speech translation: direct, by its own transcript, and of the reference transcript, laid out like SPIRE's Table 7."""

from __future__ import annotations

from spire.errors import UserError
from spire.tables import notes
from spire.tables.book import Book
from spire.tables.layout import Cell, Column, Table
from spire.tables.published import Published
from spire.tables.translation import METRICS, add_blocks

MODES = {"st": "direct", "cascade": "self-cascade", "gold": "gold transcript", "shuffled": "direct, other audio"}


def st_table(book: Book, published: Published) -> Table:
    """Models and modes by test sets and pairs; `UserError` when no speech translation was scored."""
    sets = book.test_sets(table="st")
    if not sets:
        raise UserError("no score of a speech translation (st.<test_set>.en-<tgt>.bleu.json) in any folder")
    pairs = {name: book.pairs(table="st", test_set=name) for name in sets}
    theirs = published.columns.get("st", [])
    columns = [Column("model", label=True), Column("mode", label=True), Column("metric", label=True)]
    for name in sets:
        columns += [Column(pair, name) for pair in pairs[name]]
        columns += [Column("mean", name)] * (len(pairs[name]) > 1)
    columns += [Column(title, "published") for _, title in theirs]
    table = Table("st", "Speech translation, higher is better (SPIRE, Table 7)", columns)

    def cells_of(model: str, mode: str):
        def cells(metric: str) -> list[Cell]:
            row: list[Cell] = []
            for name in sets:
                row += [book.number(model, mode, name, pair, metric) for pair in pairs[name]]
                row += [book.mean(model, mode, name, pairs[name], metric)] * (len(pairs[name]) > 1)
            return row + published.cells("st", model, mode, metric)

        return cells

    def published_rows(metric: str) -> list[list[Cell]]:
        blanks = len(columns) - 3 - len(theirs)
        return [
            [
                f"{system} (published)",
                MODES[mode],
                METRICS[metric],
                *[None] * blanks,
                *published.cells("st", system, mode, metric),
            ]
            for system, mode in published.systems("st", metric)
        ]

    rows = [
        ((published.label(model), title), cells_of(model, mode))
        for mode, title in MODES.items()
        for model in published.order(book.models(table="st", mode=mode))
    ]
    add_blocks(table, rows, published_rows, len(theirs))
    table.notes = [
        "Self-cascade translates the model's own transcript, gold transcript the reference transcript.",
        notes.SYNTHETIC,
        "The translations of human prompts were recorded for the same purpose, not made to be scored: some are free.",
        notes.COMET,
        notes.INTERVAL,
        *notes.signatures(book.select(table="st")),
        *published.source_notes("st"),
    ]
    return table
