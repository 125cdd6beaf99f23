"""Published numbers and the model matrix, from `configs/published/*.yml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from spire.errors import UserError
from spire.tables.layout import Number
from spire.textfiles import read_text


@dataclass(frozen=True)
class Model:
    """A row of the model matrix: what it is called and what went into it."""

    label: str
    starts_from: str
    cpt: str
    it: str


@dataclass(frozen=True)
class PublishedNumber:
    """One number that was read in its source. Exactly one of `model` (a row of ours) and `system` is not empty."""

    table: str
    column: str
    mode: str
    metric: str
    value: float
    source: str
    model: str = ""
    system: str = ""


@dataclass(frozen=True)
class Published:
    """The whole file.

    Attributes:
        models: the model matrix, in the order of tables, by our names.
        columns: (key, title) of the paper's columns, by table.
        numbers: verified numbers only.
        sources, notes: one sentence each, by name of the source.
    """

    models: dict[str, Model]
    columns: dict[str, list[tuple[str, str]]]
    numbers: list[PublishedNumber]
    sources: dict[str, str]
    notes: dict[str, str]

    def label(self, model: str) -> str:
        """The name in tables; a model outside the matrix keeps its own."""
        return self.models[model].label if model in self.models else model

    def order(self, models: list[str]) -> list[str]:
        """Models in the order of the matrix, others after them by name."""
        return [m for m in self.models if m in models] + sorted(set(models) - set(self.models))

    def cells(self, table: str, row: str, mode: str, metric: str) -> list[Number | None]:
        """The published part of a row; `row` is the name of a model or of a system."""
        found = {
            number.column: Number(number.value)
            for number in self.numbers
            if number.table == table
            and row in (number.model, number.system)
            and (number.mode, number.metric) == (mode, metric)
        }
        return [found.get(key) for key, _ in self.columns.get(table, [])]

    def systems(self, table: str, metric: str) -> list[tuple[str, str]]:
        """(system, mode) of rows that only the literature fills, in the order of the file."""
        pairs = [(n.system, n.mode) for n in self.numbers if n.table == table and n.metric == metric and n.system]
        return list(dict.fromkeys(pairs))

    def source_notes(self, table: str) -> list[str]:
        """What a reader must know about the published numbers of a table."""
        used = dict.fromkeys(number.source for number in self.numbers if number.table == table)
        notes = [
            "Published columns hold only numbers whose source was read; blank means not verified, not zero. They were "
            "measured on other test sets with models of another size and are no target for ours."
        ]
        return notes + [f"{self.notes[name]} Source: {self.sources[name]}." for name in used]


def read_published(path: Path) -> Published:
    """Read and check the file; `UserError` naming the entry for an unknown field, column, source or unverified
    status."""
    try:
        record = yaml.safe_load(read_text(path))
    except yaml.YAMLError as e:
        raise UserError(f"{path}: not YAML: {' '.join(str(e).split())}") from None
    try:
        columns = {t: [(c["key"], c["title"]) for c in found] for t, found in record["columns"].items()}
        published = Published(
            models={name: Model(**fields) for name, fields in record["models"].items()},
            columns=columns,
            numbers=[
                _number(path, i, entry, columns, record["sources"])
                for i, entry in enumerate(record["numbers"], start=1)
            ],
            sources=record["sources"],
            notes=record["notes"],
        )
    except (KeyError, TypeError, AttributeError) as e:
        raise UserError(
            f"{path}: not a file of published numbers: {e}", "see configs/published/spire.yml for its form"
        ) from None
    missing = {number.source for number in published.numbers} - set(published.notes)
    if missing:
        raise UserError(f"{path}: no note for source {', '.join(sorted(missing))}", "add a sentence under notes")
    return published


def _number(path: Path, index: int, entry: dict, columns: dict, sources: dict) -> PublishedNumber:
    where = f"{path}: number {index}"
    fields = dict(entry)
    if fields.pop("status", None) != "verified":
        raise UserError(f"{where}: status is not verified", "leave a number out until its source has been read")
    number = PublishedNumber(**fields)
    if bool(number.model) == bool(number.system):
        raise UserError(f"{where}: needs either a model or a system")
    if number.column not in dict(columns.get(number.table, [])):
        raise UserError(f"{where}: table {number.table!r} has no column {number.column!r}")
    if number.source not in sources:
        raise UserError(f"{where}: unknown source {number.source!r}")
    if not isinstance(number.value, int | float):
        raise UserError(f"{where}: value {number.value!r} is not a number")
    return number
