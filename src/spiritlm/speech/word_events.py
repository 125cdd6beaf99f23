"""espeak-ng with the times of words: the samples and phones of `spire.speech.espeak.speak`, and when each word is said.

espeak tells, with the samples, at which sample each word of its text begins. A word ends where the next word or a pause
begins. Words that espeak says as one ("of the") share their time in proportion to their letters.
"""

from __future__ import annotations

import bisect
import ctypes
import re

import numpy as np

from spire.errors import UserError
from spire.speech import espeak
from spire.speech.espeak import Speech, Voice

_EVENT_WORD = 1

Word = tuple[str, float, float]


def speak_words(text: str, voice: Voice) -> tuple[Speech, tuple[Word, ...]]:
    """The speech of `text`, and (word, start s, end s) of each of its words (separated by blanks), in order.

    Depends on the arguments and espeak's version alone. UserError as for `espeak.speak`, and for text with a NUL.
    """
    if "\0" in text:
        raise UserError(f"text {text!r} holds a NUL character")
    espeak.check_voice(voice.voice)
    library, data = espeak._paths()
    audio: list[bytes] = []
    marks: list[tuple[str, int]] = []
    begins: list[tuple[int, int]] = []

    @espeak._Callback
    def collect(samples, count, events):
        if samples and count > 0:
            audio.append(ctypes.string_at(samples, 2 * count))
        i = 0
        while events[i].type != espeak._EVENT_END_OF_LIST:
            event = events[i]
            if event.type == espeak._EVENT_PHONEME:
                marks.append((event.id.string.decode("utf-8", "replace"), event.sample))
            elif event.type == _EVENT_WORD:
                begins.append((event.text_position - 1, event.sample))
            i += 1
        return 0

    with espeak._lock:
        lib = ctypes.CDLL(library)
        try:
            options = espeak._PHONEME_EVENTS | espeak._DONT_EXIT
            rate = lib.espeak_Initialize(espeak._SYNCHRONOUS, 0, data.encode(), options)
            if rate <= 0:
                raise UserError(f"espeak-ng cannot start: no data at {data}", hint="install espeakng-loader again")
            lib.espeak_SetSynthCallback(collect)
            if lib.espeak_SetVoiceByName(voice.voice.encode()) != 0:
                raise UserError(f"espeak-ng does not know the voice {voice.voice!r}")
            for parameter, value in (
                (espeak._RATE, voice.rate),
                (espeak._PITCH, voice.pitch),
                (espeak._RANGE, voice.range),
            ):
                lib.espeak_SetParameter(parameter, value, 0)
            encoded = text.encode("utf-8") + b"\0"
            lib.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 1, 0, espeak._CHARS_UTF8, None, None)
            lib.espeak_Synchronize()
            lib.espeak_Terminate()
        finally:
            espeak._unload(lib, library)
    samples = np.frombuffer(b"".join(audio), dtype="<i2")
    if not len(samples) or all(name.startswith(espeak.PAUSE) for name, _ in marks):
        raise UserError(f"espeak-ng says nothing for the text {text!r}", hint="the text needs at least one word")
    phones = espeak._phones(marks, len(samples), rate)
    return Speech(samples, rate, phones), word_times(text, begins, phones, rate)


def word_times(
    text: str, begins: list[tuple[int, int]], phones: tuple[tuple[str, float, float], ...], rate: int
) -> tuple[Word, ...]:
    """(word, start s, end s) of each word of `text`; `begins` are (character, sample) of espeak's word events.

    Times rise and do not overlap. Words without an event of their own take their share of the word before them.
    """
    tokens = [(match.start(), match.group()) for match in re.finditer(r"\S+", text)]
    places = [place for place, _ in tokens]
    starts: dict[int, float] = {0: phones[0][1] if phones[0][0] != espeak.PAUSE else phones[0][2]}
    for place, sample in begins:
        word = max(bisect.bisect_right(places, place) - 1, 0)
        if word and word not in starts:
            starts[word] = sample / rate
    heads = sorted(starts)
    times: list[Word] = []
    for head, following in zip(heads, [*heads[1:], len(tokens)], strict=True):
        start = starts[head]
        limit = max(starts.get(following, phones[-1][2]), start)
        end = _voiced_end(phones, start, limit)
        group = [word for _, word in tokens[head:following]]
        letters = np.cumsum([0, *map(len, group)]) / sum(map(len, group))
        bounds = [round(float(start + share * (end - start)), 4) for share in letters]
        times += [(word, a, b) for word, a, b in zip(group, bounds, bounds[1:], strict=False)]
    return tuple(times)


def _voiced_end(phones: tuple[tuple[str, float, float], ...], start: float, limit: float) -> float:
    """Where the last phone that is no pause ends, between `start` and `limit`."""
    ends = [min(b, limit) for symbol, a, b in phones if symbol != espeak.PAUSE and a < limit and b > start]
    return max(ends, default=limit)
