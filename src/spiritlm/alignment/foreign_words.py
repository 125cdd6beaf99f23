"""Alignments that others made, brought to the utterances of a manifest: TextGrid files, CTM, JSONL.

Guarantee: an utterance gets times only when the words in the file are those of its text, compared by letters and digits
in any case; the words come out as they stand in the text. Silences are dropped, and a word that the aligner did not
know (`<unk>`, `spn`) stands for any one. What does not fit gets the reason, with the file and line it was found at.
UserError for a file that cannot be read as what it is, and when nothing fits.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Sequence
from pathlib import Path

from spire.errors import UserError
from spire.manifest import Utterance
from spiritlm.alignment.ctm import read_ctm
from spiritlm.alignment.textgrid import read_textgrid, word_tier
from spiritlm.alignment.words import Aligned, check_spans, read_words

SILENCES = frozenset(["", "<eps>", "<sil>", "sil", "sp", "<p:>", "<s>", "</s>", "[sil]", "<silence>"])
UNKNOWN = frozenset(["<unk>", "[unk]", "spn", "<spn>"])
TOLERANCE = 0.1  # seconds that a word may end behind the utterance
_HINT = "a folder of TextGrid files, a .ctm file, or a .jsonl file of words"


class ForeignWords:
    """`find` gives the words of an utterance. `wanted`: the ids that will be asked for, others are not kept.

    TextGrid files are called by the utterance's id, or by the audio file's name, in any folder below `path`.
    """

    def __init__(self, path: str | Path, wanted: Container[str] | None = None, tier: str = "words"):
        self.path, self._tier = Path(path), tier
        self._spans: dict[str, Sequence[tuple[str, float, float]]] | None = None
        self._grids: dict[str, Path] = {}
        if self.path.is_dir():
            self._grids = _grids(self.path)
        elif self.path.suffix.lower() == ".ctm":
            self._spans = dict(read_ctm(self.path, wanted))
        elif self.path.suffix.lower() == ".jsonl":
            self._spans = {a.id: a.words for a in read_words(self.path) if wanted is None or a.id in wanted}
        else:
            raise UserError(f"{self.path}: no alignment in a form that is known", _HINT)

    def find(self, utterance: Utterance) -> Aligned:
        """Never raises: what is wrong is the reason."""
        try:
            spans = self._found(utterance)
            return Aligned(utterance.id, fitted(utterance.text, spans, utterance.duration))
        except UserError as e:
            return Aligned(utterance.id, (), e.message)
        except ValueError as e:
            return Aligned(utterance.id, (), f"{self.path}: {e}")

    def _found(self, utterance: Utterance) -> Sequence[tuple[str, float, float]]:
        if self._spans is not None:
            if utterance.id not in self._spans:
                raise ValueError("has no such utterance")
            return self._spans[utterance.id]
        grid = self._grids.get(utterance.id) or self._grids.get(Path(utterance.audio).stem)
        if grid is None:
            raise ValueError(f"no {utterance.id}.TextGrid below it")
        tier = word_tier(grid, read_textgrid(grid), self._tier)
        return [(i.text, i.start, i.end) for i in tier.intervals]


def _grids(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".textgrid":
            if path.stem in found:
                raise UserError(f"{path}: {found[path.stem]} has the same name", "one file for each utterance")
            found[path.stem] = path
    if not found:
        raise UserError(f"{folder}: no TextGrid file below it", _HINT)
    return found


def fitted(text: str, spans: Sequence[tuple[str, float, float]], duration: float) -> tuple:
    """The words of `text` with the times of `spans`; ValueError where these are other words, or lie outside."""
    said = [span for span in spans if span[0].strip().lower() not in SILENCES]
    words, place, at, found = text.split(), 0, 0.0, []
    for word in words:
        letters = _plain(word)
        if not letters:
            found.append((word, at, at))
            continue
        if place == len(said):
            raise ValueError(f"the alignment has {len(said)} words, the text goes on with {word!r}")
        label, start, end = said[place]
        if label.strip().lower() not in UNKNOWN and _plain(label) != letters:
            raise ValueError(f"word {place + 1} is {label!r}, in the text {word!r}")
        found.append((word, start, end))
        place, at = place + 1, end
    if place < len(said):
        raise ValueError(f"the text has {place} words, the alignment goes on with {said[place][0]!r}")
    if found and found[-1][2] > duration + TOLERANCE:
        raise ValueError(f"{found[-1][0]!r} ends at {found[-1][2]:g} s, the utterance at {duration:g} s")
    cut = ((word, min(start, duration), min(end, duration)) for word, start, end in found)
    return check_spans(_forwards(cut))


def _forwards(spans):
    """Words may overlap by a little in some aligners' files; a word without letters starts where the last one ended."""
    before = 0.0
    for word, start, end in spans:
        before = max(before, start)
        yield word, before, max(before, end)


def _plain(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", word).casefold() if c.isalnum())
