"""Items of the published likelihood tests: sWUGGY and sBLIMP, StoryCloze and Topic-StoryCloze, MMLU (papers 2.5).

The speech of a test is prepared and encoded like any other (data_corpus.py, spiritlm_encode.py); here its units meet
what was published about which utterance is right. Guarantee: a pair is never made of less than was published: an
utterance without units is an error that names it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from spire.datasets.spoken_tests import SAID, read_gold
from spire.errors import UserError
from spiritlm.evaluation.items import Item, Segment, TestSet, pair

LETTERS = "ABCDEFGHIJ"
SHOTS = 5
Streams = Mapping[str, Mapping[str, str]]


def units(streams: Streams, name: str) -> Segment:
    """The units of an utterance. UserError: it was not encoded, or has none."""
    if not streams.get(name, {}).get("hubert", "").strip():
        hint = "encode the whole test set; audio shorter than 80 ms has no units"
        raise UserError(f"no units of the utterance {name!r}", hint)
    return Segment(streams=streams[name])


def zerospeech(gold: Path, task: str, streams: Streams) -> list[TestSet]:
    """sWUGGY (`task` lexical) or sBLIMP (syntactic) of ZeroSpeech 2021, as speech and as text.

    A pair is a word or sentence and its counterpart in one voice; voices of one are a group. Subsets: of wuggy inter
    (words of LibriSpeech) and oov, of blimp the types of its phenomena. UserError: a column is missing, a word has no
    counterpart in a voice, an utterance no units.
    """
    kind = ("frequency",) if task == "lexical" else ("type", "subtype")
    rows = read_gold(gold, ("filename", "id", "voice", "correct", SAID[task], *kind))
    name = "wuggy" if task == "lexical" else "blimp"
    groups: dict[tuple[str, ...], dict[str, dict[str, list[dict]]]] = {}
    for row in rows:
        key = (row["id"],) if task == "lexical" else (row["type"], row["subtype"], row["id"])
        voices = groups.setdefault(key, {}).setdefault(row["voice"], {"1": [], "0": []})
        if row["correct"] not in voices:
            raise UserError(f"{gold}: {row['filename']}: `correct` is {row['correct']!r}", "0 or 1")
        voices[row["correct"]].append(row)
    text: list[Item] = []
    speech: list[Item] = []
    for key, voices in groups.items():
        group = "-".join(key)
        written: dict[tuple[str, str], str] = {}
        for voice, sides in voices.items():
            if not sides["1"] or len(sides["1"]) != len(sides["0"]):
                counts = f"{len(sides['1'])} right and {len(sides['0'])} wrong"
                raise UserError(f"{gold}: {group} has {counts} in the voice {voice}", "unpack the archive again")
            for number, both in enumerate(zip(sides["1"], sides["0"], strict=True)):
                one = f"{group}-{voice}" + (f"-{number}" if number else "")
                endings = [[units(streams, row["filename"].removesuffix(".wav"))] for row in both]
                speech += pair(one, (), endings, group=group, subset=_subset(task, both[0]))
                written.setdefault(tuple(row[SAID[task]] for row in both), _subset(task, both[0]))
        for number, (texts, subset) in enumerate(written.items()):
            one = group + (f"-{number}" if number else "")
            text += pair(one, (), [[Segment(text=t)] for t in texts], group=group, subset=subset)
    return [TestSet(name, "s-s", tuple(speech)), TestSet(name, "t-t", tuple(text))]


def _subset(task: str, row: dict) -> str:
    if task == "lexical":
        frequency = row["frequency"].strip()
        return "inter" if frequency and float(frequency) > 0 else "oov"
    return re.sub(r"[^A-Za-z0-9_]+", "_", row["type"]).strip("_")


def written_stories(stories: Sequence[dict], seed: int) -> list[TestSet]:
    """StoryCloze (sc) and Topic-StoryCloze (tsc) as text: rows {"id", "sentences", "endings", "answer"}. The wrong
    ending of tsc is the right one of another story, drawn from `seed`; which ones TWIST drew was not published."""
    if len(stories) < 2:
        raise UserError("Topic-StoryCloze needs two stories or more")
    own, topical = [], []
    for number, story in enumerate(stories):
        context = [Segment(text=" ".join(story["sentences"]))]
        right, wrong = story["endings"][story["answer"]], story["endings"][1 - story["answer"]]
        other = stories[_another(number, len(stories), f"{seed} tsc {story['id']}")]
        for items, ending in ((own, wrong), (topical, other["endings"][other["answer"]])):
            items += pair(story["id"], context, [[Segment(text=" " + e)] for e in (right, ending)])
    return [TestSet("sc", "t-t", tuple(own)), TestSet("tsc", "t-t", tuple(topical))]


def _another(number: int, count: int, seed: str) -> int:
    other = random.Random(seed).randrange(count - 1)
    return other + (other >= number)


def whole_stories(name: str, right: Streams, wrong: Streams) -> TestSet:
    """Stories that were recorded whole, context and ending in one (TWIST's sSC and tSC): the two recordings of a story
    are compared from their start, so all their tokens are scored. UserError: ids that only one of them has."""
    if set(right) != set(wrong) or not right:
        odd = sorted(set(right) ^ set(wrong))
        raise UserError(f"{name}: {len(odd)} stories have no counterpart, such as {odd[:1]}", "encode both splits")
    items = [i for key in right for i in pair(key, (), [[units(right, key)], [units(wrong, key)]])]
    return TestSet(name, "s-s", tuple(items))


def cut_stories(name: str, stories: Sequence[Mapping[str, tuple[str, Mapping[str, str]]]]) -> list[TestSet]:
    """All four directions: `stories` are {"id": (id, {}), "context", "right", "wrong": (text, units dictionary)}."""
    found = []
    for direction in ("t-t", "s-s", "t-s", "s-t"):
        items = []
        for story in stories:
            context = _segment(story["context"], direction[0], "")
            blank = " " if direction == "t-t" else ""
            endings = [[_segment(story[side], direction[2], blank)] for side in ("right", "wrong")]
            items += pair(story["id"][0], [context], endings)
        found.append(TestSet(name, direction, tuple(items)))
    return found


def _segment(both: tuple[str, Mapping[str, str]], modality: str, blank: str) -> Segment:
    return Segment(text=blank + both[0]) if modality == "t" else Segment(streams=both[1])


def questions(shots: Iterable[dict], asked: Sequence[dict], count: int = SHOTS) -> TestSet:
    """MMLU: each question behind `count` solved ones of its subject, and the letters of its choices as endings.

    The wording is that of the test's own authors; SpiRit-LM's is not published. The examples are segments of their own,
    so that some can be left out where a model has too few positions. UserError: a subject with fewer examples.
    """
    examples: dict[str, list[dict]] = {}
    for row in shots:
        examples.setdefault(row["subject"], []).append(row)
    items: list[Item] = []
    for row in asked:
        known = examples.get(row["subject"], [])
        if len(known) < count:
            raise UserError(
                f"MMLU: {row['subject']} has {len(known)} examples, {count} are wanted", "give the split dev"
            )
        topic = row["subject"].replace("_", " ")
        context = [f"The following are multiple choice questions (with answers) about {topic}.\n\n"]
        context += [f"{_asked(example)} {LETTERS[example['answer']]}\n\n" for example in known[:count]]
        endings = [[Segment(text=f" {LETTERS[n]}")] for n in range(len(row["choices"]))]
        segments = [Segment(text=text) for text in (*context, _asked(row))]
        items += pair(row["id"], segments, endings, right=row["answer"])
    return TestSet("mmlu", "t-t", tuple(items))


def _asked(row: dict) -> str:
    choices = "".join(f"\n{LETTERS[n]}. {choice}" for n, choice in enumerate(row["choices"]))
    return f"{row['question'].strip()}{choices}\nAnswer:"
