"""Corpora whose audio comes inside of files of the hub: parquet tables with audio bytes, tables beside tar archives.

Each file is a part. Nothing is unpacked on disk: the bytes of an utterance go from the file to the reader's caller.
Names in archives are only compared with the table's, so that none can lead anywhere.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from spire.datasets.local import is_audio
from spire.datasets.records import Record
from spire.errors import UserError

if TYPE_CHECKING:
    from spire.datasets.catalog import CorpusFacts

ROWS = 32  # of a parquet file in memory
LARGEST = 1 << 30  # bytes of one utterance in an archive

Opened = Callable[[], Path | BinaryIO]


def parquet_records(facts: CorpusFacts, target: str, name: str, opened: Opened) -> Iterator[Record]:
    """The rows of a parquet file with an audio column, a struct of `bytes` and `path`.

    UserError: not a parquet file, or without the columns that the description names.
    """
    import pyarrow
    import pyarrow.parquet

    columns = {role: column.replace("{target}", target) for role, column in facts.columns.items()}
    columns |= {f"translation {code}": column for code, column in translation_columns(facts, target).items()}
    wanted = {column.split(".")[0] for column in columns.values()}
    try:
        with pyarrow.parquet.ParquetFile(opened()) as table:
            there = table.schema_arrow.names
            missing = sorted(wanted - set(there))
            if missing:
                hint = f"columns: {', '.join(there)}; correct `columns` in the description"
                raise UserError(f"{name}: no column {missing[0]!r}", hint)
            # One group after the other: asked for all of them, the library holds most of the file in memory.
            for group in range(table.num_row_groups):
                for batch in table.iter_batches(batch_size=ROWS, row_groups=[group], columns=sorted(wanted)):
                    for row in batch.to_pylist():
                        yield _row(row, columns)
    except (pyarrow.ArrowException, OSError, EOFError) as e:
        reason = " ".join(str(e).split())[:200]
        raise UserError(f"{name}: not a whole parquet file: {reason}", hint="remove it and run again") from e


def translation_columns(facts: CorpusFacts, target: str) -> dict[str, str]:
    """Language codes (zh for the target zh-CN) and the columns that hold them, the target language filled in."""
    filled = {
        code.replace("{target}", target): column.replace("{target}", target)
        for code, column in facts.translations.items()
    }
    return {code.partition("-")[0]: column for code, column in filled.items()}


def read_table(facts: CorpusFacts, path: Path) -> dict[str, dict[str, str]]:
    """Rows of an archive corpus's table by the names of their audio files, without folder and ending."""
    delimiter = facts.table.get("delimiter", "\t")
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: byte {e.start} is not UTF-8", hint="remove it and run again") from e
    header = facts.table.get("header")
    if not header:
        header, lines = lines[0].rstrip("\r").split(delimiter), lines[1:]
    key = facts.table["key"]
    needed = [key, *(c for role, c in facts.columns.items() if role != "audio"), *facts.translations.values()]
    for column in needed:
        if column not in header:
            raise UserError(f"{path}: no column {column!r}", hint="columns: " + ", ".join(header))
    rows = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            cells = line.rstrip("\r").split(delimiter)
            if len(cells) != len(header):
                raise UserError(f"{path}:{number}: {len(cells)} columns where {len(header)} are expected")
            row = dict(zip(header, cells, strict=True))
            rows[_stem(row[key])] = row
    return rows


def archive_records(facts: CorpusFacts, rows: dict[str, dict[str, str]], name: str, path: Path) -> Iterator[Record]:
    """The audio files of a tar archive (plain or compressed) that the table knows, in the archive's order."""
    try:
        with tarfile.open(path, mode="r|*") as archive:
            for member in archive:
                row = rows.get(_stem(member.name)) if member.isreg() else None
                if row is None:
                    continue
                if member.size > LARGEST:
                    raise UserError(f"{name}: {member.name!r} has {member.size} bytes", hint="this is no utterance")
                content = archive.extractfile(member)
                audio = {"bytes": content.read() if content else None, "path": member.name}
                columns = dict(facts.columns) | {"audio": "audio"}
                columns |= {f"translation {code}": column for code, column in facts.translations.items()}
                yield _row(row | {"audio": audio}, columns)
    except (tarfile.TarError, OSError, EOFError) as e:
        raise UserError(f"{name}: not a whole tar archive: {e}", hint="remove it and run again") from e


def audio_ending(data: bytes) -> str:
    """The usual ending of a file with this content, by its first bytes."""
    if data[:4] == b"RIFF":
        return ".wav"
    if data[:4] == b"fLaC":
        return ".flac"
    return ".ogg" if data[:4] == b"OggS" else ".mp3"


def _row(row: dict[str, Any], columns: dict[str, str]) -> Record:
    audio = row.get(columns.get("audio", "audio")) or {}
    name = os.path.splitext(os.path.basename(audio.get("path") or ""))[0]

    def text(role: str) -> str:
        column = columns.get(role)
        if not column:
            return ""
        value = name if column.endswith(".path") else row.get(column)
        return "" if value is None else str(value)

    codes = [role.partition(" ")[2] for role in columns if role.startswith("translation ")]
    translations = {code: text(f"translation {code}") for code in codes}
    data = audio.get("bytes")
    problem = "" if data else "no audio in this row"
    return Record(text("id"), text("text"), text("speaker"), translations, audio=data, problem=problem)


def _stem(name: str) -> str:
    base = os.path.basename(name)
    # Names in a table may have no ending, and dots of their own.
    return os.path.splitext(base)[0] if is_audio(base) else base
