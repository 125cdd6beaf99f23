"""Documents from streams, word alignments and text: the folders that `spiritlm.lm.store` reads.

Guarantees: a document depends on its own lines only; the text of a document, tokenized word by word, has the ids that
the vocabulary gives the whole text behind "[Text]" (where it has not, the document is left out and counted, as are
others that cannot be used); files are read line by line and the folder appears whole or not at all. Large corpora are
made in parts, one folder each, by processes of their own: part i of n has every n-th document, and other documents'
lines are passed over unread.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.files import replaced_folder
from spire.textfiles import write_json
from spire.tokens.store import digest_of
from spiritlm.lm.cutting import mark_repeats, merged_units, units_of_words, word_frames
from spiritlm.lm.store import DOCUMENTS, FILES, INDEX, KIND_MASK, REPEAT, VERSION, WORDS, text_digest
from spiritlm.lm.vocabulary import Tokens
from spiritlm.model.vocabulary import TEXT
from spiritlm.unit_strings import HUBERT_RATE

_LONGEST = {"speech": 65_535, "first": 255, "rest": 255}  # what the types of WORDS hold


@dataclass(frozen=True)
class Inputs:
    """Where the parts of a corpus are, as JSONL with one utterance a line in one order.

    Attributes: streams ({"id", "hubert"[, "pitch", "style"]}), words ({"id", "words": [[word, start s, end s], ...]};
    None: speech alone), manifest and group (consecutive utterances with the same value of this field, such as "story",
    are one document; None: each is one), text ({"text"} or {"sentences"}: documents of text alone), expressive (take
    pitch and style, too), part ((i, n): the i-th of n parts, from 1).
    """

    streams: Path | None = None
    words: Path | None = None
    manifest: Path | None = None
    group: str | None = None
    text: tuple[Path, ...] = ()
    expressive: bool = False
    part: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if bool(self.streams) == bool(self.text):
            raise UserError("documents are made of speech or of text", hint="give --streams, or --text")
        if bool(self.group) != bool(self.manifest):
            raise UserError("--manifest and --group belong together")
        if not 1 <= self.part[0] <= self.part[1]:
            raise UserError(f"part {self.part[0]} of {self.part[1]}", hint="write --part 3/16")

    def has(self, document: int) -> bool:
        """Whether the document of this number (from 0) is in the part."""
        return document % self.part[1] == self.part[0] - 1


def build(inputs: Inputs, vocabulary, out: str | Path) -> dict:
    """Make the folder `out`; returns its index. UserError: files that do not fit each other, a line that cannot be
    read, no document at all.
    """
    tokens, pieces = Tokens.of(vocabulary), Pieces(vocabulary)
    limits = {n: len(getattr(tokens.ids, n)) for n in ("hubert", "pitch", "style")}
    if inputs.expressive and not tokens.ids.expressive:
        raise UserError("the vocabulary has no pitch and style", hint="extend the model for Expressive")
    dtype = np.dtype("<u2" if vocabulary.layout.base <= 1 << 16 else "<i4")
    left_out: Counter[str] = Counter()
    totals = Counter(dict.fromkeys((*FILES, "units", "seconds"), 0))
    with replaced_folder(out) as folder, ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("wb")) for name in FILES}
        digests = {name: hashlib.sha256() for name in FILES}
        for parts in _texts(inputs, pieces, left_out) if inputs.text else _speech(inputs, pieces, limits, left_out):
            row = np.zeros(1, DOCUMENTS)
            for name, field in (("speech", "speech"), ("words", "word"), ("text", "text")):
                row[field], row[f"{name}_n"] = totals[name], len(parts[name])
            row["seconds"] = int((parts["speech"] & KIND_MASK == 0).sum()) / HUBERT_RATE
            for name, value in {**parts, "text": parts["text"].astype(dtype), "documents": row}.items():
                content = value.tobytes()
                files[name].write(content)
                digests[name].update(content)
                totals[name] += len(value)
            totals["units"] += int((parts["speech"] & REPEAT == 0).sum())
            totals["seconds"] += float(row["seconds"][0])
        if not totals["documents"]:
            why = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
            raise UserError("no document" + (f": {why}" if why else ""), hint="are the files of the right form?")
        for file in files.values():
            file.flush()
        index = {
            "version": VERSION,
            "expressive": inputs.expressive,
            "aligned": bool(totals["words"]),
            "part": list(inputs.part),
            "text_dtype": dtype.str,
            "text_vocabulary": text_digest(vocabulary),
            "counts": {name: totals[name] for name in FILES},
            "units": totals["units"],
            "hours": totals["seconds"] / 3600,
            "left_out": dict(sorted(left_out.items())),
            "sha256": {name: digests[name].hexdigest() for name in FILES},
        }
        index["digest"] = digest_of(index)
        write_json(folder / INDEX, index)
    return index


class Pieces:
    """The ids of words in both places that they can have, and of texts."""

    def __init__(self, vocabulary):
        self._vocabulary, self._known = vocabulary, {}
        self._marker, self._before = vocabulary.encode(TEXT), vocabulary.encode(f"{TEXT}a")
        self._text_ids = vocabulary.layout.base

    def word(self, word: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(ids behind a marker, ids behind another word)."""
        if word not in self._known:
            first = self._vocabulary.encode(f"{TEXT}{word}")[len(self._marker) :]
            rest = self._vocabulary.encode(f"{TEXT}a {word}")[len(self._before) :]
            self._known[word] = tuple(first), tuple(rest)
        return self._known[word]

    def text(self, text: str) -> list[int] | None:
        """Ids of a text behind a marker; None when it holds the name of a marker or unit."""
        ids = self._vocabulary.encode(f"{TEXT}{text}")[len(self._marker) :]
        return ids if all(i < self._text_ids for i in ids) else None

    def document(self, words: list[str]) -> tuple[np.ndarray, np.ndarray] | str:
        """(ids [t], WORDS without units [w]), or why there are none."""
        both = [self.word(word) for word in words]
        whole = [i for number, (first, rest) in enumerate(both) for i in (rest if number else first)]
        found = self.text(" ".join(words))
        if found is None:
            return "with names of units in the text"
        if found != whole:
            return "with words that are tokenized otherwise in a text"
        table = np.zeros(len(words), WORDS)
        for name, place in (("first", 0), ("rest", 1)):
            lengths = [len(pair[place]) for pair in both]
            if max(lengths) > _LONGEST[name]:
                return f"with a word of more than {_LONGEST[name]} tokens"
            table[name] = lengths
        ids = [i for place in (0, 1) for pair in both for i in pair[place]]
        return np.asarray(ids, np.int64), table


def _texts(inputs: Inputs, pieces: Pieces, left_out: Counter) -> Iterator[dict]:
    nothing = {"speech": np.empty(0, "<u2"), "words": np.empty(0, WORDS)}
    places = ((path, number, line) for path in inputs.text for number, line in _lines(path))
    for document, (path, number, line) in enumerate(places):
        if not inputs.has(document):
            continue
        row = _object(path, number, line)
        text = row.get("text", " ".join(row["sentences"]) if isinstance(row.get("sentences"), list) else None)
        if not isinstance(text, str):
            raise UserError(f"{path}:{number}: no text", hint='each line is {"text": ...} or {"sentences": [...]}')
        ids = pieces.text(text.strip())
        if ids:
            yield {**nothing, "text": np.asarray(ids, np.int64)}
        else:
            left_out["empty" if ids is not None else "with names of units in the text"] += 1


def _speech(inputs: Inputs, pieces: Pieces, limits: dict[str, int], left_out: Counter) -> Iterator[dict]:
    for _, group in groupby(_utterances(inputs), key=lambda item: item[0]):
        units, counts, words = [], [], []
        for _, place, streams, aligned in group:
            try:
                merged = merged_units(streams, limits, inputs.expressive)
            except UserError as e:
                raise UserError(f"{place}: {e.message}", e.hint) from None
            frames = int((merged & KIND_MASK == 0).sum())
            if not frames:
                left_out["utterances without units"] += 1
                continue
            units.append(merged)
            if aligned is not None:
                cuts = word_frames(aligned, frames)
                if cuts is None:
                    left_out["utterances with fewer units than words, or no words"] += 1
                    units.pop()
                    continue
                counts.append(units_of_words(merged, cuts))
                words += [str(word[0]) for word in aligned]
        if not units:
            continue
        parts = {"speech": mark_repeats(np.concatenate(units)).astype("<u2")}
        if inputs.words is None:
            yield parts | {"words": np.empty(0, WORDS), "text": np.empty(0, np.int64)}
            continue
        found, spoken = pieces.document(words), np.concatenate(counts)
        if int(spoken.max()) > _LONGEST["speech"]:
            found = f"with a word of more than {_LONGEST['speech']} units"
        if isinstance(found, str):
            left_out[f"documents {found}"] += 1
            continue
        ids, table = found
        table["speech"] = spoken
        yield parts | {"words": table, "text": ids}


def _utterances(inputs: Inputs) -> Iterator[tuple[int, str, dict, list | None]]:
    """(number of its document, place in the file, streams, words) of each utterance of the part."""
    files = {"streams": inputs.streams, "words": inputs.words, "manifest": inputs.manifest}
    files = {name: path for name, path in files.items() if path}
    document, key = -1, None
    for lines in zip_longest(*map(_lines, files.values())):
        if None in lines:
            names = " and ".join(map(str, files.values()))
            raise UserError(f"{names} have not the same number of lines", hint="a line for each utterance in each")
        found = dict(zip(files, lines, strict=True))
        group = _object(inputs.manifest, *found["manifest"]).get(inputs.group) if "manifest" in found else None
        document, key = document + (group is None or group != key), group
        if not inputs.has(document):
            continue
        rows = {name: _object(files[name], *line) for name, line in found.items()}
        place = f"{inputs.streams}:{found['streams'][0]}"
        for name, row in rows.items():
            if row.get("id") != rows["streams"].get("id"):
                raise UserError(
                    f"{place}: {rows['streams'].get('id')!r}, but {files[name]} has {row.get('id')!r}",
                    hint="streams, words and manifest have the same utterances in the same order",
                )
        words = rows["words"].get("words") if "words" in rows else None
        if "words" in rows and not _is_alignment(words):
            hint = 'expected "words": [[word, start s, end s], ...]'
            raise UserError(f"{inputs.words}:{found['words'][0]}: no alignment", hint)
        yield document, place, rows["streams"], words


def _is_alignment(words: object) -> bool:
    return isinstance(words, list) and all(
        isinstance(w, list) and len(w) == 3 and isinstance(w[0], str) and w[0].split() == [w[0]] for w in words
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of each line that is not blank; the file is never held whole."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}", hint="check the path") from None
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: byte {e.start} is not UTF-8") from None


def _object(path: Path, number: int, line: str) -> dict:
    try:
        row = json.loads(line)
    except ValueError as e:
        raise UserError(f"{path}:{number}: not JSON: {e}") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}:{number}: not a JSON object")
    return row
