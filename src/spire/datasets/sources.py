"""Where a corpus is taken from, as parts: its repository on the hub at one commit, or a folder of the user."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spire.datasets.catalog import HUB_READERS, CorpusFacts, Split
from spire.datasets.embedded import archive_records, parquet_records, read_table
from spire.datasets.hub import HubFile, Repository, open_repository
from spire.datasets.layouts import LAYOUTS
from spire.datasets.records import Part, Record
from spire.errors import UserError


@dataclass(frozen=True)
class Source:
    """The parts of one split in order. `commit` is empty for a folder; `utterances` is what the split should have."""

    name: str
    split: str
    target: str
    commit: str
    parts: list[Part]
    utterances: int | None


def open_source(
    facts: CorpusFacts,
    split: str,
    target: str = "",
    folder: Path | None = None,
    revision: str = "",
    patterns: tuple[str, ...] = (),
    stream: bool = False,
    commit: str = "",
) -> Source:
    """The parts of a split, once it is sure that they may be had; nothing is fetched yet.

    With `folder` the corpus is read from there: unpacked in its layout, or the files of its repository. Else from the
    hub, at `revision` or the description's; `commit` is where an earlier run found that revision to stand. `patterns`
    replace the description's; `stream` reads the tables over the network and keeps no copy. UserError: no such split or
    target, gated, missing, or a layout without a folder.
    """
    if split not in facts.splits:
        raise UserError(f"{facts.name} has no split {split!r}", hint="one of " + ", ".join(facts.splits))
    target = target or (facts.targets[0] if facts.targets else "")
    if facts.targets and target not in facts.targets or target and not facts.targets:
        raise UserError(f"{facts.name}: no target language {target!r}", hint="one of " + ", ".join(facts.targets))
    chosen = facts.splits[split]
    patterns = tuple(p.replace("{target}", target).replace("{split}", split) for p in patterns or chosen.files)
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {facts.name} should be in it", hint=facts.advice())
    if facts.reader in LAYOUTS:
        if folder is None:
            raise UserError(f"{facts.name} has to be fetched by hand", hint=f"{facts.advice()}; then --source FOLDER")
        parts = LAYOUTS[facts.reader](facts, folder, split, target)
        return Source(folder.name, split, target, "", parts, chosen.utterances)
    if folder is not None:
        return _from_folder(facts, folder, split, target, patterns, chosen)
    revision = revision or facts.revision
    repository = open_repository(facts.repository, commit or revision, facts.advice())
    parts = _hub_parts(facts, repository, split, target, patterns, stream)
    name = f"{facts.repository}@{revision}"
    return Source(name, split, target, repository.commit, parts, chosen.utterances)


def _hub_parts(
    facts: CorpusFacts, repository: Repository, split: str, target: str, patterns: tuple[str, ...], stream: bool
) -> list[Part]:
    there = repository.files()
    files = repository.matching(patterns, there)
    for file in files:
        expected = facts.checksums.get(file.path)
        if expected and file.digest != f"sha256:{expected}":
            hint = f"another revision or a changed mirror; {facts.page} shows the file's history"
            raise UserError(f"{repository.name}: {file.path} is {file.digest}, not sha256:{expected}", hint)
    # A listing is public where the files are not: better now than in a job of the night.
    repository.check_access(files[0])
    if facts.reader == "archive":
        name = facts.table["file"].replace("{split}", split)
        (table,) = repository.matching([name], there)[:1]
        rows = _Once(lambda folder: read_table(facts, repository.fetch(table, folder / "table")))
        return [_archive_part(facts, repository, file, rows) for file in files]
    return [_parquet_part(facts, repository, file, target, stream) for file in files]


def _parquet_part(facts: CorpusFacts, repository: Repository, file: HubFile, target: str, stream: bool) -> Part:
    def records(folder: Path) -> Iterator[Record]:
        opened = (lambda: repository.open(file)) if stream else (lambda: repository.fetch(file, folder))
        return parquet_records(facts, target, file.path, opened)

    return Part(file.path, file.size, file.digest, records)


def _archive_part(facts: CorpusFacts, repository: Repository, file: HubFile, rows: _Once) -> Part:
    def records(folder: Path) -> Iterator[Record]:
        return archive_records(facts, rows.of(folder), file.path, repository.fetch(file, folder))

    return Part(file.path, file.size, file.digest, records)


def _from_folder(
    facts: CorpusFacts, folder: Path, split: str, target: str, patterns: tuple[str, ...], chosen: Split
) -> Source:
    assert facts.reader in HUB_READERS
    found: list[Path] = []
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            break
    if not found:
        hint = f"the files of {facts.repository} in the folders they have there; see {facts.page}"
        raise UserError(f"{folder}: nothing is called {' or '.join(patterns)}", hint)
    parts = []
    rows = None
    if facts.reader == "archive":
        table = folder / facts.table["file"].replace("{split}", split)
        rows = _Once(lambda _: read_table(facts, table))
    for path in found:
        name = path.relative_to(folder).as_posix()

        def records(work: Path, path: Path = path, name: str = name) -> Iterator[Record]:
            if rows is not None:
                return archive_records(facts, rows.of(work), name, path)
            return parquet_records(facts, target, name, lambda: path)

        parts.append(Part(name, path.stat().st_size, "", records))
    return Source(folder.name, split, target, "", parts, chosen.utterances)


class _Once:
    """A table that all parts of a corpus share, read when the first needs it."""

    def __init__(self, read):
        self._read, self._rows, self._lock = read, None, threading.Lock()

    def of(self, folder: Path) -> dict[str, dict[str, str]]:
        with self._lock:
            if self._rows is None:
                self._rows = self._read(folder)
            return self._rows
