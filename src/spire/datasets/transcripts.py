"""Transcripts as corpora have them, turned into plain text.

Every cleaner maps one transcript to text, or to None when the utterance holds no speech that was written down; a
corpus's description lists the cleaners it needs. White space is always collapsed by `cleaned`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_GIGASPEECH_MARKS = {"<COMMA>": ",", "<PERIOD>": ".", "<QUESTIONMARK>": "?", "<EXCLAMATIONPOINT>": "!"}
# Utterances that consist of one of these are silence, music, noise or speech in another language.
_GIGASPEECH_GARBAGE = ("<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>")
_GIGASPEECH_MARK = re.compile(r"\s*(" + "|".join(_GIGASPEECH_MARKS) + r")")
_TAG = re.compile(r"<[A-Z_]+>")


def gigaspeech(text: str) -> str | None:
    """Punctuation tags become the marks, attached to the word before; an utterance with a garbage tag is None, and so
    is one with a tag that is not known, because what it stands for would be taught as text."""
    if any(tag in text for tag in _GIGASPEECH_GARBAGE):
        return None
    text = _GIGASPEECH_MARK.sub(lambda match: _GIGASPEECH_MARKS[match[1]], text)
    return None if _TAG.search(text) else text


def lower(text: str) -> str:
    """Lower case, for corpora that are written in capitals."""
    return text.lower()


def table_quotes(text: str) -> str:
    """Without the quotation marks that a table put around a cell, as Common Voice has them: a cell in marks whose inner
    marks are all doubled loses the outer ones and the doubling."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in (inner := text[1:-1]).replace('""', ""):
        return inner.replace('""', '"')
    return text


CLEANERS: dict[str, Callable[[str], str | None]] = {
    "gigaspeech": gigaspeech,
    "lower": lower,
    "table_quotes": table_quotes,
}


def cleaned(text: str, names: Iterable[str]) -> str | None:
    """The text after the named cleaners, with single spaces; None when one of them drops it or nothing is left."""
    for name in names:
        result = CLEANERS[name](text)
        if result is None:
            return None
        text = result
    return " ".join(text.split()) or None
