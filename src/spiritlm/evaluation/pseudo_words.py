"""Pseudo-words beside the words of a vocabulary, as sWUGGY has them: a sound or two changed, and never a word.

Letters are exchanged within their kind (vowels, stops, fricatives, sonorants), so that the result can be said; whether
it sounds like something else than every word is for `sound` to tell. The real sWUGGY matches frequencies of phones and
syllables, too; here nothing but the kind of sound and the number of phones is kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from spire.errors import UserError

_KINDS = ("aeiou", "ptkbdg", "fsvz", "lrmn")


def pseudo_words(
    words: Sequence[str], vocabulary: Iterable[str], sound: Callable[[str], tuple[str, ...]], seed: int
) -> dict[str, str]:
    """A pseudo-word for each word that has one, in the order of `words`; no two words have the same.

    sound: the phones of a spelling. No pseudo-word is spelled or sounds like a word of the vocabulary, and each has as
    many phones as its word, or one more or less. The same arguments give the same pseudo-words.
    """
    known = set(vocabulary) | set(words)
    sounds = {sound(word) for word in sorted(known)}
    found: dict[str, str] = {}
    for word in words:
        length = len(sound(word))
        for candidate in _changed(word, random.Random(f"{seed} {word}")):
            if candidate in known or candidate in found.values():
                continue
            phones = sound(candidate)
            if phones not in sounds and abs(len(phones) - length) <= 1:
                found[word] = candidate
                sounds.add(phones)
                break
    return found


def _changed(word: str, rng: random.Random) -> Iterator[str]:
    """Spellings with one letter changed, then with two, each in random order; at most 60 of them."""
    places = [i for i, letter in enumerate(word) if any(letter in kind for kind in _KINDS)]
    single = [word[:i] + other + word[i + 1 :] for i in places for other in _others(word[i])]
    yield from rng.sample(single, min(30, len(single)))
    for _ in range(30 if len(places) > 1 else 0):
        first, second = sorted(rng.sample(places, 2))
        letters = list(word)
        for i in (first, second):
            letters[i] = rng.choice(_others(word[i]))
        yield "".join(letters)


def _others(letter: str) -> list[str]:
    return [other for kind in _KINDS if letter in kind for other in kind if other != letter]


def swapped(sentence: str, allowed: Callable[[str], bool], rng: random.Random) -> str:
    """The sentence with two neighbouring words exchanged, at a random place where the result is `allowed`.

    UserError: there is no such place.
    """
    words = sentence.split()
    for i in rng.sample(range(len(words) - 1), len(words) - 1):
        other = " ".join([*words[:i], words[i + 1], words[i], *words[i + 2 :]])
        if other != sentence and allowed(other):
            return other
    raise UserError(f"no two words of {sentence!r} can be exchanged", "give sentences of several different words")
