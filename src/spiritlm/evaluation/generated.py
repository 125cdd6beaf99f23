"""The likelihood tests of the small study, made from its generated stories: words, sentences and endings of stories.

    wuggy   a word of the training stories, and a pseudo-word        spoken alone, each by two speakers (one group)
    blimp   a sentence of a test story, and the same words in another order that no story has
    tsc     the next sentence of a test story, and that of a story about something else (Topic-StoryCloze)
    sc      the last sentence of a test story, and one with the opposite outcome (StoryCloze)

tsc and sc are asked in all four directions, wuggy and blimp in text and in speech. What a pair compares is said by the
same speaker in the same style (of tsc where the test stories have such a sentence). Guarantee: rows and items depend on
stories and seed alone; no test sentence, right or wrong, is in a training story (`spiritlm.speech.stories`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from spire.errors import UserError
from spiritlm.evaluation.items import Item, Segment, TestSet, pair
from spiritlm.evaluation.pseudo_words import pseudo_words, swapped

SHORTEST_WORD = 4  # letters; shorter ones have too few sounds to change one
SENTENCES_OF_A_STORY = 2  # in blimp
NEXT = (2, 3)  # which sentences of a story tsc asks for, counted from 0


@dataclass(frozen=True)
class Sizes:
    """Words of wuggy; test stories that blimp, tsc and sc take (all where there are fewer)."""

    words: int = 100
    stories: int = 100


def rows_to_speak(
    test: Sequence[dict],
    train: Sequence[dict],
    sizes: Sizes,
    sound: Callable[[str], tuple[str, ...]],
    styles: Sequence[tuple[str, str]],
    seed: int,
) -> list[dict]:
    """What has to be spoken beside the test stories: {"id", "text", "speaker", "style", "test", "pair", "right", ...}.

    test, train: stories of `spiritlm.speech.stories`. styles: (speaker, style) of the words, taken in turn, two
    different speakers a word. UserError: no stories, or no word that has a pseudo-word.
    """
    if not test or not train:
        raise UserError("the tests need test stories and training stories", "make them with spiritlm_stories.py")
    rows = [*_wuggy_rows(train, sizes.words, sound, styles, seed)]
    known = {sentence for row in (*test, *train) for sentence in _sentences(row)}
    for story in test[: sizes.stories]:
        same = {"speaker": story["speaker"], "style": story["style"], "story": story["id"]}
        rng = random.Random(f"{seed} blimp {story['id']}")
        for number in sorted(rng.sample(range(len(story["sentences"])), SENTENCES_OF_A_STORY)):
            text = swapped(story["sentences"][number], lambda other: other not in known, rng)
            name = f"{story['id']}-{number + 1}"
            rows.append({"id": f"{name}-blimp", "text": text, **same, "test": "blimp", "pair": name})
        wrong = {"id": f"{story['id']}-wrong", "text": story["wrong_ending"], **same}
        rows.append({**wrong, "test": "sc", "pair": story["id"]})
    return rows


def _wuggy_rows(train, count: int, sound, styles, seed: int) -> Iterator[dict]:
    frequency = Counter(word for row in train for sentence in _sentences(row) for word in sentence.split())
    words = sorted(w for w in frequency if len(w) >= SHORTEST_WORD and w.isalpha() and w.islower())
    others = pseudo_words(random.Random(f"{seed} wuggy").sample(words, len(words)), frequency, sound, seed)
    if not others:
        raise UserError(
            "no word of the training stories has a pseudo-word", f"words of {SHORTEST_WORD} letters or more"
        )
    for number, (word, other) in enumerate(list(others.items())[:count]):
        first = styles[number % len(styles)]
        second = next((s for s in styles[number % len(styles) :] + styles[:number] if s[0] != first[0]), None)
        for speaker, style in (first, second) if second else (first,):
            name = f"wuggy{number:04d}-{speaker}"
            for right, text in ((True, word), (False, other)):
                row = {
                    "id": f"{name}-{'word' if right else 'pseudo'}",
                    "text": text,
                    "speaker": speaker,
                    "style": style,
                }
                yield row | {"test": "wuggy", "pair": name, "right": right, "group": word}


def test_sets(
    test: Sequence[dict],
    rows: Sequence[dict],
    spoken_stories: Mapping[str, Mapping[str, str]],
    spoken_rows: Mapping[str, Mapping[str, str]],
    seed: int,
) -> list[TestSet]:
    """All test sets in all their directions.

    test: the test stories; rows: those of `rows_to_speak`; spoken_*: units dictionaries by id (`<story>-1` to
    `<story>-4`, and ids of rows). UserError: something was not spoken, or has no units.
    """
    units = _Units(spoken_stories, spoken_rows)
    stories = {story["id"]: story for story in test}
    chosen = [stories[name] for name in dict.fromkeys(row["story"] for row in rows if "story" in row)]
    found = [*_wuggy(rows, units), *_blimp(rows, stories, units)]
    wrong = {row["story"]: row for row in rows if row["test"] == "sc"}
    topical, opposite = [], []
    for story in chosen:
        for number in NEXT:
            other = _elsewhere(story, number, test, seed)
            endings = [
                (story["sentences"][number], units.of(f"{story['id']}-{number + 1}")),
                (other["sentences"][number], units.of(f"{other['id']}-{number + 1}")),
            ]
            topical.append((story, number, endings))
        last = len(story["sentences"]) - 1
        right = (story["sentences"][last], units.of(f"{story['id']}-{last + 1}"))
        row = wrong[story["id"]]
        opposite.append((story, last, [right, (row["text"], units.of(row["id"]))]))
    for name, cases in (("tsc", topical), ("sc", opposite)):
        for direction in ("t-t", "s-s", "t-s", "s-t"):
            items = [i for story, number, endings in cases for i in _cloze(direction, story, number, endings, units)]
            found.append(TestSet(name, direction, tuple(items)))
    return found


test_sets.__test__ = False  # no test for pytest to collect


class _Units:
    def __init__(self, *spoken: Mapping[str, Mapping[str, str]]):
        self._spoken = spoken

    def of(self, name: str) -> Segment:
        for units in self._spoken:
            if name in units:
                if not units[name]["hubert"].strip():
                    raise UserError(f"utterance {name!r} has no units", "is its audio shorter than 80 ms?")
                return Segment(streams=units[name])
        raise UserError(f"utterance {name!r} was not encoded", "speak and encode the rows and the test stories again")


def _wuggy(rows: Sequence[dict], units: _Units) -> Iterator[TestSet]:
    pairs: dict[str, list[dict]] = {}
    for row in rows:
        if row["test"] == "wuggy":
            pairs.setdefault(row["pair"], []).append(row)
    words = {(group := found[0]["group"]): (group, [row["text"] for row in found]) for found in pairs.values()}
    text = [pair(f"wuggy-{word}", (), [[Segment(text=t)] for t in texts]) for word, texts in words.values()]
    speech = [
        pair(name, (), [[units.of(row["id"])] for row in found], group=found[0]["group"])
        for name, found in pairs.items()
    ]
    for direction, items in (("t-t", text), ("s-s", speech)):
        yield TestSet("wuggy", direction, tuple(item for candidates in items for item in candidates))


def _blimp(rows: Sequence[dict], stories: Mapping[str, dict], units: _Units) -> Iterator[TestSet]:
    text: list[Item] = []
    speech: list[Item] = []
    for row in (row for row in rows if row["test"] == "blimp"):
        number = int(row["pair"].rpartition("-")[2])
        right = stories[row["story"]]["sentences"][number - 1]
        text += pair(row["pair"], (), [[Segment(text=t)] for t in (right, row["text"])], group=row["story"])
        speech += pair(row["pair"], (), [[units.of(i)] for i in (row["pair"], row["id"])], group=row["story"])
    yield TestSet("blimp", "t-t", tuple(text))
    yield TestSet("blimp", "s-s", tuple(speech))


def _elsewhere(story: dict, number: int, test: Sequence[dict], seed: int) -> dict:
    """Another test story for a wrong ending: of another topic, said by the same speaker in the same style if there is
    one; else of another topic; else any other."""
    others = [other for other in test if other["id"] != story["id"]]
    if not others:
        raise UserError("one test story alone has no other story's endings", "make two test stories or more")
    apart = [other for other in others if other["topic"] != story["topic"]]
    alike = [o for o in apart if (o["speaker"], o["style"]) == (story["speaker"], story["style"])]
    return random.Random(f"{seed} tsc {story['id']} {number}").choice(alike or apart or others)


def _cloze(direction: str, story: dict, number: int, endings, units: _Units) -> list[Item]:
    """One pair: the sentences before `number`, and endings (text, units) of which the first is right."""
    before = story["sentences"][:number]
    if direction[0] == "t":
        context = [Segment(text=" ".join(before))]
    else:
        context = [units.of(f"{story['id']}-{i}") for i in range(1, number + 1)]
    # Text goes on behind a blank, and begins behind a marker without one.
    blank = " " if direction == "t-t" else ""
    written = [[Segment(text=blank + text)] if direction[2] == "t" else [spoken] for text, spoken in endings]
    return pair(f"{story['id']}-{number + 1}", context, written, group=story["id"])


def _sentences(row: dict) -> list[str]:
    return [*row["sentences"], *([row["wrong_ending"]] if "wrong_ending" in row else [])]
