"""The words of the generated stories: topics with their own things, deeds and places, and people who occur in all.

A topic's nouns, adjectives, verbs and places occur in no other topic's stories (but for a few shared verbs), so that a
story's first sentences tell what its last one may be about: this is what story cloze tests measure.
"""

from __future__ import annotations

from dataclasses import dataclass

from spire.speech.grammar_lexicon import NAMES, PEOPLE

WHO = tuple(word.en for word in (*PEOPLE, *NAMES))
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty")
PAST_TIMES = ("yesterday", "last week", "on Monday", "in summer", "this morning", "an hour ago")


@dataclass(frozen=True)
class Topic:
    """`gained` and `lost` are deeds after which someone has more, or none, of the things."""

    name: str
    things: tuple[str, ...]
    kinds: tuple[str, ...]
    deeds: tuple[str, ...]
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    places: tuple[str, ...]


def _topic(name: str, things: str, kinds: str, deeds: str, gained: str, lost: str, places: str) -> Topic:
    words = (tuple(text.split()) for text in (things, kinds, deeds, gained, lost))
    return Topic(name, *words, tuple(places.split(", ")))


TOPICS = (
    _topic(
        "food",
        "apples potatoes lemons carrots tomatoes",
        "sweet fresh ripe juicy",
        "washed cooked tasted peeled",
        "bought picked",
        "ate dropped",
        "at the market, in the kitchen, in the garden, at dinner",
    ),
    _topic(
        "school",
        "books letters pencils pictures stories",
        "short difficult clever boring",
        "copied explained studied finished",
        "received wrote",
        "forgot burned",
        "at school, in the library, in the classroom, at the desk",
    ),
    _topic(
        "animals",
        "dogs horses rabbits chickens monkeys",
        "young hungry brown wild",
        "fed brushed chased trained",
        "caught raised",
        "lost frightened",
        "on the farm, by the river, in the forest, behind the fence",
    ),
    _topic(
        "clothes",
        "shirts jackets gloves trousers hats",
        "warm dirty woollen blue",
        "ironed folded mended wore",
        "knitted ordered",
        "sold ruined",
        "in the shop, in the wardrobe, on the balcony, at the laundry",
    ),
    _topic(
        "travel",
        "tickets suitcases maps passports umbrellas",
        "heavy useful foreign expensive",
        "packed checked carried opened",
        "collected found",
        "left threw",
        "at the station, at the airport, on the ship, in the hotel",
    ),
    _topic(
        "music",
        "violins drums guitars trumpets pianos",
        "loud golden broken famous",
        "played tuned cleaned repaired",
        "borrowed won",
        "smashed returned",
        "in the theatre, at the concert, on the stage, in the studio",
    ),
)
