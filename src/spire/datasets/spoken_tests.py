"""Spoken test sets that lie unpacked in a folder: those of ZeroSpeech 2021, and stories with two endings.

Which utterance is right is not in a manifest; `spiritlm.evaluation.published` reads it where it was published.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from spire.datasets.records import Part, Record, inside, parts_of_rows
from spire.errors import UserError

if TYPE_CHECKING:
    from spire.datasets.catalog import CorpusFacts

GOLD = "gold.csv"
SAID = {"lexical": "word", "syntactic": "transcription"}
"""The column of a gold file that has what is said."""
_NUMBERED = re.compile(r"([0-9]+)_([a-z]+)\.wav")


def read_gold(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a gold file. UserError: there is none, or a column is missing, or a cell of it."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{path}: no column {missing[0]!r}", f"columns: {', '.join(reader.fieldnames or ())}")
            rows = list(reader)
    except FileNotFoundError:
        hint = "the folder holds lexical/dev/gold.csv; the gold of the test sets was not published"
        raise UserError(f"{path}: no such gold file", hint) from None
    for number, row in enumerate(rows, start=2):
        if any(row[name] is None for name in columns):
            raise UserError(f"{path}:{number}: a row is cut short", "unpack the archive again")
    return rows


def zerospeech2021(facts: CorpusFacts, root: Path, split: str, target: str) -> list[Part]:
    """lexical/dev/gold.csv beside lexical/dev/FILENAME.wav, and the same of syntactic; the split is `lexical.dev`."""
    task, _, part = split.partition(".")
    folder = root / task / part
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of {facts.name}", hint=facts.advice())
    rows = read_gold(folder / GOLD, ("filename", "voice", SAID[task]))

    def records(first: int, last: int) -> Iterator[Record]:
        for row in rows[first:last]:
            name = row["filename"].removesuffix(".wav")
            yield Record(name, row[SAID[task]], row["voice"], path=inside(folder, f"{name}.wav", folder / GOLD))

    return parts_of_rows(split, len(rows), records)


def spoken_storycloze(facts: CorpusFacts, root: Path, split: str, target: str) -> list[Part]:
    """sSC/N_correct.wav and sSC/N_incorrect.wav; the split is `sSC.correct`. Where the stories were cut there is also
    sSC/N_mutual.wav. With N_correct.txt beside it an utterance has its transcript, else none.
    """
    name, _, kind = split.partition(".")
    folder = root / name if (root / name).is_dir() else root
    found = {int(m[1]): path for path in folder.glob("*.wav") if (m := _NUMBERED.fullmatch(path.name)) and m[2] == kind}
    if not found:
        raise UserError(f"{folder}: no file is called as 12_{kind}.wav", hint=facts.advice())
    paths = [found[number] for number in sorted(found)]

    def records(first: int, last: int) -> Iterator[Record]:
        for path in paths[first:last]:
            text = path.with_suffix(".txt")
            said = text.read_text(encoding="utf-8") if text.is_file() else ""
            yield Record(path.name.partition("_")[0], said, path=path)

    return parts_of_rows(split, len(paths), records)
