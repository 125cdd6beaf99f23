"""Recordings of whole stories cut where the ending begins, by the times of their words.

Guarantee: nothing is lost or said twice: the units before the cut are the context's, those behind it the ending's. The
cut lies in the middle between the last word of the context and the first of the ending, or behind it where the
phonetic unit that holds there ends: cut in two, its token would stand twice, which no recording has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from spire.errors import UserError
from spiritlm.unit_strings import HUBERT_RATE, PITCH_RATE, STYLE_RATE, ids_of, text_of

_RATES = {"hubert": HUBERT_RATE, "pitch": PITCH_RATE, "style": STYLE_RATE}
_END = re.compile(r"[.!?][\"')]*$")


def shared_beginning(right: str, wrong: str) -> int:
    """How many words two versions of a story have in common up to the end of a sentence.

    >>> shared_beginning("He ran. He fell. He cried.", "He ran. He fell. He won.")
    4

    UserError: no sentence in common, or nothing behind what is common.
    """
    one, other = right.split(), wrong.split()
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    while same and not _END.search(one[same - 1]):
        same -= 1
    if not same or same == min(len(one), len(other)):
        raise UserError(f"two versions of a story share {same} words: {right[:60]!r}", "are they of the same story?")
    return same


def cut_time(words: Sequence[Sequence], count: int, where: str) -> float:
    """The time in s at which the word with number `count` begins a part of its own; words: [word, start s, end s].

    UserError: there are not so many words.
    """
    if not 0 < count < len(words):
        raise UserError(f"{where}: {len(words)} aligned words, the context has {count}", "align the same transcripts")
    return (float(words[count - 1][2]) + float(words[count][1])) / 2


def cut_units(units: Mapping[str, str], seconds: float, where: str) -> tuple[dict[str, str], dict[str, str]]:
    """The units before and behind `seconds`, or the end of the run of equal phonetic units that goes on there.

    Pitch and style that hold at the cut also open what is behind it, because its tokens need some. UserError: no
    phonetic unit on one of the sides.
    """
    before, behind = {}, {}
    said = ids_of(units["hubert"], "hubert")
    at = min(len(said), -int(-(seconds * HUBERT_RATE) // 1))
    end = next((i for i in range(at, len(said)) if at and said[i] != said[i - 1]), at)
    seconds = end / HUBERT_RATE if end > at else seconds
    for stream, content in units.items():
        ids = ids_of(content, stream)
        # Unit i stands at i / rate.
        first = end if stream == "hubert" else min(len(ids), -int(-(seconds * _RATES[stream]) // 1))
        before[stream] = text_of(ids[:first])
        behind[stream] = text_of(ids[first if stream == "hubert" else max(0, min(first, len(ids)) - 1) :])
    for side in (before, behind):
        if not side["hubert"]:
            raise UserError(f"{where}: no units on one side of {seconds:.2f} s", "align the audio that was encoded")
    return before, behind
