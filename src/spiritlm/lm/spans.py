"""Which words of a document are text and which are speech (papers 2.2).

Guarantees: spans follow from the limits and the random numbers alone; together they are all words, each once, in order;
text and speech alternate; every span but a document's last is within its limits. Which comes first is even chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spire.errors import UserError

TEXT, SPEECH = 0, 1


@dataclass(frozen=True)
class Limits:
    """Least and largest number of words of a span; the paper's."""

    text: tuple[int, int] = (10, 30)
    speech: tuple[int, int] = (5, 15)

    def __post_init__(self) -> None:
        for name in ("text", "speech"):
            least, most = getattr(self, name)
            if not 1 <= least <= most:
                raise UserError(f"{name} spans of {least} to {most} words", hint="such as 10-30: at least 1, ascending")

    @staticmethod
    def parse(text: str) -> tuple[int, int]:
        """ "10-30" as (10, 30); UserError otherwise."""
        least, mark, most = text.partition("-")
        if not (mark and least.isdecimal() and most.isdecimal()):
            raise UserError(f"{text!r} is no span of words", hint="write 10-30")
        return int(least), int(most)


def draw_spans(words: int, limits: Limits, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """[(TEXT or SPEECH, first word, word behind the last)] of a document of so many words.

    >>> draw_spans(8, Limits((2, 2), (3, 3)), np.random.default_rng(0))
    [(1, 0, 3), (0, 3, 5), (1, 5, 8)]
    """
    kind, at, spans = int(rng.integers(2)), 0, []
    while at < words:
        least, most = limits.speech if kind == SPEECH else limits.text
        end = min(at + int(rng.integers(least, most + 1)), words)
        spans.append((kind, at, end))
        kind, at = 1 - kind, end
    return spans
