"""The files of a labelled part, and the record that vouches for them.

NAME.units            a line an utterance, in corpus order (spire.units.lines); empty: unreadable or too short
NAME.frames.npz       labels before deduplication: `ids` [all frames] int32, `lengths` [utterances] int32
NAME.unreadable.jsonl {"row", "id", "reason"} of each utterance without a frame; rows count from 0 within the part
NAME.labels.json      the record: what was labelled with what, counts, size and SHA-256 of the files; written last

Parts of a sharded corpus are called NAME.00003-of-00128 in place of NAME.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.files import replaced_file
from spire.textfiles import write_json

FORMAT = "spire-labels-1"
_CHUNK = 1 << 20


@dataclass
class Record:
    """What a NAME.labels.json says.

    `identity` is everything that the labels follow from (the same for all parts of a corpus); `pieces` is the stretch
    [first, last) of the corpus, `of` how many pieces there are; counts: utterances, frames, units, unreadable, samples;
    `files` maps file names to [bytes, SHA-256].
    """

    name: str
    shard: Shard
    pieces: tuple[int, int]
    of: int
    identity: dict
    counts: dict[str, int]
    files: dict[str, list] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Whole or not at all."""
        values = {
            "format": FORMAT,
            "name": self.name,
            "shard": [self.shard.part, self.shard.parts],
            "pieces": [*self.pieces, self.of],
            "identity": self.identity,
            "counts": self.counts,
            "files": self.files,
        }
        write_json(record_path(folder, self.name, self.shard), values)


def record_path(folder: Path, name: str, shard: Shard) -> Path:
    """Where the record of a part lies."""
    return Path(folder) / f"{shard.stem(name)}.labels.json"


def read_record(path: Path) -> Record:
    """UserError when the file is missing or is not a record."""
    hint = "make it with units_label.py"
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}")
        first, last, of = (int(n) for n in values["pieces"])
        part, parts = (int(n) for n in values["shard"])
        counts = {str(key): int(value) for key, value in values["counts"].items()}
        files = {str(name): [int(size), str(digest)] for name, (size, digest) in values["files"].items()}
        if any("/" in name or name.startswith(".") for name in files):
            raise ValueError("a file outside of its folder")
        return Record(
            str(values["name"]), Shard(part, parts), (first, last), of, dict(values["identity"]), counts, files
        )
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such record", hint) from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{path}: not a record of labels: {e}", hint) from e


def finished(folder: Path, name: str, shard: Shard, identity: dict) -> Record | None:
    """The record of a part that is there already, labelled with the same things, with files of the recorded sizes."""
    path = record_path(folder, name, shard)
    if not path.exists():
        return None
    try:
        record = read_record(path)
    except UserError:  # damaged: it is made again
        return None
    sizes = {f: (Path(folder) / f).stat().st_size if (Path(folder) / f).is_file() else -1 for f in record.files}
    whole = all(sizes[file] == size for file, (size, _) in record.files.items())
    return record if whole and record.identity == identity else None


def write_copy(path: Path, chunks: Iterable[bytes]) -> list:
    """Write the bytes to `path`, whole or not at all; returns [size, SHA-256]."""
    digest, size = hashlib.sha256(), 0
    with replaced_file(path) as partial, open(partial, "wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    return [size, digest.hexdigest()]


def write_frames(path: Path, ids: Iterable[bytes], id_count: int, lengths: Iterable[bytes], length_count: int) -> list:
    """The bytes that `np.savez(path, ids=..., lengths=...)` would write, from little-endian int32 chunks: no array is
    held in memory. Returns [size, SHA-256]."""
    with replaced_file(path) as partial:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, count, chunks in (("ids", id_count, ids), ("lengths", length_count, lengths)):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    header = {"descr": "<i4", "fortran_order": False, "shape": (count,)}
                    np.lib.format.write_array_header_1_0(member, header)
                    written = 0
                    for chunk in chunks:
                        member.write(chunk)
                        written += len(chunk)
                    if written != 4 * count:
                        raise RuntimeError(f"{path}: {written // 4} {name} written, {count} announced")
        with open(partial, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return [partial.stat().st_size, digest]


def frames_chunks(path: Path, name: str) -> tuple[int, Iterator[bytes]]:
    """Length and content of one array of a frames file, in chunks; UserError when it is not there in this form."""
    try:
        archive = zipfile.ZipFile(path)
        member = archive.open(f"{name}.npy")
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise ValueError(f"npy version {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        if dtype != np.dtype("<i4") or len(shape) != 1:
            raise ValueError(f"{name} is {dtype} {shape}")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as e:
        raise UserError(f"{path}: not a frames file: {e}", hint="make it again with units_label.py") from e
    return shape[0], _read_and_close(archive, member)


def _read_and_close(archive: zipfile.ZipFile, member: BinaryIO) -> Iterator[bytes]:
    with archive, member:
        yield from chunks_of(member)


def file_chunks(path: Path) -> Iterator[bytes]:
    """A file's content."""
    with open(path, "rb") as file:
        yield from chunks_of(file)


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """What is left of an open file, a megabyte at a time."""
    while chunk := file.read(_CHUNK):
        yield chunk
