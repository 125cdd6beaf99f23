"""Test sets of text with several answers, of which one is right: multiple-choice questions and story endings.

questions   SPLIT.jsonl   {"id", "subject", "question", "choices": [...], "answer": number}, from parquet (MMLU)
stories     SPLIT.jsonl   {"id", "sentences": [4 texts], "endings": [2 texts], "answer": number}, from csv (StoryCloze)

Rows keep the order of the files; answers are counted from 0.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from spire.datasets.text_lines import decoded
from spire.datasets.text_tables import Table
from spire.errors import UserError

if TYPE_CHECKING:
    from spire.datasets.text_readers import Made

_QUESTION = ("question", "choices", "answer", "subject")
_STORY = ("id", "sentence1", "sentence2", "sentence3", "sentence4", "ending1", "ending2", "answer")


def questions(made: Made) -> None:
    """Multiple-choice questions of parquet tables: `answer` is the number of the right choice, or its letter."""
    columns = {role: made.facts.column(role) for role in _QUESTION}

    def rows(split: str, files: list) -> Iterator[dict[str, Any]]:
        number = 0
        for file in files:
            with Table(file.name, lambda file=file: made.fetched(file)) as table:
                for row in table.rows(list(columns.values())):
                    yield _question(split, number, {role: row[name] for role, name in columns.items()}, file.name)
                    number += 1

    _splits(made, rows)


def stories(made: Made) -> None:
    """Four sentences and two endings a row, of csv files; `answer` is 1 or 2."""
    columns = {role: made.facts.column(role) for role in _STORY}

    def rows(split: str, files: list) -> Iterator[dict[str, Any]]:
        seen: set[str] = set()
        for file in files:
            reader = csv.DictReader(io.StringIO(decoded(made.fetched(file).read_bytes(), file.name)))
            missing = [name for name in columns.values() if name not in (reader.fieldnames or ())]
            if missing:
                hint = f"columns: {', '.join(reader.fieldnames or ())}; correct `columns` in the description"
                raise UserError(f"{file.name}: no column {missing[0]!r}", hint)
            for row in reader:
                found = _story({role: row[name] for role, name in columns.items()}, f"{file.name}:{reader.line_num}")
                if found["id"] in seen:
                    raise UserError(f"{file.name}: the story {found['id']!r} occurs twice", "another edition?")
                seen.add(found["id"])
                yield found

    _splits(made, rows)


def _splits(made: Made, rows) -> None:
    """An output for each split of the description, with as many rows as it says."""
    facts = made.facts
    files = {split: made.source.files(wanted.files) for split, wanted in facts.splits.items()}
    made.begin()
    for split, wanted in facts.splits.items():
        made.files += files[split]
        made.outputs[f"{split}.jsonl"] = _counted(rows(split, files[split]), facts.name, split, wanted.rows)


def _counted(rows: Iterator[dict], name: str, split: str, expected: int | None) -> Iterator[dict]:
    number = 0
    for row in rows:
        number += 1
        yield row
    if number != expected if expected is not None else not number:
        hint = "another revision; correct `rows` in the description if it is right"
        raise UserError(f"{name}: {split} has {number} rows, but it should have {expected or 'some'}", hint)


def _question(split: str, number: int, row: dict[str, Any], name: str) -> dict[str, Any]:
    where = f"{name}: row {number + 1}"
    texts, choices = (row["question"], row["subject"]), row["choices"]
    if not all(isinstance(text, str) and text.strip() for text in texts) or not isinstance(choices, list):
        raise UserError(f"{where}: no question, subject or choices", "another revision?")
    answer = row["answer"]
    if isinstance(answer, str) and len(answer) == 1:
        answer = ord(answer.upper()) - ord("A")
    if not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise UserError(f"{where}: the answer is {row['answer']!r} of {len(choices)} choices", "another revision?")
    found = {"id": f"{split}.{number}", "subject": row["subject"], "question": row["question"]}
    return found | {"choices": [str(choice) for choice in choices], "answer": answer}


def _story(row: dict[str, str], where: str) -> dict[str, Any]:
    texts = {role: " ".join((row[role] or "").split()) for role in _STORY}
    empty = next((role for role, text in texts.items() if not text), None)
    if empty or texts["answer"] not in ("1", "2"):
        raise UserError(f"{where}: {'no ' + empty if empty else 'the answer is ' + texts['answer']}", "a cut file?")
    sentences = [texts[f"sentence{n}"] for n in (1, 2, 3, 4)]
    endings = [texts["ending1"], texts["ending2"]]
    return {"id": texts["id"], "sentences": sentences, "endings": endings, "answer": int(texts["answer"]) - 1}
