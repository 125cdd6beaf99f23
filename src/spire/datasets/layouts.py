"""Corpora that lie unpacked in a folder of the user, in the layout in which they are published.

Each layout is a function of (facts, folder, split, target language) that gives the corpus in parts. The audio is left
where it is. UserError when the folder is not laid out as it should be, which names the file that was looked for.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from spire.datasets import covost
from spire.datasets.local import is_audio
from spire.datasets.records import Part, Record, inside, parts_of_rows
from spire.datasets.spoken_tests import spoken_storycloze, zerospeech2021
from spire.errors import UserError
from spire.textfiles import read_lines, read_text

if TYPE_CHECKING:
    from spire.datasets.catalog import CorpusFacts

Layout = Callable[["CorpusFacts", Path, str, str], list[Part]]


def librispeech(facts: CorpusFacts, root: Path, split: str, target: str) -> list[Part]:
    """test-clean/1089/134686/1089-134686.trans.txt beside 1089-134686-0000.flac; the split is `test.clean`."""
    folder = _folder(root, split.replace(".", "-"), facts)
    tables = sorted(folder.glob("*/*/*.trans.txt"))
    if not tables:
        raise UserError(f"{folder}: no SPEAKER/CHAPTER/*.trans.txt in it", hint=facts.advice())
    lines = [(table, line) for table in tables for line in read_lines(table) if line.strip()]

    def records(first: int, last: int) -> Iterator[Record]:
        for table, line in lines[first:last]:
            name, _, text = line.partition(" ")
            path = inside(table.parent, f"{name}.flac", table)
            yield Record(name, text, speaker=name.split("-")[0], path=path)

    return parts_of_rows(split, len(lines), records)


def common_voice(facts: CorpusFacts, root: Path, split: str, target: str) -> list[Part]:
    """{split}.tsv beside clips/."""
    table = _file(root, f"{split}.tsv", facts)
    rows = _table(table, ("path", "sentence", "client_id"), "\t")

    def records(first: int, last: int) -> Iterator[Record]:
        for name, text, speaker in rows[first:last]:
            yield Record(Path(name).stem, text, speaker, path=inside(root / "clips", name, table))

    return parts_of_rows(split, len(rows), records)


def covost2(facts: CorpusFacts, root: Path, split: str, target: str) -> list[Part]:
    """validated.tsv and clips/ of Common Voice 4, with covost_v2.en_{target}.tsv beside them."""
    pair, code = f"{facts.language}_{target}", target.partition("-")[0]
    tables = _file(root, "validated.tsv", facts), _file(root, f"covost_v2.{pair}.tsv", facts)
    rows = covost.join(*tables, split)

    def records(first: int, last: int) -> Iterator[Record]:
        for row in rows[first:last]:
            path = inside(root / "clips", row.path, tables[1])
            yield Record(Path(row.path).stem, row.sentence, row.client_id, {code: row.translation}, path=path)

    return parts_of_rows(f"{pair} {split}", len(rows), records)


def europarl_st(facts: CorpusFacts, root: Path, split: str, target: str) -> list[Part]:
    """en/{target}/{split}/segments.lst (audio, start, end), segments.en, segments.{target}; en/audios/."""
    source = facts.language
    folder = _folder(root / source / target, split, facts)
    table = _file(folder, "segments.lst", facts)
    lists = [read_lines(_file(folder, name, facts)) for name in ("segments.lst", f"segments.{source}")]
    lists.append(read_lines(_file(folder, f"segments.{target}", facts)))
    if len({len(lines) for lines in lists}) > 1:
        counts = ", ".join(str(len(lines)) for lines in lists)
        raise UserError(f"{folder}: segments.lst, .{source} and .{target} have {counts} lines", hint="unpack it again")
    audios = _folder(root / source, "audios", facts)
    files = {path.stem: path for path in sorted(audios.iterdir()) if is_audio(path.name)}
    if not files:
        hint = "libsndfile does not read the .m4a of the archive; convert them once, see docs/corpora.md"
        raise UserError(f"{audios}: no audio file that can be read", hint)

    def records(first: int, last: int) -> Iterator[Record]:
        for row in range(first, last):
            name, start, end = _segment(lists[0][row], table, row + 1)
            problem = "" if name in files else f"{name}: no such file in {audios.name}"
            identifier = f"{name}-{round(start * 100):07d}-{round(end * 100):07d}"
            translations = {target: lists[2][row].strip()}
            times = {"path": files.get(name), "start": start, "duration": round(end - start, 3)}
            yield Record(identifier, lists[1][row], "", translations, **times, problem=problem)

    return parts_of_rows(f"{source}-{target} {split}", len(lists[0]), records)


def spgispeech(facts: CorpusFacts, root: Path, split: str, target: str) -> list[Part]:
    """{split}.csv, separated by |, beside {split}/FOLDER/NUMBER.wav."""
    table = _file(root, f"{split}.csv", facts)
    rows = _table(table, ("wav_filename", "transcript"), "|")

    def records(first: int, last: int) -> Iterator[Record]:
        for name, text in rows[first:last]:
            path = inside(root / split, name, table)
            yield Record(Path(name).with_suffix("").as_posix(), text, Path(name).parts[0], path=path)

    return parts_of_rows(split, len(rows), records)


def vctk(facts: CorpusFacts, root: Path, split: str, target: str) -> list[Part]:
    """wav48_silence_trimmed/p225/p225_001_mic1.flac with txt/p225/p225_001.txt; one microphone of the two."""
    folder = _folder(root, "wav48_silence_trimmed", facts)
    texts = _folder(root, "txt", facts)
    ending = f"_{facts.microphone or 'mic1'}.flac"
    files = sorted(folder.glob(f"*/*{ending}"))
    if not files:
        raise UserError(f"{folder}: no file ends with {ending}", hint="VCTK 0.92 has mic1 and mic2")

    def records(first: int, last: int) -> Iterator[Record]:
        for path in files[first:last]:
            name, speaker = path.name.removesuffix(ending), path.parent.name
            text = texts / speaker / f"{name}.txt"
            # Speaker p315 has recordings whose transcripts were lost.
            problem = "" if text.is_file() else "no transcript"
            yield Record(name, "" if problem else read_text(text), speaker, path=path, problem=problem)

    return parts_of_rows(split, len(files), records)


LAYOUTS: dict[str, Layout] = {
    "librispeech": librispeech,
    "common_voice": common_voice,
    "covost2": covost2,
    "europarl_st": europarl_st,
    "spgispeech": spgispeech,
    "vctk": vctk,
    "zerospeech2021": zerospeech2021,
    "spoken_storycloze": spoken_storycloze,
}


def _folder(root: Path, name: str, facts: CorpusFacts) -> Path:
    if not (root / name).is_dir():
        raise UserError(f"{root / name}: no such folder of {facts.name}", hint=facts.advice())
    return root / name


def _file(root: Path, name: str, facts: CorpusFacts) -> Path:
    if not (root / name).is_file():
        raise UserError(f"{root / name}: no such file of {facts.name}", hint=facts.advice())
    return root / name


def _table(path: Path, names: tuple[str, ...], delimiter: str) -> list[tuple[str, ...]]:
    """The named columns of an unquoted table with a header; UserError with the line that is short."""
    lines = read_lines(path)
    header = lines[0].split(delimiter) if lines else []
    missing = [name for name in names if name not in header]
    if missing:
        raise UserError(f"{path}: no column {missing[0]!r}", hint="columns: " + ", ".join(header))
    places = [header.index(name) for name in names]
    rows = []
    for number, row in enumerate(csv.reader(lines[1:], delimiter=delimiter, quoting=csv.QUOTE_NONE), start=2):
        if not row:
            continue
        if len(row) <= max(places):
            raise UserError(f"{path}:{number}: {len(row)} columns where {len(header)} are expected")
        rows.append(tuple(row[place] for place in places))
    return rows


def _segment(line: str, table: Path, number: int) -> tuple[str, float, float]:
    try:
        name, start, end = line.split()
        if not 0 <= float(start) < float(end):
            raise ValueError
        return name, float(start), float(end)
    except ValueError as e:
        raise UserError(f"{table}:{number}: expected audio, start and end, found {line[:60]!r}") from e
