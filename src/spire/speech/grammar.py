"""Templates over the slot tables: an index below `Template.size` names one sentence, in three languages at once.

A sentence is plain text without a capital at its start, without full stop and commas (names and German nouns keep their
capitals, questions their "?"), so that a tiny model spends nothing on orthography.

>>> TEMPLATES[2].sentence(0).en
'tomorrow the train to Vienna leaves at two o'clock'
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from spire.speech import grammar_lexicon as lexicon

LANGUAGES = ("en", "de", "fr")


@dataclass(frozen=True)
class Sentence:
    """One meaning in three languages."""

    en: str
    de: str
    fr: str


@dataclass(frozen=True)
class Template:
    """`en`, `de`, `fr` are format strings over the slots, so that each language orders words as it must.

    `weight` is the template's share before templates run short (relative to 1).
    """

    slots: dict[str, tuple[lexicon.Word, ...]]
    en: str
    de: str
    fr: str
    weight: float = 1.0

    @property
    def size(self) -> int:
        """The number of distinct slot fillings."""
        return prod(len(words) for words in self.slots.values())

    def sentence(self, index: int) -> Sentence:
        """The filling with number `index` (mixed radix, last slot fastest); IndexError outside 0..size-1."""
        if not 0 <= index < self.size:
            raise IndexError(f"sentence {index} of a template with {self.size}")
        filled = {}
        for slot, words in reversed(self.slots.items()):
            index, choice = divmod(index, len(words))
            filled[slot] = words[choice]
        return Sentence(*(text.format(**filled) for text in (self.en, self.de, self.fr)))


TEMPLATES = (
    Template(
        {
            "who": lexicon.SUBJECTS,
            "verb": lexicon.VERBS,
            "n": lexicon.NUMBERS,
            "things": lexicon.THINGS,
            "place": lexicon.PLACES,
        },
        "{who.en} {verb.en} {n.en} {things.en} {place.en}",
        "{who.de} hat {place.de} {n.de} {things.de} {verb.de}",
        "{who.fr} a {verb.fr} {n.fr} {things.fr} {place.fr}",
    ),
    Template(
        {
            "time": lexicon.PAST_TIMES,
            "who": lexicon.SUBJECTS,
            "verb": lexicon.VERBS,
            "n": lexicon.NUMBERS,
            "things": lexicon.NOUNS,
        },
        "{time.en} {who.en} {verb.en} {n.en} {things.en}",
        "{time.de} hat {who.de} {n.de} {things.de} {verb.de}",
        "{time.fr} {who.fr} a {verb.fr} {n.fr} {things.fr}",
    ),
    Template(
        {
            "time": lexicon.FUTURE_TIMES[:6],
            "vehicle": lexicon.VEHICLES,
            "city": lexicon.CITIES,
            "hour": lexicon.HOURS,
        },
        "{time.en} {vehicle.en} to {city.en} leaves at {hour.en} o'clock",
        "{time.de} fährt {vehicle.de} nach {city.de} um {hour.de} Uhr ab",
        "{time.fr} {vehicle.fr} pour {city.fr} part à {hour.fr} heures",
    ),
    Template(
        {"name": lexicon.NAMES, "a": lexicon.DIGITS, "b": lexicon.DIGITS, "c": lexicon.DIGITS},
        "the new number for {name.en} is {a.en} {b.en} {c.en}",
        "die neue Nummer für {name.de} ist {a.de} {b.de} {c.de}",
        "le nouveau numéro pour {name.fr} est {a.fr} {b.fr} {c.fr}",
        weight=0.6,
    ),
    Template(
        {"day": lexicon.DAYS, "month": lexicon.MONTHS, "city": lexicon.CITIES, "name": lexicon.NAMES},
        "on the {day.en} of {month.en} we go to {city.en} with {name.en}",
        "am {day.de} {month.de} fahren wir mit {name.de} nach {city.de}",
        "le {day.fr} {month.fr} nous allons à {city.fr} avec {name.fr}",
    ),
    Template(
        {
            "ask": lexicon.QUESTIONS,
            "action": lexicon.ACTIONS,
            "name": lexicon.NAMES,
            "time": lexicon.FUTURE_TIMES,
        },
        "{ask.en} {action.en} with {name.en} {time.en}?",
        "{ask.de} {time.de} mit {name.de} {action.de}?",
        "{ask.fr} {action.fr} avec {name.fr} {time.fr}?",
    ),
    Template(
        {
            "who": lexicon.SUBJECTS,
            "modal": lexicon.MODALS,
            "action": lexicon.ACTIONS,
            "time": lexicon.FUTURE_TIMES,
        },
        "{who.en} {modal.en} {action.en} {time.en}",
        "{who.de} {modal.de} {time.de} {action.de}",
        "{who.fr} {modal.fr} {action.fr} {time.fr}",
    ),
    Template(
        {
            "who": lexicon.PEOPLE,
            "name": lexicon.NAMES,
            "modal": lexicon.MODALS,
            "action": lexicon.ACTIONS,
        },
        "{who.en} says that {name.en} {modal.en} {action.en}",
        "{who.de} sagt dass {name.de} {action.de} {modal.de}",
        "{who.fr} dit {name.fr_que} {modal.fr} {action.fr}",
    ),
    Template(
        {"things": lexicon.THINGS, "name": lexicon.NAMES},
        "where are the {things.en} of {name.en}?",
        "wo sind die {things.de_weak} von {name.de}?",
        "où sont les {things.fr} {name.fr_de}?",
    ),
    Template(
        {"who": lexicon.SUBJECTS, "city": lexicon.CITIES, "n": lexicon.NUMBERS, "span": lexicon.SPANS},
        "{who.en} has lived in {city.en} for {n.en} {span.en}",
        "{who.de} wohnt seit {n.de} {span.de} in {city.de}",
        "{who.fr} habite à {city.fr} depuis {n.fr} {span.fr}",
    ),
    Template(
        {"n": lexicon.NUMBERS, "things": lexicon.THINGS, "place": lexicon.PLACES},
        "there are {n.en} {things.en} {place.en}",
        "{place.de} gibt es {n.de} {things.de}",
        "il y a {n.fr} {things.fr} {place.fr}",
    ),
    Template(
        {"who": lexicon.SUBJECTS, "action": lexicon.ACTIONS, "reason": lexicon.REASONS},
        "{who.en} cannot {action.en} because {reason.en}",
        "{who.de} kann {action.de_object} nicht {action.de_verb} weil {reason.de}",
        "{who.fr} ne peut pas {action.fr} parce qu'{reason.fr}",
    ),
    Template(
        {"request": lexicon.REQUESTS, "name": lexicon.NAMES, "things": lexicon.THINGS},
        "please {request.en} {name.en} the {things.en}",
        "bitte {request.de} {name.de} die {things.de_weak}",
        "s'il te plaît {request.fr} les {things.fr} à {name.fr}",
    ),
)
