"""A published corpus as a manifest, made part by part so that a stopped run goes on where it was.

    out/manifest.jsonl    the utterances, in the order of the corpus
    out/audio/00000.tar   their audio as published, undecoded; absent where the corpus lies unpacked in a folder
    out/dropped.jsonl     what was left out, and why
    out/corpus.json       licence, commit, files with checksums, counts, hours

A manifest's line says where in an archive its audio is (`offset`, `size`), so that a corpus of ten million utterances
is a few thousand files. The same commit gives the same bytes, whatever was interrupted. `manifest.jsonl` and
`corpus.json` appear when everything is there; until then the finished parts lie in out/.parts.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from spire.audio import audio_seconds
from spire.datasets.catalog import CorpusFacts
from spire.datasets.embedded import audio_ending
from spire.datasets.records import Part, Record
from spire.datasets.shards import Shard
from spire.datasets.sources import Source
from spire.datasets.transcripts import cleaned
from spire.errors import UserError
from spire.files import replaced_file
from spire.progress import Progress
from spire.textfiles import read_json, write_json

SHORTEST = 0.025  # seconds: less is not one frame of an encoder
MANIFEST, DROPPED, SUMMARY = "manifest.jsonl", "dropped.jsonl", "corpus.json"


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of the result; a folder that was begun with others is not gone on with."""

    corpus: str
    split: str
    target: str
    shard: str
    limit: int | None
    clean: tuple[str, ...]
    columns: dict[str, str]
    source: str
    commit: str
    parts: str


def settings_of(facts: CorpusFacts, source: Source, shard: Shard, limit: int | None) -> Settings:
    """The settings of a run over `source`."""
    digest = hashlib.sha256(json.dumps([(p.name, p.digest, p.size) for p in source.parts]).encode()).hexdigest()
    return Settings(
        corpus=facts.key,
        split=source.split,
        target=source.target,
        shard=str(shard),
        limit=limit,
        clean=facts.clean,
        columns=dict(facts.columns),
        source=source.name,
        commit=source.commit,
        parts=digest,
    )


def prepare(
    facts: CorpusFacts,
    source: Source,
    out: Path,
    shard: Shard | None = None,
    limit: int | None = None,
    keep: bool = False,
) -> dict[str, Any]:
    """Write `out` (or go on with it) and return what corpus.json holds. `limit` takes the first utterances only, `keep`
    leaves the fetched files in out/.source.

    UserError: `out` holds another corpus, a file cannot be had, nothing usable is in it, ids repeat, or the split has
    not as many utterances as the description says. The finished parts stay for the next run.
    """
    shard = shard or Shard()
    settings = settings_of(facts, source, shard, limit)
    state = json.loads(json.dumps(asdict(settings)))
    if (out / SUMMARY).is_file():
        found = read_json(out / SUMMARY)
        if found.get("settings") == state:
            return found
        raise UserError(f"{out}: holds another corpus, split or revision", hint="give another --out, or remove it")
    work = out / ".parts"
    _claim(work / "settings.json", state, out)
    first, last = shard.cut(len(source.parts), np.array([part.size for part in source.parts], np.float64))
    (out / "audio").mkdir(exist_ok=True)
    reports, taken = [], 0
    with Progress("prepare", total=last - first, unit="parts") as progress:
        for number in range(first, last):
            if limit is not None and taken >= limit:
                break
            allowed = None if limit is None else limit - taken
            report = _part(source.parts[number], number, facts, out, work, allowed, keep)
            reports.append(report)
            taken += report["utterances"]
            progress.advance(1, note=f"{taken} utterances")
    return _finish(facts, source, state, reports, out, work, whole=shard.parts == 1 and limit is None, keep=keep)


def _claim(path: Path, state: dict[str, Any], out: Path) -> None:
    if not path.is_file():
        write_json(path, state)
    elif (begun := read_json(path)) != state:
        other = next(key for key in state if begun.get(key) != state[key])
        hint = f"{other} was {begun.get(other)!r} and is {state[other]!r}; give another --out, or remove this one"
        raise UserError(f"{out}: was begun with another {other}", hint)


def _part(
    part: Part, number: int, facts: CorpusFacts, out: Path, work: Path, allowed: int | None, keep: bool
) -> dict[str, Any]:
    """Convert one part, unless that was done already; its report."""
    done = work / f"{number:05d}.json"
    if done.is_file():
        return read_json(done)
    writer = _Writer(out, number)
    dropped: list[dict[str, Any]] = []
    lines: list[str] = []
    with writer:
        for row, record in enumerate(part.records(out / ".source")):
            if allowed is not None and len(lines) >= allowed:
                break
            reason, line = _line(record, number, row, facts, writer)
            if reason:
                dropped.append({"part": part.name, "row": row + 1, "id": record.id, "reason": reason})
            else:
                lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    _write(work / f"{number:05d}.jsonl", "".join(lines))
    _write(work / f"{number:05d}.dropped", "".join(json.dumps(d, ensure_ascii=False) + "\n" for d in dropped))
    report = {
        "name": part.name,
        "digest": part.digest,
        "number": number,
        "rows": len(lines) + len(dropped),
        "utterances": len(lines),
        "seconds": round(writer.seconds, 3),
        "archive": writer.summary,
        "reasons": dict(Counter(_kind(d["reason"]) for d in dropped)),
    }
    # Last, because it says that the part is done.
    write_json(done, report)
    if not keep:
        shutil.rmtree(out / ".source", ignore_errors=True)
    return report


def _line(record: Record, number: int, row: int, facts: CorpusFacts, writer: _Writer) -> tuple[str, dict[str, Any]]:
    """Why the record is left out, or the manifest's line for it."""
    if record.problem:
        return record.problem, {}
    text = cleaned(record.text, facts.clean)
    if text is None and facts.untranscribed and not record.text.strip():
        text = ""
    if text is None:
        return ("no transcript" if not record.text.strip() else "transcript dropped by " + ", ".join(facts.clean)), {}
    identifier = record.id or f"{number:05d}-{row:06d}"
    try:
        seconds = record.duration
        if seconds is None:
            source = record.audio if record.audio is not None else record.path
            seconds = audio_seconds(source, identifier) - record.start
        elif record.path is not None and not record.path.is_file():
            return "missing audio file", {}
    except UserError as e:
        missing = record.path is not None and not record.path.exists()
        return ("missing audio file" if missing else f"unreadable audio: {e.message.rsplit(': ', 1)[-1]}"), {}
    if seconds < SHORTEST:
        return "shorter than a frame", {}
    line: dict[str, Any] = {"id": identifier}
    line |= writer.place(record, row) | {"start": record.start, "duration": round(seconds, 6)}
    translations = {code: " ".join(t.split()) for code, t in record.translations.items() if t.strip()}
    line |= {"lang": facts.language, "text": text, "speaker": record.speaker, "translations": translations}
    where = {key: line.pop(key) for key in ("offset", "size") if key in line}
    writer.seconds += seconds
    return "", line | where


class _Writer:
    """Puts audio bytes into out/audio/NUMBER.tar, which appears when the block ends well; or points to files."""

    def __init__(self, out: Path, number: int):
        self._out, self._name = out, f"audio/{number:05d}.tar"
        self._archive: tarfile.TarFile | None = None
        self._temporary = replaced_file(out / self._name)
        self.seconds = 0.0
        self.summary: dict[str, Any] | None = None

    def place(self, record: Record, row: int) -> dict[str, Any]:
        """The fields of a manifest line that say where this record's audio is."""
        if record.audio is None:
            return {"audio": _through_the_root(record.path, self._out)}
        if self._archive is None:
            self._path = self._temporary.__enter__()
            self._archive = tarfile.TarFile(self._path, "w", format=tarfile.USTAR_FORMAT)
        info = tarfile.TarInfo(f"{row:07d}{audio_ending(record.audio)}")
        info.size, info.mode = len(record.audio), 0o644
        # A header of this form is one block.
        offset = self._archive.offset + tarfile.BLOCKSIZE
        self._archive.addfile(info, BytesIO(record.audio))
        self._archive.members.clear()
        return {"audio": self._name, "offset": offset, "size": info.size}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self._archive is None:
            return
        try:
            self._archive.close()
            if kind is None:
                with open(self._path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = self._path.stat().st_size
                self.summary = {"path": self._name, "size": size, "sha256": digest}
        finally:
            self._temporary.__exit__(kind, error, trace)


def _through_the_root(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, up to the root and down again: right also from places nearer to the root, since a
    job's folder is made elsewhere than where it will stand.
    """
    above = "../" * (len(folder.absolute().parts) - 1)
    return above + os.path.abspath(path).lstrip("/")


def _finish(
    facts: CorpusFacts,
    source: Source,
    state: dict[str, Any],
    reports: list[dict[str, Any]],
    out: Path,
    work: Path,
    whole: bool,
    keep: bool,
) -> dict[str, Any]:
    rows, utterances = (sum(report[key] for report in reports) for key in ("rows", "utterances"))
    expected = source.utterances
    if whole and expected is not None and rows != expected:
        hint = "another revision, or not everything is there; correct `utterances` in the description if it is right"
        raise UserError(f"{facts.name}, {source.split}: {rows} utterances, but it has {expected}", hint)
    reasons = sum((Counter(report["reasons"]) for report in reports), Counter())
    if not utterances and (whole or rows):
        said = ", ".join(f"{reason}: {n}" for reason, n in reasons.most_common(3)) or "no rows"
        raise UserError(f"{facts.name}, {source.split}: nothing that can be used ({said})", hint=facts.advice())
    numbers = [report["number"] for report in reports]
    check_ids(facts.name, [work / f"{number:05d}.jsonl" for number in numbers])
    _joined(out / MANIFEST, [work / f"{number:05d}.jsonl" for number in numbers])
    _joined(out / DROPPED, [work / f"{number:05d}.dropped" for number in numbers])
    summary = {
        "corpus": facts.key,
        "name": facts.name,
        "licence": facts.licence,
        "page": facts.page,
        "split": source.split,
        "source": source.name,
        "commit": source.commit,
        "utterances": utterances,
        "hours": round(sum(report["seconds"] for report in reports) / 3600, 4),
        "dropped": dict(reasons),
        "parts": [{k: r[k] for k in ("name", "digest", "rows", "utterances", "archive")} for r in reports],
        "settings": state,
    }
    write_json(out / SUMMARY, summary)
    shutil.rmtree(work)
    if not keep:
        shutil.rmtree(out / ".source", ignore_errors=True)
    if not any((out / "audio").iterdir()):
        (out / "audio").rmdir()
    return summary


def check_ids(name: str, paths: list[Path]) -> None:
    """UserError when an id repeats; eight bytes an utterance are held."""
    hashes = []
    for line in _lines(paths):
        identifier = json.loads(line)["id"]
        hashes.append(int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "little"))
    values, counts = np.unique(np.array(hashes, np.uint64), return_counts=True)
    if (counts > 1).any():
        twice = int(values[counts > 1][0])
        place = hashes.index(twice)
        identifier = next(json.loads(line)["id"] for i, line in enumerate(_lines(paths)) if i == place)
        hint = "name another column as `id` in the description, or none: utterances are numbered then"
        raise UserError(f"{name}: the id {identifier!r} occurs {counts.max()} times", hint)


def _lines(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        with open(path, encoding="utf-8") as file:
            yield from file


def _joined(target: Path, paths: list[Path]) -> None:
    with replaced_file(target) as partial, open(partial, "wb") as output:
        for path in paths:
            with open(path, "rb") as file:
                shutil.copyfileobj(file, output)


def _write(path: Path, text: str) -> None:
    with replaced_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _kind(reason: str) -> str:
    """The reason without what belongs to one utterance."""
    return reason if ": no such file" not in reason else "missing audio file"
