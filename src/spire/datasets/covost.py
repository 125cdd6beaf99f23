"""CoVoST 2 from its official table and Common Voice 4 (spec 12).

The join is an inner one on the file name: `validated.tsv` of Common Voice has path, sentence and client_id,
`covost_v2.SRC_TGT.tsv` path, translation and split. Both are tab-separated, unquoted, a backslash escapes. The split
`train` takes the rows of train and train_covost, dev and test those that say exactly so. The tables that are written
have quotation marks escaped by a backslash, as the published ones.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spire.errors import UserError
from spire.files import replaced_file

SPLITS = {"train": ("train", "train_covost"), "dev": ("dev",), "test": ("test",)}
COLUMNS = ("path", "sentence", "translation", "client_id")


class _Dialect(csv.Dialect):
    delimiter = "\t"
    quoting = csv.QUOTE_NONE
    quotechar = '"'
    escapechar = "\\"
    doublequote = False
    lineterminator = "\n"
    strict = True


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the joined table."""

    path: str
    sentence: str
    translation: str
    client_id: str


def join(validated: str | Path, translations: str | Path, split: str) -> list[Row]:
    """The rows of a split in the order of `validated`. UserError: a missing table or column, or an unknown split."""
    if split not in SPLITS:
        raise UserError(f"CoVoST 2 has no split {split!r}", hint="one of " + ", ".join(SPLITS))
    of_split: dict[str, list[str]] = {}
    for path, translation, name in _columns(Path(translations), ("path", "translation", "split")):
        if name in SPLITS[split]:
            of_split.setdefault(path, []).append(translation)
    rows = []
    for path, sentence, client in _columns(Path(validated), ("path", "sentence", "client_id")):
        rows += [Row(path, sentence, translation, client) for translation in of_split.get(path, ())]
    return rows


def write_table(path: str | Path, rows: Iterable[Row]) -> int:
    """Write covost_v2.SRC_TGT.SPLIT.tsv, whole or not at all; the number of rows."""
    count = 0
    with replaced_file(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, dialect=_Dialect)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([row.path, row.sentence, row.translation, row.client_id])
            count += 1
    return count


def _columns(path: Path, names: tuple[str, ...]) -> Iterator[list[str]]:
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such table", hint="docs/corpora.md says where the tables of CoVoST 2 are") from e
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: byte {e.start} is not UTF-8") from e
    reader = csv.reader(io.StringIO(text, newline=""), dialect=_Dialect)
    header = next(reader, [])
    missing = [name for name in names if name not in header]
    if missing:
        raise UserError(f"{path}: no column {missing[0]!r}", hint="columns: " + ", ".join(header))
    places = [header.index(name) for name in names]
    try:
        for row in reader:
            if len(row) < len(header):
                raise UserError(f"{path}:{reader.line_num}: {len(row)} columns where {len(header)} are expected")
            yield [row[place] for place in places]
    except csv.Error as e:
        raise UserError(f"{path}:{reader.line_num}: {e}") from e
