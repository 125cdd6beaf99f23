"""Instruction data: conversations in blocks (asr, st, pseudo_st, mt), so that ablations leave blocks out.

Guarantee: a block's lines and their relative order depend on its own inputs, its cap and the seed only, not on which
other blocks are chosen; so two corpora differ exactly in the blocks in which they differ. A smaller cap takes a
subset of what a larger one takes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from spire.corpora.base import chosen_directions
from spire.corpora.pairs import Pair, one_line, report, usable
from spire.corpora.prompts import CHAT, fill, language, speech_template
from spire.errors import UserError

BLOCKS = ("asr", "st", "pseudo_st", "mt")
# The published mixture is recalled as two direct examples to one with the transcript as a first turn.
MULTI_TURN_SHARE = 1 / 3


@dataclass(frozen=True)
class Settings:
    """What the mixture is made of; `caps` maps a block to its greatest number of lines."""

    blocks: tuple[str, ...] = BLOCKS
    caps: dict[str, int] = field(default_factory=dict)
    seed: int = 1
    multi_turn_share: float = MULTI_TURN_SHARE
    min_score: float | None = None
    templates: dict[str, str] = field(default_factory=lambda: dict(CHAT))


def parse_blocks(text: str) -> tuple[str, ...]:
    """Block names separated by spaces or commas. Raises UserError for an unknown or repeated one."""
    names = tuple(text.replace(",", " ").split())
    for name in names:
        if name not in BLOCKS:
            raise UserError(f"unknown block {name!r}", hint="blocks: " + " ".join(BLOCKS))
    if not names or len(set(names)) < len(names):
        raise UserError(f"blocks {text!r}: name each block once, and at least one", hint="blocks: " + " ".join(BLOCKS))
    return names


def parse_caps(text: str) -> dict[str, int]:
    """`asr=4000 mt=4000` -> {"asr": 4000, "mt": 4000}; separators are spaces or commas."""
    caps = {}
    for item in text.replace(",", " ").split():
        name, _, value = item.partition("=")
        if name not in BLOCKS or not value.isdecimal():
            raise UserError(f"cap {item!r} is not BLOCK=NUMBER", hint="blocks: " + " ".join(BLOCKS))
        caps[name] = int(value)
    return caps


def build(
    pairs: list[Pair], parallel: list[dict], pseudo: list[dict], settings: Settings
) -> tuple[list[dict], dict[str, int]]:
    """(conversation lines with "block" and "id", what was left out and why).

    `pairs`: training utterances with units; `parallel`: rows by language code; `pseudo`: rows {"id", "lang", "text",
    optional "score"}, translations of transcripts. A pseudo label is used only where the manifest has no translation.
    Raises UserError when a chosen block comes out empty.
    """
    kept, left_out = usable(pairs)
    makers: dict[str, Callable[[], list[dict]]] = {
        "asr": lambda: [_asr(p, settings) for p in kept],
        "st": lambda: _translations([(p, t, p.translation(t)) for p in kept for t in _targets(p)], "st", settings),
        "pseudo_st": lambda: _translations(_pseudo(kept, pairs, pseudo, settings, left_out), "pseudo_st", settings),
        "mt": lambda: _mt(parallel, settings),
    }
    # Without a cap, text takes as many lines as there is transcribed speech: the parallel corpus would drown it.
    caps = {"mt": len(kept) or len(parallel), **settings.caps}
    keyed: list[tuple[float, dict]] = []
    for block in BLOCKS:
        if block not in settings.blocks:
            continue
        lines = makers[block]()
        if not lines:
            raise UserError(
                f"block {block} is empty" + (f" (left out: {report(left_out)})" if any(left_out.values()) else ""),
                hint="check its input, or leave the block out of --blocks",
            )
        rng = random.Random(f"it:{block}:{settings.seed}")
        rng.shuffle(lines)
        # Sorting random keys shuffles the whole in a way that does not change when a block goes.
        keyed += [(rng.random(), line) for line in lines[: caps.get(block)]]
    keyed.sort(key=lambda item: item[0])
    return [line for _, line in keyed], left_out


def conversation(turns: list[tuple[str, str]], block: str, identity: str) -> dict:
    """(prompt, answer) turns as a line of the published format, plus "block" and "id"."""
    said = [
        {"from": who, "value": value} for prompt, answer in turns for who, value in (("human", prompt), ("gpt", answer))
    ]
    return {"conversations": said, "block": block, "id": identity}


def _asr(pair: Pair, settings: Settings) -> dict:
    prompt = fill(speech_template(settings.templates, "en"), dsu_seq=pair.units)
    return conversation([(prompt, pair.text)], "asr", pair.utterance.id)


def _targets(pair: Pair) -> list[str]:
    return sorted(t for t in pair.utterance.translations if pair.translation(t))


def _translations(items: list[tuple[Pair, str, str]], block: str, settings: Settings) -> list[dict]:
    """Direct translations, a random `multi_turn_share` of them with the transcript as a first turn."""
    rng = random.Random(f"turns:{block}:{settings.seed}")
    lines = []
    for pair, target, translation in items:
        if rng.random() < settings.multi_turn_share:
            first = fill(speech_template(settings.templates, "en"), dsu_seq=pair.units)
            then = fill(settings.templates["st_turn"], tgt_lang=language(target))
            turns = [(first, pair.text), (then, translation)]
        else:
            turns = [(fill(speech_template(settings.templates, target), dsu_seq=pair.units), translation)]
        lines.append(conversation(turns, block, f"{pair.utterance.id}.{target}"))
    return lines


def _pseudo(
    kept: list[Pair], pairs: list[Pair], pseudo: list[dict], settings: Settings, left_out: dict[str, int]
) -> list[tuple[Pair, str, str]]:
    by_id = {p.utterance.id: p for p in kept}
    known = {p.utterance.id for p in pairs}
    items = []
    for row in pseudo:
        identity, target, text = row.get("id"), row.get("lang"), row.get("text")
        if not isinstance(identity, str) or not isinstance(target, str) or not isinstance(text, str):
            raise UserError(
                f"not a pseudo label: {str(row)[:120]!r}", hint='expected {"id": ..., "lang": "de", "text": ...}'
            )
        if identity not in known:
            raise UserError(
                f"the pseudo labels know utterance {identity!r}, the manifest does not",
                hint="make them from the same manifest with pseudo_label.py",
            )
        reason = None
        if identity not in by_id:
            reason = "pseudo labels of unusable utterances"
        elif not text.strip():
            reason = "empty pseudo labels"
        elif by_id[identity].translation(target):
            reason = "pseudo labels beside a true translation"
        elif settings.min_score is not None and row.get("score", settings.min_score) < settings.min_score:
            reason = f"pseudo labels scored below {settings.min_score}"
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            items.append((by_id[identity], target, one_line(text)))
    return items


def _mt(parallel: list[dict], settings: Settings) -> list[dict]:
    """One random direction a sentence pair."""
    rng = random.Random(f"directions:{settings.seed}")
    lines = []
    for n, (row, source, target) in enumerate(chosen_directions(parallel, 1, rng)):
        prompt = fill(
            settings.templates["mt"],
            src_lang=language(source),
            tgt_lang=language(target),
            example=one_line(row[source]),
        )
        lines.append(conversation([(prompt, one_line(row[target]))], "mt", f"{row.get('id', n)}.{source}-{target}"))
    return lines
