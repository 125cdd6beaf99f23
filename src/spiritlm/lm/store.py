"""Documents of speech and text on disk: memory-mapped, so that 111,000 hours cost no memory.

A folder holds the documents of one part of a corpus; a corpus is any number of folders. Of each document there is what
every format is made from (`spiritlm.lm.render`), nothing of a format itself, so spans can be drawn anew at each step:

    speech      uint16: all units in order of time, style before pitch before phonetic unit (spiritlm 5), nothing
                dropped; bits 12 and 13 are the stream (STREAMS), the lower ones the id, bit 15 says that the unit
                repeats the one before it of its stream
    words       WORDS: units and text ids of each word (none: speech without words, or text alone)
    text        ids: of all words as they begin a text, then of all words as they follow another; of text alone: its ids
    documents   DOCUMENTS: where each begins in the three files and how much of them it has
    index.json  written last: counts, SHA-256 of the files, digest of the text vocabulary, settings

Guarantees: a store is complete or refused; text ids of another vocabulary are refused; nothing is held in memory but
the index.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.textfiles import read_json
from spire.tokens.store import digest_of
from spiritlm.lm.vocabulary import text_pieces

INDEX, VERSION = "index.json", 1
STREAMS = {"hubert": 0, "pitch": 1, "style": 2}
STREAM_SHIFT, ID_MASK, KIND_MASK, REPEAT = 12, 0x0FFF, 0x3000, 0x8000
WORDS = np.dtype([("speech", "<u2"), ("first", "u1"), ("rest", "u1")])
DOCUMENTS = np.dtype(
    [("speech", "<i8"), ("word", "<i8"), ("text", "<i8")]
    + [("speech_n", "<u4"), ("words_n", "<u4"), ("text_n", "<u4"), ("seconds", "<f4")]
)
FILES = ("speech", "words", "text", "documents")


@dataclass(frozen=True)
class Document:
    """One document, mapped.

    speech uint16 [n]; words WORDS [w]; text [t]. `first` and `rest`: ids of the words as they begin a text and as they
    follow another word, word after word; for text alone (no words, no speech) `text` is what counts.
    """

    speech: np.ndarray
    words: np.ndarray
    text: np.ndarray

    @property
    def first(self) -> np.ndarray:
        return self.text[: int(self.words["first"].sum(dtype=np.int64))]

    @property
    def rest(self) -> np.ndarray:
        return self.text[int(self.words["first"].sum(dtype=np.int64)) :]


class DocumentStore:
    """One folder of documents. Attributes: folder, index (dict), digest, expressive (pitch and style are there)."""

    def __init__(self, folder: str | Path, vocabulary=None):
        """UserError when `folder` is no finished store, or its text ids are not those of `vocabulary`."""
        self.folder = Path(folder)
        if not (self.folder / INDEX).is_file():
            hint = "spiritlm_documents.py makes it"
            raise UserError(f"{self.folder} is no finished folder of documents: it has no {INDEX}", hint)
        self.index = read_json(self.folder / INDEX)
        try:
            if self.index["version"] != VERSION:
                raise UserError(f"{self.folder} has version {self.index['version']} of the form, this reads {VERSION}")
            self.digest, self.expressive = self.index["digest"], bool(self.index["expressive"])
            self._documents = self._map("documents", DOCUMENTS)
            self._speech = self._map("speech", np.dtype("<u2"))
            self._words = self._map("words", WORDS)
            self._text = self._map("text", np.dtype(self.index["text_dtype"]))
        except (KeyError, TypeError) as e:
            raise UserError(f"{self.folder / INDEX} is not the index of a folder of documents ({e})") from e
        if vocabulary is not None and self.index["text_vocabulary"] != text_digest(vocabulary):
            raise UserError(
                f"{self.folder} was made with another text vocabulary than the model's",
                hint="run spiritlm_documents.py with --vocabulary of this model, into a new folder",
            )

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, number: int) -> Document:
        row = self._documents[number]

        def part(array: np.ndarray, start: str, count: str) -> np.ndarray:
            return array[int(row[start]) : int(row[start]) + int(row[count])]

        return Document(
            part(self._speech, "speech", "speech_n"),
            part(self._words, "word", "words_n"),
            part(self._text, "text", "text_n"),
        )

    def _map(self, name: str, dtype: np.dtype) -> np.ndarray:
        path, count = self.folder / name, self.index["counts"][name]
        size = path.stat().st_size if path.is_file() else -1
        if size != count * dtype.itemsize:
            found = f"{size} bytes" if size >= 0 else "missing"
            raise UserError(f"{path}: {found}, {count * dtype.itemsize} expected", hint="make the folder again")
        return np.memmap(path, dtype, "r") if count else np.empty(0, dtype)


class Corpus:
    """Several stores, one after another: documents are numbered through. Attribute digest: of all of them."""

    def __init__(self, folders: list[str | Path], vocabulary=None):
        if not folders:
            raise UserError("no folder of documents was given")
        self.stores = [DocumentStore(folder, vocabulary) for folder in folders]
        self._ends = np.cumsum([len(store) for store in self.stores])
        self.digest = digest_of([store.digest for store in self.stores])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> Document:
        which = int(np.searchsorted(self._ends, number, side="right"))
        return self.stores[which][number - (int(self._ends[which - 1]) if which else 0)]

    @property
    def expressive(self) -> bool:
        return all(store.expressive or not store.index["counts"]["speech"] for store in self.stores)


def text_digest(vocabulary) -> str:
    """SHA-256 of the pieces of text: Base, Expressive and the tasks' marks share it."""
    return hashlib.sha256("\n".join(text_pieces(vocabulary)).encode()).hexdigest()
