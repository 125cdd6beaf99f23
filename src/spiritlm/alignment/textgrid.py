"""Praat's TextGrid files, long and short form, as the Montreal Forced Aligner and others write them.

Follows Praat's manual: only free-standing numbers, texts in double quotes (a quote inside is doubled) and flags in
angle brackets count; everything else, such as `xmin =` and `intervals [1]:`, explains and is passed over, as is what
follows a `!`. UTF-8, or UTF-16 with a byte order mark. Errors name file and line; nothing but UserError is raised.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from spire.errors import UserError

HINT = "export the alignment again as a TextGrid (text file), long or short"
_PART = re.compile(
    r"""(?P<blank>\s+)|(?P<comment>![^\n]*)|"(?P<text>(?:[^"]|"")*)"(?=\s|$)"""
    r"""|(?P<flag><[A-Za-z]+>)(?=\s|$)|(?P<other>[^\s"!]\S*)|(?P<open>")"""
)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")


@dataclass(frozen=True)
class Interval:
    """Seconds and text."""

    start: float
    end: float
    text: str
    line: int


@dataclass(frozen=True)
class Tier:
    """An interval tier; point tiers are read and left out."""

    name: str
    intervals: tuple[Interval, ...]


def read_textgrid(path: str | Path) -> list[Tier]:
    """The interval tiers of a file. UserError: missing, no TextGrid, cut off, times that run backwards."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}", HINT) from e
    try:
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as e:
        line = content[: e.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: not {e.encoding} text: {e.reason}", HINT) from e
    return _Reader(path, text).tiers()


def word_tier(path: str | Path, tiers: list[Tier], name: str = "words") -> Tier:
    """The tier called `name`, in any case, or the only one called `SPEAKER - name`; UserError otherwise."""
    exact = [tier for tier in tiers if tier.name.strip().lower() == name.lower()]
    found = exact or [tier for tier in tiers if tier.name.strip().lower().endswith(f" - {name.lower()}")]
    if len(found) != 1:
        there = ", ".join(repr(tier.name) for tier in tiers) or "none"
        raise UserError(f"{path}: {len(found)} tiers are called {name!r}; there are: {there}", "give --tier NAME")
    return found[0]


class _Reader:
    """Takes the parts of a file one after the other; every error knows the line it is at."""

    def __init__(self, path: Path, text: str):
        self._path, self._line, self._at = path, 1, 0
        self._parts = self._read(text)

    def _read(self, text: str) -> list[tuple[int, str, str | float]]:
        parts: list[tuple[int, str, str | float]] = []
        at, line = 0, 1
        while at < len(text):
            found = _PART.match(text, at)
            if found is None or found.lastgroup == "open":
                self._line = line
                self._fail("a text has no closing quote")
            kind, value = found.lastgroup, found.group(found.lastgroup)
            if kind == "text":
                parts.append((line, "text", value.replace('""', '"')))
            elif kind == "flag":
                parts.append((line, "flag", value))
            elif kind == "other" and _NUMBER.fullmatch(value):
                parts.append((line, "number", float(value)))
            line += found.group().count("\n")
            at = found.end()
        return parts

    def _fail(self, message: str) -> None:
        raise UserError(f"{self._path}:{self._line}: {message}", HINT)

    def _take(self, kind: str, what: str) -> str | float:
        if self._at == len(self._parts):
            self._fail(f"ends where {what} is expected")
        self._line, found, value = self._parts[self._at]
        if found != kind:
            self._fail(f"{what} is expected, not {value!r}")
        self._at += 1
        return value

    def _count(self, what: str) -> int:
        number = self._take("number", what)
        if number != int(number) or not 0 <= number <= len(self._parts):
            self._fail(f"{number:g} is not {what}")
        return int(number)

    def _stretch(self, before: float) -> tuple[float, float]:
        start = self._take("number", "a start in seconds")
        end = self._take("number", "an end in seconds")
        if not (math.isfinite(start) and math.isfinite(end)) or end < start or start < before:
            self._fail(f"from {start:g} to {end:g} s is no stretch of time behind {before:g} s")
        return start, end

    def tiers(self) -> list[Tier]:
        if self._take("text", 'the file type "ooTextFile"') != "ooTextFile":
            self._fail('the file type is not "ooTextFile"')
        if self._take("text", 'the class "TextGrid"') != "TextGrid":
            self._fail('the class is not "TextGrid"')
        self._stretch(-math.inf)
        if self._take("flag", "<exists>") != "<exists>":
            return []
        tiers = [self._tier() for _ in range(self._count("a number of tiers"))]
        return [tier for tier in tiers if tier is not None]

    def _tier(self) -> Tier | None:
        kind = self._take("text", "the class of a tier")
        name = self._take("text", "the name of a tier")
        self._stretch(-math.inf)
        if kind == "TextTier":
            for _ in range(self._count("a number of points")):
                self._take("number", "a time in seconds")
                self._take("text", "the mark of a point")
            return None
        if kind != "IntervalTier":
            self._fail(f"{kind!r} is not a class of tiers")
        intervals: list[Interval] = []
        for _ in range(self._count("a number of intervals")):
            start, end = self._stretch(intervals[-1].start if intervals else -math.inf)
            intervals.append(Interval(start, end, str(self._take("text", "the text of an interval")), self._line))
        return Tier(str(name), tuple(intervals))
