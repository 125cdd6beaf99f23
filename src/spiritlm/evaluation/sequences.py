"""What of an item a language model reads, and which of its tokens are scored (spiritlm 5 and 7; papers 2.5).

Guarantee: the ids are those of the prompt `spiritlm.model.prompts` builds from the item's segments, behind one `<s>`: a
marker wherever text and speech change, text as it is, speech as the string of its units (repetitions dropped, pitch and
style only for a model that has them). Scored is the ending: every token behind the context and behind the marker that
opens the ending. That marker belongs to the prompt, as in generation. The end of text is not scored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from spire.errors import UserError
from spiritlm.evaluation.items import Item, Segment
from spiritlm.model.vocabulary import SPEECH, TEXT, UnitIds
from spiritlm.unit_strings import units_to_string

_TOKEN = re.compile(r"\[(Hu|Pi|St)([0-9]+)\]")
_PROBE = ("ab c", "[Hu0][Hu1]", " d")


@dataclass(frozen=True)
class Scored:
    """Ids that are given and ids that are scored behind them; neither is empty. `opening` of the given ones, the marker
    at their end, belong to the ending's modality: the context before them is shared by endings of both."""

    prompt: tuple[int, ...]
    ending: tuple[int, ...]
    opening: int = 0

    @property
    def context(self) -> tuple[int, ...]:
        return self.prompt[: len(self.prompt) - self.opening]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.ending)


class Sequences:
    """Ids of items by a model's vocabulary (`spire.decoding.vocabulary.open_vocabulary`).

    UserError at once when the vocabulary has no markers and units in the order of SpiRit-LM.
    """

    def __init__(self, vocabulary, where: str):
        self.vocabulary, self.where = vocabulary, where
        self.ids = UnitIds.from_vocabulary({vocabulary.piece(i): i for i in range(vocabulary.size)}, where)
        self._first = {"Hu": self.ids.hubert, "Pi": self.ids.pitch, "St": self.ids.style}
        self._texts: dict[str, tuple[int, ...]] = {}

    def of(self, item: Item) -> Scored:
        """The ids of one item. UserError: a unit that the model has not, a missing stream, nothing to score."""
        where = f"{self.where}: item {item.id}"
        before = self._runs(item.context, where)
        whole = self._runs((*item.context, *item.ending), where)
        opened = len(whole) > len(before) and whole[: len(before)] == before
        if opened:
            before = [*before, (whole[len(before)][0], "")]
        given, ids = self._encode(before), self._encode(whole)
        shared = len(os.path.commonprefix([given, ids]))
        if shared == len(ids):
            raise UserError(f"{self.where}: item {item.id}: its ending has no tokens", "is the text empty?")
        return Scored(ids[:shared], ids[shared:], opening=int(opened and shared == len(given)))

    def shortened(self, item: Item, longest: int) -> tuple[Scored, int]:
        """The ids with as many segments of the context left out, from the second on, as make them fit; and how many.

        For few-shot prompts: the first segment is the heading, the last the question. UserError: it never fits.
        """
        dropped = 0
        while len(found := self.of(item)) > longest:
            if len(item.context) < 3:
                raise UserError(
                    f"{self.where}: item {item.id} has {len(found)} tokens, the model has {longest} positions",
                    "give a model with more positions, or leave the item out",
                )
            item = Item(**{**vars(item), "context": (item.context[0], *item.context[2:])})
            dropped += 1
        return found, dropped

    def _runs(self, segments: Sequence[Segment], where: str) -> list[tuple[bool, str]]:
        """(spoken, string) of the stretches of one modality."""
        runs: list[tuple[bool, str]] = []
        for segment in segments:
            text = self._speech(segment, where) if segment.spoken else segment.text
            if runs and runs[-1][0] is segment.spoken:
                runs[-1] = (segment.spoken, runs[-1][1] + text)
            else:
                runs.append((segment.spoken, text))
        return runs

    def _speech(self, segment: Segment, where: str) -> str:
        try:
            string = units_to_string(segment.streams, self.ids.expressive, self.ids.expressive)
        except UserError as e:
            raise UserError(f"{where}: {e.message}", e.hint) from None
        for kind, number in _TOKEN.findall(string):
            if int(number) >= len(self._first[kind]):
                raise UserError(
                    f"{where}: the model has no [{kind}{number}]", "its units come from another tokenizer; encode again"
                )
        return string

    def _encode(self, runs: list[tuple[bool, str]]) -> tuple[int, ...]:
        if not self._apart:
            string = "".join((SPEECH if spoken else TEXT) + text for spoken, text in runs)
            return tuple(self.vocabulary.encode(string, bos=True))
        ids = [self.vocabulary.bos]
        for spoken, text in runs:
            ids.append(self.ids.speech if spoken else self.ids.text)
            ids += [self._first[k][int(n)] for k, n in _TOKEN.findall(text)] if spoken else self._text(text)
        return tuple(ids)

    def _text(self, text: str) -> tuple[int, ...]:
        if text not in self._texts:
            self._texts[text] = tuple(self.vocabulary.encode(text))
        return self._texts[text]

    @cached_property
    def _apart(self) -> bool:
        """Whether markers and units part text from text in this vocabulary, so that stretches can be encoded apart: so
        it is with added tokens, but not where they are pieces of the SentencePiece model."""
        first, units, last = _PROBE
        whole = self.vocabulary.encode(f"{TEXT}{first}{SPEECH}{units}{TEXT}{last}")
        speech = [self.ids.speech, self.ids.hubert[0], self.ids.hubert[1]]
        text = [[self.ids.text, *self.vocabulary.encode(part)] for part in (first, last)]
        return whole == [*text[0], *speech, *text[1]]
