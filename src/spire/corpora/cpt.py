"""Continued pretraining: transcribed speech as units followed by text, mixed with text at a stated share.

Guarantees: every usable pair occurs once in each pass; text makes up `share` of the corpus (in lines, or in tokens
when a vocabulary measures them) and is drawn without repetition until it runs out; same inputs and seed, same lines.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from spire.corpora.pairs import Pair, usable
from spire.corpora.prompts import BASE, fill
from spire.errors import UserError
from spire.vocabulary.tokenizer import Vocabulary


def speech_lines(pairs: list[Pair], templates: dict[str, str] = BASE) -> list[dict]:
    """One `{"text", "block": "asr"}` line a pair."""
    template = templates["asr_text"]
    return [{"text": fill(template, dsu_seq=p.units, transcript=p.text), "block": "asr"} for p in pairs]


def build(
    pairs: list[Pair],
    text: list[dict],
    share: float,
    seed: int,
    passes: int = 1,
    vocabulary: Vocabulary | None = None,
    templates: dict[str, str] = BASE,
) -> tuple[list[dict], dict[str, int]]:
    """(shuffled lines, pairs dropped and why).

    `share` in [0, 1) is the part of the corpus that is text; `passes` repeats the speech, each time among other text.
    Raises UserError for a share outside that range, no speech, or no text although some is wanted.
    """
    if not 0 <= share < 1:
        raise UserError(f"text share {share} is not in [0, 1)", hint="0.167 is the paper's 5 parts speech, 1 part text")
    if passes < 1:
        raise UserError(f"{passes} passes over the speech; at least 1 is needed")
    kept, dropped = usable(pairs)
    if not kept:
        raise UserError(f"none of {len(pairs)} utterances has units and a transcript", hint="check the units file")
    if share and not text:
        raise UserError(f"a text share of {share} needs text", hint="give --parallel or --mono, or --text-share 0")

    def size(line: dict) -> int:
        return len(vocabulary.encode(line["text"])) if vocabulary else 1

    speech = speech_lines(kept, templates)
    wanted = sum(map(size, speech)) * share / (1 - share)
    rng = random.Random(f"cpt:{seed}")
    supply = _endless(text, rng)
    lines: list[dict] = []
    drawn = 0
    for i in range(passes):
        block = list(speech)
        # Compared with the running total, so that rounding does not add up over passes.
        while wanted and drawn < round(wanted * (i + 1)):
            line = next(supply)
            drawn += size(line)
            block.append(line)
        rng.shuffle(block)
        lines += block
    return lines, dropped


def _endless(lines: list[dict], rng: random.Random) -> Iterator[dict]:
    while True:
        order = list(lines)
        rng.shuffle(order)
        yield from order
