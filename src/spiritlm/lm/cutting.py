"""Speech cut at word boundaries: units in order of time, and how many belong to each word.

Guarantees: every unit belongs to exactly one word, in order of time, and every word has at least one phonetic unit; the
boundary between two words lies in the middle of the gap between them; what precedes the first word is its, what follows
the last is the last one's. A pitch or style belongs to the word of the phonetic unit that follows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spire.errors import UserError
from spiritlm.lm.store import KIND_MASK, REPEAT, STREAM_SHIFT, STREAMS
from spiritlm.unit_strings import HUBERT_RATE, PITCH_RATE, STYLE_RATE, ids_of

_RATES = {"style": STYLE_RATE, "pitch": PITCH_RATE, "hubert": HUBERT_RATE}


def merged_units(streams: Mapping[str, str], limits: Mapping[str, int], expressive: bool) -> np.ndarray:
    """All units of an utterance in order of time, uint16 as in `store` but without the bit of repetition.

    limits: how many units each stream has. UserError: a stream is missing, or a unit is out of its stream's range.
    """
    wanted = [name for name in _RATES if name == "hubert" or expressive]
    units, times = [], []
    for name in wanted:
        if name not in streams:
            raise UserError(
                f"no stream {name!r}", hint="encode with the expressive tokenizer, or make documents of Base"
            )
        ids = np.asarray(ids_of(streams[name], name), np.int64)
        if len(ids) and int(ids.max()) >= limits[name]:
            raise UserError(
                f"{name} unit {int(ids.max())}, and there are {limits[name]}", hint="see spiritlm_extend.py"
            )
        units.append((ids | STREAMS[name] << STREAM_SHIFT).astype(np.uint16))
        times.append(np.arange(len(ids)) / _RATES[name])
    return np.concatenate(units)[np.argsort(np.concatenate(times), kind="stable")]


def mark_repeats(units: np.ndarray) -> np.ndarray:
    """`units` with REPEAT where a phonetic unit or a pitch is the same as the one before it of its stream; styles are
    never repetitions (spiritlm 5)."""
    marked = units.copy()
    for name in ("hubert", "pitch"):
        places = np.flatnonzero((units & KIND_MASK) == STREAMS[name] << STREAM_SHIFT)
        same = units[places[1:]] == units[places[:-1]]
        marked[places[1:][same]] |= REPEAT
    return marked


def word_frames(words: Sequence[tuple[str, float, float]], frames: int) -> np.ndarray | None:
    """The phonetic unit that each word begins with, int64 [w + 1], `frames` at the end; None when there are fewer units
    than words. Times that run backward are put in order."""
    count = len(words)
    if not count or frames < count:
        return None
    starts = np.asarray([w[1] for w in words], float)
    ends = np.asarray([w[2] for w in words], float)
    borders = np.maximum.accumulate((ends[:-1] + starts[1:]) / 2) if count > 1 else np.empty(0)
    # Unit i stands at i / rate: the first unit at or behind the border is the next word's.
    inner = np.ceil(borders * HUBERT_RATE - 1e-9).astype(np.int64)
    cuts = np.concatenate(([0], inner, [frames]))
    places = np.arange(count + 1)
    cuts = np.maximum.accumulate(np.maximum(cuts, 0) - places) + places  # at least one unit each, from the left
    room = frames - places[::-1]
    return np.minimum(cuts, room)


def units_of_words(units: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """How many of the merged `units` belong to each word: int64 [w]."""
    hubert = np.flatnonzero((units & KIND_MASK) == 0)
    # Behind the last phonetic unit of the word before: pitch and style there belong to the unit that follows.
    ends = hubert[cuts[1:-1] - 1] + 1
    return np.diff(np.concatenate(([0], ends, [len(units)])))
