"""What becomes of each kind of text corpus (`reader` of its description), as rows by the name of their output file.

sentences      SPLIT.jsonl              {"id", CODE: text, ...}, n-way
tasks          see spire.datasets.text_tower
conversations  NAME.jsonl               {"conversations", "lang", "split", "dataset", "task"}
table          NAME.jsonl               the table's columns but for audio, and "file", where the row is from
mono           NAME.CODE.jsonl          {"text", "lang"}
parallel       NAME.en-CODE.jsonl       {"en", CODE}
questions      see spire.datasets.text_choices
stories        see spire.datasets.text_choices
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spire.datasets.text_archive import read_members
from spire.datasets.text_catalog import TextFacts
from spire.datasets.text_choices import questions, stories
from spire.datasets.text_lines import rows_of, sentence
from spire.datasets.text_sample import Budget, Sample, mono_row, parallel_row, sample
from spire.datasets.text_source import TextFile, TextSource
from spire.datasets.text_tables import Table, jsonable
from spire.datasets.text_tests import TestSentences
from spire.datasets.text_tower import task_rows, unpacked_members, wanted_member
from spire.errors import UserError


@dataclass(frozen=True)
class Request:
    """What a user chose: languages (empty: all), a budget and a seed of samples, test sets to keep out, tasks."""

    languages: tuple[str, ...] = ()
    budget: Budget = Budget()
    seed: int = 1
    tests: tuple[Path, ...] = ()
    tasks: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """As JSON; the test sets are identified elsewhere, by their content."""
        budget = {"rows": self.budget.rows, "characters": self.budget.characters}
        return {"languages": list(self.languages), **budget, "seed": self.seed, "tasks": list(self.tasks)}


@dataclass
class Made:
    """A corpus in the making. Readers call `begin` when they know that it may be had, and fill the rest."""

    facts: TextFacts
    source: TextSource
    languages: tuple[str, ...]
    request: Request
    tests: dict[str, TestSentences]
    work: Path
    keep: bool
    begin: Callable[[], None]
    outputs: dict[str, Iterable[dict[str, Any]]] = field(default_factory=dict)
    files: list[TextFile] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    samples: dict[str, Sample] = field(default_factory=dict)

    def fetched(self, file: TextFile) -> Path:
        """The file on disk."""
        return file.fetch(self.work / "source")

    def notes(self) -> dict[str, Any]:
        """For text.json: counts, and of samples their size and what was left out."""
        for name, result in self.samples.items():
            self.files += [file for file in result.files if file not in self.files]
            self.counts[f"{name}: characters"] = result.characters
            for reason, number in sorted(result.dropped.items()):
                self.counts[f"{name}: left out: {reason}"] = number
        return {key: number for key, number in self.counts.items() if number}


def _sentences(made: Made) -> None:
    facts = made.facts
    files: dict[tuple[str, str], TextFile] = {}
    for split, wanted in facts.splits.items():
        for code in made.languages:
            found = made.source.files(wanted.files, facts.languages[code])
            if len(found) != 1:
                names = ", ".join(file.name for file in found[:4])
                raise UserError(f"{facts.name}: {len(found)} files for {split}, {code}: {names}")
            files[split, code] = found[0]
    made.begin()
    made.files += files.values()
    for split, wanted in facts.splits.items():
        rows: dict[str, dict[str, Any]] = {}
        for code in made.languages:
            file = files[split, code]
            texts = _by_id(made, file, split, code)
            if wanted.rows is not None and len(texts) != wanted.rows:
                hint = "another revision; correct `rows` in the description if it is right"
                raise UserError(
                    f"{facts.name}: {file.name} has {len(texts)} rows, but it should have {wanted.rows}", hint
                )
            if rows and list(texts) != list(rows):
                other = next((key for key in {*texts} ^ {*rows}), "the order")
                hint = "a revision in which a language is being worked on? choose another, or leave the language out"
                raise UserError(f"{facts.name}: {file.name} has not the ids of the others ({other})", hint)
            for key, text in texts.items():
                rows.setdefault(key, {"id": f"{split}.{key}"})[code] = text
        made.outputs[f"{split}.jsonl"] = list(rows.values())


def _by_id(made: Made, file: TextFile, split: str, code: str) -> dict[str, str]:
    identity, column = made.facts.column("id"), made.facts.column("text")
    texts: dict[str, str] = {}
    for row in _rows_of_file(made, file, [identity, column]):
        key, value = str(row[identity]), row[column]
        if key in texts:
            raise UserError(f"{file.name}: the id {key} occurs twice", hint="another revision?")
        text, broken = sentence(value if isinstance(value, str) else "")
        if not text:
            raise UserError(f"{file.name}: the row with id {key} has no text", hint="another revision?")
        made.counts[f"{split}, {code}: line breaks inside of a text made spaces"] += broken
        texts[key] = text
    return texts


def _rows_of_file(made: Made, file: TextFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of a parquet table, or of a small JSONL file, which is held in memory."""
    if not file.name.endswith(".jsonl"):
        with Table(file.name, lambda: made.fetched(file)) as table:
            yield from table.rows(columns)
        return
    for number, row in enumerate(rows_of(made.fetched(file).read_bytes(), file.name), start=1):
        for column in columns:
            if column not in row:
                hint = f"it has {', '.join(row)}; correct `columns` in the description"
                raise UserError(f"{file.name}: row {number} has no {column!r}", hint)
        yield row


def _tasks(made: Made) -> None:
    facts = made.facts
    tasks = made.request.tasks or tuple(facts.tasks)
    for task in tasks:
        if task not in facts.tasks:
            raise UserError(f"{facts.name} has no task {task!r}", hint="one of " + ", ".join(facts.tasks))
    folder = made.source.folder
    if folder is not None and (members := unpacked_members(folder)):
        made.begin()
    else:
        (archive,) = made.source.files(next(iter(facts.splits.values())).files)[:1]
        made.begin()
        made.files.append(archive)
        members = read_members(made.fetched(archive), wanted_member)
    found = task_rows(facts, members, tasks)
    made.outputs |= found.outputs
    made.counts.update(found.counts)


def _conversations(made: Made) -> None:
    columns = [made.facts.column(role) for role in ("conversations", "lang", "split", "dataset", "task")]

    def rows(files: list[TextFile]) -> Iterator[dict[str, Any]]:
        for _, row in _table_rows(made, files, columns):
            turns = row[columns[0]]
            well = isinstance(turns, list) and all(
                isinstance(t, dict) and isinstance(t.get("from"), str) and isinstance(t.get("value"), str)
                for t in turns
            )
            if not well or not turns:
                made.counts["left out: no conversation"] += 1
                continue
            said = [{"from": turn["from"], "value": turn["value"]} for turn in turns]
            row = {"conversations": said} | {name: jsonable(row[name]) for name in columns[1:]}
            yield row

    _one_file(made, rows)


def _table(made: Made) -> None:
    def rows(files: list[TextFile]) -> Iterator[dict[str, Any]]:
        required = [made.facts.column(role) for role in ("source", "mt")]
        for file, row in _table_rows(made, files, None, required):
            if not all(isinstance(row[name], str) and row[name].strip() for name in required):
                made.counts["left out: an empty side"] += 1
                continue
            yield {key: jsonable(value) for key, value in row.items()} | {"file": file.name}

    _one_file(made, rows)


def _one_file(made: Made, rows: Callable[[list[TextFile]], Iterator[dict[str, Any]]]) -> None:
    facts = made.facts
    (wanted,) = facts.splits.values()
    files = made.source.files(wanted.files)
    made.begin()
    made.files += files

    def checked() -> Iterator[dict[str, Any]]:
        number = 0
        for row in rows(files):
            number += 1
            yield row
        left = sum(n for reason, n in made.counts.items() if reason.startswith("left out"))
        if wanted.rows is not None and number + left != wanted.rows or not number:
            hint = "another revision; correct `rows` in the description if it is right"
            raise UserError(f"{facts.name}: {number + left} rows, but it should have {wanted.rows or 'some'}", hint)

    made.outputs[f"{facts.key}.jsonl"] = checked()


def _table_rows(
    made: Made, files: list[TextFile], columns: list[str] | None, required: list[str] | None = None
) -> Iterator[tuple[TextFile, dict[str, Any]]]:
    """Rows of all files, with these columns, or with all that hold no audio."""
    audio = made.facts.columns.get("audio", "audio")
    for file in files:
        with Table(file.name, lambda file=file: made.fetched(file)) as table:
            wanted = columns or [name for name in table.columns() if name != audio]
            # The ones that are needed first, for an error that names them.
            for row in table.rows([*(required or []), *(name for name in wanted if name not in (required or []))]):
                yield file, row


def _mono(made: Made) -> None:
    _sampled(made, lambda code: (f"mono.{code}", mono_row(made.facts, code, _tests(made, code))))


def _parallel(made: Made) -> None:
    def maker(code: str):
        tests = {side: _tests(made, side) for side in ("en", code)}
        return f"parallel.en-{code}", parallel_row(made.facts, code, tests)

    _sampled(made, maker)


def _tests(made: Made, code: str) -> TestSentences:
    return made.tests.get(code) or TestSentences(code, ())


def _sampled(made: Made, maker: Callable[[str], tuple[str, Callable]]) -> None:
    facts, request = made.facts, made.request
    (wanted,) = facts.splits.values()
    files = {code: made.source.files(wanted.files, facts.languages[code]) for code in made.languages}
    made.begin()
    for code in made.languages:
        name, make = maker(code)
        made.samples[name] = result = Sample()
        work = made.work / code
        made.outputs[f"{name}.jsonl"] = sample(facts, files[code], make, request.budget, request.seed, work, result)


READ: dict[str, Callable[[Made], None]] = {
    "sentences": _sentences,
    "tasks": _tasks,
    "conversations": _conversations,
    "table": _table,
    "mono": _mono,
    "parallel": _parallel,
    "questions": questions,
    "stories": stories,
}
