"""Prompts of STSP: solved examples of each sentiment, then the test item itself (spiritlm 9; 11: it was left out)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

from spire.errors import UserError
from spiritlm.generation.streams import Spoken
from spiritlm.model.content import OutputModality
from spiritlm.model.prompts import build_prompt
from spiritlm.model.vocabulary import SPEECH, TEXT
from spiritlm.stsp.data import SENTIMENTS, Item, Shot

_MARKERS = {"t": TEXT, "s": SPEECH}


def chosen(shots: Sequence[Shot], count: int, seed: int) -> list[Shot]:
    """ceil(count / 3) examples of each sentiment, in an order of the seed. UserError: there are not so many."""
    drawn: list[Shot] = []
    rng = random.Random(f"stsp:{seed}")
    for sentiment in SENTIMENTS if count else ():
        pool = [shot for shot in shots if shot.sentiment == sentiment]
        each = math.ceil(count / len(SENTIMENTS))
        if len(pool) < each:
            raise UserError(f"{len(pool)} solved examples are {sentiment}, {each} are wanted", hint="fewer --shots")
        drawn += rng.sample(pool, each)
    rng.shuffle(drawn)
    return drawn


def question(item: Item, spoken: Mapping[str, Spoken], direction: str, expressive: bool) -> str:
    """The item's own part of a prompt: its text or its speech, and the marker of what is wanted. UserError: an item
    without text in a direction that begins with text."""
    given, wanted = direction.split("-")
    modality = OutputModality.TEXT if wanted == "t" else OutputModality.SPEECH
    if given == "t":
        if not item.text.strip():
            raise UserError(f"item {item.id} has no text", hint="its manifest needs the field asr for this direction")
        return build_prompt([("text", item.text.strip())], modality, str)
    return build_prompt([("speech", spoken[item.id].string(expressive))], modality, str)


def examples(shots: Sequence[Shot], spoken: Mapping[str, Spoken], expressive: bool) -> list[str]:
    """Each as marker, prompt, marker, generation. Of speech the first half of the file is the prompt, the second half
    the generation."""
    found = []
    for shot in shots:
        parts = []
        for kind, value, share in zip(
            shot.direction.split("-"), (shot.prompt, shot.generation), ((0.0, 0.5), (0.5, 1.0)), strict=True
        ):
            content = value.strip() if kind == "t" else spoken[value].string(expressive, share)
            parts.append(_MARKERS[kind] + content)
        found.append("".join(parts))
    return found


def prompt(solved: Sequence[str], asked: str, fits: Callable[[str], bool]) -> tuple[str, int]:
    """(examples joined and ended by line breaks, with the question behind; how many examples were left out, the first
    ones first, because the model has no room for them). UserError: the question alone does not fit."""
    for dropped in range(len(solved) + 1):
        whole = "".join(f"{example}\n" for example in solved[dropped:]) + asked
        if fits(whole):
            return whole, dropped
    raise UserError(f"a question of {len(asked)} characters is too long for the model", hint="give shorter audio")
