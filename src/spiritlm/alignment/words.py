"""Word times: one JSON object a line, {"id", "words": [[word, start s, end s], ...]}, in the order of a manifest.

What a line guarantees: times are finite, from 0 on, no word ends before it starts or starts before the one in front of
it does. A line whose utterance could not be aligned has no words and a `reason`. Errors name file and line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spire.errors import UserError

HINT = 'each line is {"id": ..., "words": [[word, start, end], ...]}, seconds from the start of the utterance'
Spans = tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Aligned:
    """The words of one utterance, as in its text, with seconds from its start; `reason`: why there are none."""

    id: str
    words: Spans
    reason: str = ""

    def line(self) -> str:
        """The line, with its line end."""
        row: dict = {"id": self.id, "words": [list(word) for word in self.words]}
        if self.reason:
            row["reason"] = self.reason
        return json.dumps(row, ensure_ascii=False) + "\n"


def check_spans(words: Iterable[tuple[str, float, float]]) -> Spans:
    """The words as they came, with floats; ValueError with what is wrong with the times."""
    before, found = 0.0, []
    for word, start, end in words:
        start, end = _number(start), _number(end)
        if not isinstance(word, str):
            raise ValueError(f"{word!r} is no word")
        if end < start:
            raise ValueError(f"{word!r} ends at {end} before it starts at {start}")
        if start < before:
            raise ValueError(f"{word!r} starts at {start} before the one in front of it, or before 0")
        before = start
        found.append((word, start, end))
    return tuple(found)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number of seconds")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a number of seconds")
    return number


def parse_words(line: str, where: str) -> Aligned:
    """One line. Words may also be objects {"word" or "text", "start", "end"}, as aligners write them. UserError."""
    try:
        row = json.loads(line)
        if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not row["id"]:
            raise ValueError('an object with "id" and "words" is expected')
        words = row.get("words")
        if not isinstance(words, list):
            raise ValueError('"words" must be a list')
        reason = row.get("reason", "")
        if not isinstance(reason, str):
            raise ValueError('"reason" must be a text')
        return Aligned(row["id"], check_spans(map(_triple, words)), reason)
    except (ValueError, RecursionError) as e:
        raise UserError(f"{where}: {e}", HINT) from e


def _triple(word: object) -> tuple:
    if isinstance(word, dict):
        word = [word.get("word", word.get("text")), word.get("start"), word.get("end")]
    if not isinstance(word, list) or len(word) != 3:
        raise ValueError(f"{word!r} is not [word, start, end]")
    return tuple(word)


def read_words(path: str | Path) -> Iterator[Aligned]:
    """The lines in order, one at a time; blank ones are skipped. UserError names file and line."""
    path = Path(path)
    seen: set[str] = set()
    for number, line in numbered_lines(path):
        if line.strip():
            aligned = parse_words(line, f"{path}:{number}")
            if aligned.id in seen:
                raise UserError(f"{path}:{number}: id {aligned.id!r} is there twice", HINT)
            seen.add(aligned.id)
            yield aligned


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines counted from 1, split at line feeds only; UserError for a missing file or a byte that is not UTF-8."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield number, line.decode("utf-8").removeprefix("\ufeff" if number == 1 else "")
                except UnicodeDecodeError as e:
                    raise UserError(f"{path}:{number}: not UTF-8 text: {e.reason} at byte {e.start}", HINT) from e
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}", hint="check the path, or run the step that makes this file") from e
