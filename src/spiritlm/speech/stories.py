"""Stories of four sentences about one person and one kind of thing: the same sizes and seed give the same stories.

The first sentence introduces person, things and place, the second shows them to somebody else, the third tells whether
things are gained or lost, and the last what follows from that. So a last sentence may be wrong in two ways: about other
people and things (Topic-StoryCloze), or with the opposite outcome (`wrong_ending`; StoryCloze, papers 2.5). No sentence
of the dev and test stories, right or wrong, occurs in any training story, spoken or text.

Rows: {"id", "topic", "sentences": [4 strings], "wrong_ending"} and, for spoken ones, "speaker" and "style". Sentences
have no capitals but those of names, and no punctuation.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from spire.errors import UserError
from spire.files import replaced_file
from spiritlm.speech.topics import NUMBERS, PAST_TIMES, TOPICS, WHO, Topic

SENTENCES = 4
SPOKEN = ("train", "dev", "test")
ATTEMPTS = 1000  # draws in a row that may hit a sentence of the dev or test stories

_SECOND = (
    "{who} showed the {kind} {things} to {other}",
    "{other} liked the {kind} {things} of {who}",
    "{who} and {other} {deed} the {things} {time}",
)
_GAINED = ("then {who} {change} {number} other {things}", "{time} {who} {change} {number} other {things}")
_LOST = ("then {who} {change} all the {things}", "{time} {who} {change} all the {things}")
# Right and wrong endings are equally long.
_MUCH = ("many", "enough", "more")
_NONE = ("no", "few", "fewer")
_SINCE = ("", " today", " again")


@dataclass(frozen=True)
class Sizes:
    """Numbers of stories."""

    train: int
    dev: int
    test: int
    text: int


def generate(sizes: Sizes, speakers: Collection[str], styles: Collection[str], seed: int) -> dict[str, list[dict]]:
    """{"train", "dev", "test", "text": rows}. Speakers and styles are dealt so that every pair of them is equally
    frequent. UserError: a negative size, no speaker or style, or no story left that avoids the dev and test sentences.
    """
    for name, size in vars(sizes).items():
        if size < 0:
            raise UserError(f"--{name} {size}: a number of stories cannot be negative")
    if not speakers or not styles:
        raise UserError("stories need at least one speaker and one style", hint="see configs/spiritlm_voices.json")
    withheld: set[str] = set()
    stories: dict[str, list[dict]] = {}
    for part in ("test", "dev", "train", "text"):
        drawn = list(itertools.islice(_stories(f"{seed} {part}", withheld), getattr(sizes, part)))
        if part in ("test", "dev"):
            withheld.update(*([*row["sentences"], row["wrong_ending"]] for row in drawn))
        stories[part] = [{"id": f"{part}{i:05d}", **row} for i, row in enumerate(drawn)]
    for part in SPOKEN:
        deck = _deck([(speaker, style) for speaker in speakers for style in styles], f"{seed} {part} voices")
        for row, (speaker, style) in zip(stories[part], deck, strict=False):
            row |= {"speaker": speaker, "style": style}
    return stories


def _deck(cards: list, seed: str) -> Iterator:
    """One shuffled deck after another, without end."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(cards, len(cards))


def _stories(seed: str, withheld: set[str]) -> Iterator[dict]:
    """Stories that share no sentence with `withheld` (as it is when drawing begins), none of them twice."""
    rng = random.Random(seed)
    topics = _deck(list(TOPICS), f"{seed} topics")
    seen: set[tuple[str, ...]] = set()
    withheld = set(withheld)
    for topic in topics:
        for _ in range(ATTEMPTS):
            sentences, wrong = _story(topic, rng)
            if not withheld.intersection((*sentences, wrong)) and sentences not in seen:
                break
        else:
            raise UserError("the grammar has no story left that avoids the dev and test sentences", "ask for fewer")
        seen.add(sentences)
        yield {"topic": topic.name, "sentences": list(sentences), "wrong_ending": wrong}


def _story(topic: Topic, rng: random.Random) -> tuple[tuple[str, ...], str]:
    who, other = rng.sample(WHO, 2)
    gains = rng.random() < 0.5
    said = {
        "who": who,
        "other": other,
        "things": rng.choice(topic.things),
        "kind": rng.choice(topic.kinds),
        "place": rng.choice(topic.places),
        "number": rng.choice(NUMBERS),
        "deed": rng.choice(topic.deeds),
        "change": rng.choice(topic.gained if gains else topic.lost),
        "time": rng.choice(PAST_TIMES),
    }
    first = "{who} {first_deed} {first_number} {kind} {things} {place}"
    opening = first.format(first_deed=rng.choice(topic.deeds), first_number=rng.choice(NUMBERS), **said)
    second = rng.choice(_SECOND).format(**said)
    third = rng.choice(_GAINED if gains else _LOST).format(**said)
    since = rng.choice(_SINCE)
    endings = [f"now {{who}} has {rng.choice(much)} {{kind}} {{things}}{since}" for much in (_MUCH, _NONE)]
    right, wrong = (ending.format(**said) for ending in (endings if gains else endings[::-1]))
    return (opening, second, third, right), wrong


def write_stories(stories: dict[str, list[dict]], folder: Path) -> None:
    """One JSONL file a part in `folder`; each file appears whole or not at all."""
    for part, rows in stories.items():
        with replaced_file(folder / f"{part}.jsonl") as partial:
            partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: str | Path) -> list[dict]:
    """What is to be spoken: rows {"id", "text", "speaker", "style"[, "story"]} in file order.

    A story becomes a row for each of its sentences, with the ids `<story>-1` to `<story>-4`. UserError names file and
    line of a row that is neither.
    """
    rows: list[dict] = []
    hint = 'each line is {"id", "text", "speaker", "style"}, or a story of spiritlm_stories.py'
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}", hint) from e
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as e:
            raise UserError(f"{path}:{number}: not JSON: {e}", hint) from e
        sentences = row.get("sentences") if isinstance(row, dict) else None
        missing = [key for key in ("id", "speaker", "style") if not isinstance(row, dict) or not _is_text(row.get(key))]
        if missing or not (_is_texts(sentences) or _is_text(row.get("text"))):
            raise UserError(f"{path}:{number}: no {', '.join(missing) or 'text'}", hint)
        if sentences is None:
            rows.append(row)
            continue
        same = {"speaker": row["speaker"], "style": row["style"], "story": row["id"]}
        rows += [{"id": f"{row['id']}-{i}", "text": text, **same} for i, text in enumerate(sentences, 1)]
    return rows


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))
