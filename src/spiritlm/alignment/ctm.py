"""CTM files (NIST): one word a line, `utterance channel start duration word [confidence ...]`, seconds.

Lines that begin with `;;` are comments. The words of an utterance may stand anywhere in the file, in order of their
starts. Errors name file and line; nothing but UserError is raised.
"""

from __future__ import annotations

import math
from collections.abc import Container
from pathlib import Path

from spire.errors import UserError
from spiritlm.alignment.words import numbered_lines

HINT = "a line is: utterance channel start duration word [confidence]"


def read_ctm(path: str | Path, wanted: Container[str] | None = None) -> dict[str, list[tuple[str, float, float]]]:
    """(word, start, end) by utterance, of those `wanted` only (None: all), so that a part of a corpus holds its own."""
    path = Path(path)
    found: dict[str, list[tuple[str, float, float]]] = {}
    for number, line in numbered_lines(path):
        fields = line.split()
        if not fields or line.startswith(";;"):
            continue
        if len(fields) < 5:
            raise UserError(f"{path}:{number}: {len(fields)} fields, at least 5 are expected", HINT)
        utterance, _, start, duration, word = fields[:5]
        begin, length = (_seconds(text, path, number) for text in (start, duration))
        if wanted is not None and utterance not in wanted:
            continue
        words = found.setdefault(utterance, [])
        if words and begin < words[-1][1]:
            message = f"{word!r} starts at {begin:g} s, before the word in front of it at {words[-1][1]:g} s"
            raise UserError(f"{path}:{number}: {message}", "sort the file by utterance and start")
        words.append((word, begin, begin + length))
    return found


def _seconds(text: str, path: Path, number: int) -> float:
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise UserError(f"{path}:{number}: {text[:40]!r} is not a number of seconds", HINT)
    return value
