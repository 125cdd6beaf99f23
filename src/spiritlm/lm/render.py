"""Documents as the ids that a model is trained on, in every format of the paper (papers 2.2, spiritlm 5 and 7).

    speech        [Speech] and all units                        text        [Text] and all words
    interleaved   spans of words, in turn as text and as units  unimodal    wholly speech or wholly text, by even chance
    pairs         [Speech] units [ASR] text, or [Text] text [TTS] units, by even chance
    word_level    each word in both forms

Guarantees: what is made depends on the document, the format and the random numbers alone. A marker stands at the start
and where the modality changes, nowhere else. Repeated phonetic units and pitches are dropped after cutting, so a span
reads as if its audio had been encoded alone: it opens with the style and the pitch that hold there. A document longer
than a row goes on in the next one, cut between words (a word that is longer than a row, or speech without words,
between units), and opens as every text does. `</s>` ends the document. The ids are those of the tokenizer for the same
string.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spire.errors import UserError
from spiritlm.lm.spans import SPEECH, TEXT, Limits, draw_spans
from spiritlm.lm.store import ID_MASK, KIND_MASK, REPEAT, STREAM_SHIFT, STREAMS, Document
from spiritlm.lm.vocabulary import Tokens

FORMATS = ("speech", "text", "interleaved", "unimodal", "pairs", "word_level")
_STYLE, _PITCH = STREAMS["style"] << STREAM_SHIFT, STREAMS["pitch"] << STREAM_SHIFT
_LEAD = 3  # units that a span may have beyond those that are no repetitions: style, pitch, the first phonetic unit


class View:
    """One document with its cuts: `text(i, j)` and `speech(a, b)` are the ids of words and of units.

    Attributes: words (number), units (number), borders (unit that each word begins with, int64 [words + 1]).
    """

    def __init__(self, document: Document, ids_of: np.ndarray, expressive: bool):
        self._expressive, table = expressive, document.words
        self.words = len(table)
        speech = np.asarray(document.speech)
        if not expressive:
            hubert = (speech & KIND_MASK) == 0
            before = np.concatenate(([0], np.cumsum(hubert)))
            speech = speech[hubert]
        self._kinds, self._ids = speech & KIND_MASK, ids_of[speech & (KIND_MASK | ID_MASK)]
        if len(self._ids) and int(self._ids.min()) < 0:
            raise UserError("documents hold units that the vocabulary has not", hint="make them with its vocabulary")
        self._kept = (speech & REPEAT) == 0
        self._before = np.concatenate(([0], np.cumsum(self._kept)))
        self.units = len(speech)
        borders = np.concatenate(([0], np.cumsum(table["speech"], dtype=np.int64)))
        self.borders = borders if expressive else before[borders]
        self._styles, self._pitches = (np.flatnonzero(self._kinds == k) for k in (_STYLE, _PITCH))
        if self.words:
            self._first_at = np.concatenate(([0], np.cumsum(table["first"], dtype=np.int64)))
            self._rest_at = np.concatenate(([0], np.cumsum(table["rest"], dtype=np.int64)))
            self._first, self._rest = document.first, document.rest
        else:
            self._first = self._rest = document.text
            self._first_at = self._rest_at = np.arange(len(document.text) + 1)
        self.pieces = len(self._first_at) - 1  # what a text may be cut between: words, or the ids of text alone

    def text(self, start: int, stop: int) -> np.ndarray:
        """Ids of the words `start` to `stop`, the first as one that begins a text."""
        first = self._first[self._first_at[start] : self._first_at[start + 1]]
        return np.concatenate((first, self._rest[self._rest_at[start + 1] : self._rest_at[stop]])).astype(np.int64)

    def text_end(self, start: int, stop: int, room: int) -> int:
        """The largest end for which `text` has at most `room` ids; `start` when there is none."""
        first = self._first_at[start + 1] - self._first_at[start]
        end = int(np.searchsorted(self._rest_at, self._rest_at[start + 1] + room - first, side="right")) - 1
        return min(max(end, start), stop) if first <= room else start

    def speech(self, start: int, stop: int) -> np.ndarray:
        """Ids of the units `start` to `stop`."""
        ids, kinds, kept = self._ids[start:stop], self._kinds[start:stop], self._kept[start:stop].copy()
        lead = int(np.argmax(kinds == 0))
        kept[: lead + 1] = True
        if not self._expressive:
            return ids[kept]
        opening = [] if _STYLE in kinds[:lead] else self._in_force(self._styles, start)
        pitch = [] if _PITCH in kinds[:lead] else self._in_force(self._pitches, start)
        return np.concatenate((opening, ids[:lead], pitch, ids[lead:][kept[lead:]])).astype(np.int64)

    def _in_force(self, places: np.ndarray, at: int) -> np.ndarray:
        number = int(np.searchsorted(places, at)) - 1
        return self._ids[places[number : number + 1]] if number >= 0 else self._ids[:0]

    def speech_end(self, start: int, stop: int, room: int, within_words: bool) -> int:
        """The largest end for which `speech` has at most `room` ids: between words, or where that cannot be (with
        `within_words`, and in speech without words) behind any phonetic unit; `start` when there is none.
        """
        spare = _LEAD if self._expressive else 1
        if int(self._before[stop] - self._before[start]) + spare <= room:
            return stop
        end = int(np.searchsorted(self._before, self._before[start] + room - spare, side="right")) - 1
        if self.words:
            border = int(self.borders[np.searchsorted(self.borders, end, side="right") - 1])
            if border > start or not within_words:
                return max(start, border)
        hubert = np.flatnonzero(self._kinds[start:end] == 0)
        return start + int(hubert[-1]) + 1 if len(hubert) else start


class Renderer:
    """Makes rows of at most `length` ids; `limits`: of the spans. `expressive`: with pitch and style (None: where the
    vocabulary has them)."""

    def __init__(self, tokens: Tokens, length: int, limits: Limits | None = None, expressive: bool | None = None):
        if length < 16:
            raise UserError(
                f"rows of {length} tokens", hint="a row has to hold a marker and a few words: --length 4096"
            )
        self.tokens, self.length, self.limits = tokens, length, limits or Limits()
        self.expressive = tokens.ids.expressive if expressive is None else expressive
        self._ids_of = np.full(len(STREAMS) << STREAM_SHIFT, -1, np.int64)
        for name, kind in STREAMS.items():
            ids = getattr(tokens.ids, name)
            self._ids_of[kind << STREAM_SHIFT : (kind << STREAM_SHIFT) + len(ids)] = ids
        self._formats: dict[str, Callable] = {
            "speech": lambda view, rng: self._spans(view, [(SPEECH, 0, view.words)]),
            "text": lambda view, rng: self._spans(view, [(TEXT, 0, view.pieces)]),
            "interleaved": lambda view, rng: self._spans(view, draw_spans(view.words, self.limits, rng)),
            "unimodal": lambda view, rng: self._spans(view, [(int(rng.integers(2)), 0, view.words)]),
            "pairs": self._pairs,
            "word_level": self._word_level,
        }

    def rows(self, document: Document, form: str, rng: np.random.Generator) -> list[np.ndarray]:
        """int64 ids of each row of the document. UserError: an unknown format, or one that needs what the document has
        not (aligned words, speech, the tasks' marks).
        """
        if form not in self._formats:
            raise UserError(f"unknown format {form!r}", hint="one of " + ", ".join(FORMATS))
        view = View(document, self._ids_of, self.expressive)
        if form == "speech" and not view.units:
            raise UserError("documents of text cannot be speech", hint="give documents made with --streams")
        if form == "text" and not view.pieces:
            raise UserError("speech without words cannot be text", hint="give documents made with --words")
        if form not in ("speech", "text") and not view.words:
            raise UserError(f"format {form} needs aligned speech", hint="give documents made with --words")
        if form == "pairs" and self.tokens.asr is None:
            raise UserError("the vocabulary has no [ASR] and [TTS]", hint="spiritlm_extend.py --tasks")
        return self._formats[form](view, rng)

    def _spans(self, view: View, spans: list[tuple[int, int, int]]) -> list[np.ndarray]:
        writer = _Writer(self.tokens, self.length)
        for kind, start, stop in spans:
            if kind == TEXT:
                writer.text(view, start, stop)
            else:
                # Speech without words is one span of all its units.
                writer.speech(view, int(view.borders[start]), int(view.borders[stop]) if view.words else view.units)
        return writer.finished()

    def _pairs(self, view: View, rng: np.random.Generator) -> list[np.ndarray]:
        kind, rows, at = int(rng.integers(2)), [], 0
        while at < view.words:
            stop = view.words
            while stop > at:
                pair = self._pair(kind, view, at, stop)
                if len(pair) <= self.length:
                    rows.append(pair)
                    break
                stop = at + (stop - at) * self.length // (len(pair) + 1)
            at = max(stop, at + 1)  # a word that fits no row is left out: half of it would have no other half
        return rows

    def _pair(self, kind: int, view: View, start: int, stop: int) -> np.ndarray:
        text, speech = view.text(start, stop), view.speech(int(view.borders[start]), int(view.borders[stop]))
        t = self.tokens
        parts = (t.speech_opening, speech, [t.asr], text) if kind == SPEECH else (t.text_opening, text, [t.tts], speech)
        return np.concatenate((*parts, [t.eos])).astype(np.int64)

    def _word_level(self, view: View, rng: np.random.Generator) -> list[np.ndarray]:
        first, writer = int(rng.integers(2)), _Writer(self.tokens, self.length)
        for word in range(view.words):
            for kind in (first, 1 - first):
                if kind == TEXT:
                    writer.text(view, word, word + 1)
                else:
                    writer.speech(view, int(view.borders[word]), int(view.borders[word + 1]))
        return writer.finished()


class _Writer:
    """Rows in the making: text and speech are added, markers and new rows come by themselves."""

    def __init__(self, tokens: Tokens, length: int):
        self._tokens, self._length = tokens, length
        self._rows: list[list[np.ndarray]] = []
        self._used, self._kind = length, None

    def text(self, view: View, start: int, stop: int) -> None:
        while start < stop:
            room = self._room(TEXT)
            end = view.text_end(start, stop, room)
            if end > start:
                self._add(TEXT, view.text(start, end))
            if end < stop and not self._break():
                raise UserError(f"a row of {self._length} tokens has no room for a word", hint="use longer rows")
            start = end

    def speech(self, view: View, start: int, stop: int) -> None:
        while start < stop:
            room = self._room(SPEECH)
            end = view.speech_end(start, stop, room, within_words=self._empty)
            if end > start:
                self._add(SPEECH, view.speech(start, end))
            if end < stop and not self._break():
                raise UserError(f"a row of {self._length} tokens has no room for a unit", hint="use longer rows")
            start = end

    @property
    def _empty(self) -> bool:
        """Whether whatever comes next opens a row."""
        return self._used >= self._length

    def _opening(self, kind: int) -> tuple[int, ...]:
        if self._empty:
            return self._tokens.text_opening if kind == TEXT else self._tokens.speech_opening
        if kind == self._kind:
            return ()
        return (self._tokens.ids.text if kind == TEXT else self._tokens.ids.speech,)

    def _room(self, kind: int) -> int:
        """Ids of this kind that the row has room for, `</s>` behind them included."""
        return (self._length if self._empty else self._length - self._used) - len(self._opening(kind)) - 1

    def _add(self, kind: int, ids: np.ndarray) -> None:
        opening = np.asarray(self._opening(kind), np.int64)
        if self._empty:
            self._rows.append([])
            self._used = 0
        self._rows[-1] += [opening, ids]
        self._used += len(opening) + len(ids)
        self._kind = kind

    def _break(self) -> bool:
        """Go on in a new row; False when this one has nothing in it."""
        if self._empty:
            return False
        self._used, self._kind = self._length, None
        return True

    def finished(self) -> list[np.ndarray]:
        rows = [np.concatenate(parts) for parts in self._rows]
        if rows:
            rows[-1] = np.append(rows[-1], self._tokens.eos)
        return rows
