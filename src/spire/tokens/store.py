"""A tokenized corpus on disk, and how it is read: memory-mapped shards, with an index that says what they are made of.

Guarantees: a document is read in the ids it was written with; a store that another vocabulary or other settings made,
or that is incomplete, is refused with the reason. Nothing is loaded but the documents' table (16 bytes each).

    index.json                     form, settings, digests, shards with their counts, totals; written last
    00003.tokens                   ids, uint16 (int32 above 65,536 rows), documents end to end
    00003.kinds                    uint8 each: NO_LOSS, TEXT_LOSS or UNIT_LOSS (spire.training.data)
    00003.documents                TABLE: length, units in it, seconds of audio (0: unknown or none), block, corpus
    00003.json                     counts, names and SHA-256 of the three, written after them
"""

from __future__ import annotations

import hashlib
import json
import mmap
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.textfiles import read_json

INDEX, VERSION = "index.json", 1
STREAMS = ("tokens", "kinds", "documents")
TABLE = np.dtype([("length", "<u4"), ("units", "<u4"), ("seconds", "<f4"), ("block", "<u2"), ("corpus", "<u2")])


def digest_of(value: object) -> str:
    """SHA-256 of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def vocabulary_digest(path: str | Path) -> str:
    """SHA-256 of what decides ids in a model directory, or of a bare `.model` file."""
    path = Path(path)
    names = ["tokenizer.model", "spire_vocabulary.json"]
    if path.is_dir() and not (path / names[0]).is_file():
        names[0] = "tokenizer.json"
    files = [path / name for name in names] if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.name.encode() + b"\0" if path.is_dir() else b"")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


class TokenStore:
    """One tokenized corpus, opened.

    Attributes: folder, index (dict), blocks and corpora (names in alphabetical order), lengths [n] uint32,
    block_of and corpus_of [n] uint8 and uint16 (index into the names), digest (of all its bytes).
    """

    def __init__(self, folder: str | Path, vocabulary: str | Path | None = None):
        """Raises UserError when `folder` is no finished store, or not of that vocabulary (a path)."""
        self.folder = Path(folder)
        if not (self.folder / INDEX).is_file():
            raise UserError(
                f"{self.folder} is not a finished tokenized corpus: it has no {INDEX}",
                hint="corpus_tokenize.py makes it, and goes on where it was stopped",
            )
        self.index = read_json(self.folder / INDEX)
        try:
            if self.index["version"] != VERSION:
                raise UserError(f"{self.folder} has version {self.index['version']} of the form, this reads {VERSION}")
            self.digest, shards = self.index["digest"], self.index["shards"]
            self._dtype = np.dtype(self.index["dtype"])
            names = {key: sorted({n for s in shards for n in s[key]}) for key in ("blocks", "corpora")}
        except (KeyError, TypeError) as e:
            raise UserError(f"{self.folder / INDEX} is not the index of a tokenized corpus ({e})") from e
        if vocabulary is not None and self.index["identity"]["vocabulary"] != vocabulary_digest(vocabulary):
            raise UserError(
                f"{self.folder} was tokenized with another vocabulary than {vocabulary}",
                hint="run corpus_tokenize.py with --vocabulary of this model, into a new folder",
            )
        self.blocks, self.corpora = names["blocks"], names["corpora"]
        if len(self.blocks) > 256:
            raise UserError(f"{self.folder}: {len(self.blocks)} blocks; 256 are possible")
        self._shards = [s for s in shards if s["documents"]]
        self._firsts = np.cumsum([0, *(s["documents"] for s in self._shards)]).tolist()
        tables = [self._table(s) for s in self._shards]
        self.lengths = _joined([t["length"] for t in tables], np.uint32)
        self.block_of = _joined(
            [self._global(t["block"], s["blocks"], self.blocks) for t, s in self._pairs(tables)], np.uint8
        )
        self.corpus_of = _joined(
            [self._global(t["corpus"], s["corpora"], self.corpora) for t, s in self._pairs(tables)], np.uint16
        )
        # Where a document begins in its shard.
        self._starts = _joined([np.cumsum(t["length"], dtype=np.int64) - t["length"] for t in tables], np.int64)
        self._maps: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return self._firsts[-1]

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    def column(self, name: str) -> np.ndarray:
        """A column of TABLE for all documents, read anew: training needs neither seconds nor units in memory."""
        return _joined([self._table(s)[name] for s in self._shards], TABLE[name])

    def document(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """(ids, kinds) of document i, as views of the mapped files."""
        if not 0 <= i < len(self):
            raise IndexError(f"document {i} of {len(self)}")
        shard = bisect_right(self._firsts, i) - 1
        if shard not in self._maps:
            stem = self.folder / self._shards[shard]["stem"]
            self._maps[shard] = _mapped(f"{stem}.tokens", self._dtype), _mapped(f"{stem}.kinds", np.dtype(np.uint8))
        ids, kinds = self._maps[shard]
        start = int(self._starts[i])
        stop = start + int(self.lengths[i])
        return ids[start:stop], kinds[start:stop]

    def verify(self) -> None:
        """Read every byte and compare with the digests. Raises UserError that names the first wrong file."""
        for shard in self.index["shards"]:
            for stream in STREAMS:
                path = self.folder / f"{shard['stem']}.{stream}"
                if file_digest(path) != shard["sha256"][stream]:
                    raise UserError(f"{path} is damaged", hint="remove it and run corpus_tokenize.py again")

    def _table(self, shard: dict) -> np.ndarray:
        sizes = {"tokens": shard["tokens"] * self._dtype.itemsize, "kinds": shard["tokens"]}
        sizes["documents"] = shard["documents"] * TABLE.itemsize
        for stream, size in sizes.items():
            path = self.folder / f"{shard['stem']}.{stream}"
            if not path.is_file() or path.stat().st_size != size:
                raise UserError(
                    f"{path} is missing or has another size than its index says",
                    hint="run corpus_tokenize.py again with the same arguments: it makes what is missing",
                )
        return np.fromfile(self.folder / f"{shard['stem']}.documents", TABLE)

    def _pairs(self, tables: list[np.ndarray]):
        return zip(tables, self._shards, strict=True)

    @staticmethod
    def _global(local: np.ndarray, names: list[str], all_names: list[str]) -> np.ndarray:
        return np.asarray([all_names.index(n) for n in names], np.uint16)[local]


def _mapped(path: str, dtype: np.dtype) -> np.ndarray:
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # Documents are read in random order: reading ahead would fetch a hundred times what is used.
    mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, dtype)


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _joined(parts: Iterable[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)
