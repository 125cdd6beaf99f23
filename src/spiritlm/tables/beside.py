"""The form that all tables of SpiRit-LM share: our systems, below them what was published, below that the differences.

Guarantee: a number is a measure, a plain mean of measures, a published one, or the difference of one of ours and the
published one of the same system and column. Differences are given only where both are of the same test sets: where ours
are generated there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from spire.tables.layout import Column, Number, Table
from spire.tables.published import Published

GENERATED = (
    "Our test sets are made of generated stories in synthesized voices and our models are tiny, so our numbers and the "
    "published ones are of different tests; they stand together to show the same columns, not to be compared."
)
INTERVAL = (
    "± is half the width of the 95 % percentile bootstrap interval over items (1,000 resamples, seed 1); its ends are "
    "in the .csv."
)
MARKS = (
    "* the 95 % interval of the difference from {reference} on the same items (paired bootstrap) does not contain 0; "
    "no correction for the number of comparisons, and nothing is said about another training run."
)
BLANK = "Blank: not measured here, or not published."


@dataclass(frozen=True)
class Asked:
    """A column: its key in the published file, its heading, its metric, decimals shown."""

    key: str
    title: str
    metric: str
    digits: int = 1


@dataclass(frozen=True)
class System:
    """A row of ours, with its counterpart in the published file (`published` a model or system, "" for none)."""

    label: str
    model: str
    mode: str = ""
    published: str = ""


def beside(
    name: str,
    title: str,
    asked: Sequence[Asked],
    systems: Sequence[System],
    ours: Callable[[System, Asked], Number | None],
    published: Published,
    generated: bool,
    table: str = "",
    modes: Callable[[str], str] | None = None,
    only: Callable[[str], bool] = lambda key: True,
) -> Table:
    """The table without notes.

    table: whose published rows are shown, `name` by default; only: which of their systems. modes: mode to the text of a
    second label column; None where there is no such column. Columns with nothing in them are left out.
    """
    table = table or name
    metrics = dict.fromkeys(column.metric for column in asked)
    known = dict.fromkeys(pair for metric in (*metrics, "as headed") for pair in published.systems(table, metric))
    groups = [
        [(s.label, s.mode, [ours(s, c) for c in asked]) for s in systems],
        [
            (f"{published.label(key)} (published)", mode, [_theirs(published, table, key, mode, c) for c in asked])
            for key, mode in known
            if only(key)
        ],
    ]
    if not generated:
        groups.append(
            [
                (
                    f"{s.label}: ours minus published",
                    s.mode,
                    [_difference(ours(s, c), _theirs(published, table, s.published, s.mode, c), c) for c in asked],
                )
                for s in systems
                if s.published
            ]
        )
    groups = [[row for row in group if any(row[2])] for group in groups]
    kept = [i for i in range(len(asked)) if any(row[2][i] for group in groups for row in group)]
    heads = [Column("system", label=True)] + ([Column("examples", label=True)] if modes else [])
    found = Table(name, title, heads + [Column(asked[i].title) for i in kept])
    for group in groups:
        found.rule()
        for label, mode, cells in group:
            found.add(label, *([modes(mode)] if modes else []), *(cells[i] for i in kept))
    return found


def marked(number: Number | None, gap: tuple[float, float, float] | None) -> Number | None:
    """The number with its difference from the reference, and a mark where the interval of that excludes 0."""
    if number is None or gap is None:
        return number
    value, low, high = gap
    return replace(number, delta=value, mark="*" if low > 0 or high < 0 else "")


def notes(table: Table, published: Published, generated: bool, reference: str, *sentences: str) -> list[str]:
    """What must be said below a table: its own sentences, then what its numbers need, then where published ones come
    from. reference: the label of the system that others are compared with."""
    numbers = table.numbers()
    found = list(sentences)
    if generated:
        found.append(GENERATED)
    if any(number.low is not None for number in numbers):
        found.append(INTERVAL)
    if any(number.delta is not None for number in numbers):
        found.append(f"In parentheses: difference from {reference}. " + MARKS.format(reference=reference))
    return [*found, BLANK]


def _theirs(published: Published, table: str, key: str, mode: str, column: Asked) -> Number | None:
    for metric in (column.metric, "as headed"):
        number = published.number(table, key, mode, metric, column.key) if key else None
        if number:
            return replace(number, digits=column.digits)
    return None


def _difference(ours: Number | None, theirs: Number | None, column: Asked) -> Number | None:
    return Number(ours.value - theirs.value, digits=column.digits, signed=True) if ours and theirs else None
