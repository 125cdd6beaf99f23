"""Prompts of recognition, speaking and intents: solved examples, then the question (papers 2.5).

    asr  [Speech]UNITS[Text] <START Transcript> TEXT <END>      answers end with <END> or a line break
    tts  [Text]TEXT stop[Speech]UNITS UNITS-OF-STOP             answers end with the units of a spoken "stop"
    ic   [Speech]UNITS[Text] A:ACTION OBJECT LOCATION           answers end with a line break

Known from the paper are the marks of asr, the final "stop" of tts and the form of ic's answers; the line breaks between
examples, the blanks and which examples were shown are not published.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spire.errors import UserError
from spiritlm.generation.streams import Spoken
from spiritlm.model.content import OutputModality
from spiritlm.model.vocabulary import SPEECH, TEXT

START, END, STOP = "<START Transcript>", "<END>", "stop"
TASKS = ("asr", "tts", "ic")
LABEL = ("action", "object", "location")  # of an intent, in the order of an answer


@dataclass(frozen=True)
class Form:
    """How one task asks. `stop_units`: the string of a spoken "stop" (tts; "" for none)."""

    task: str
    expressive: bool
    stop_units: str = ""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UserError(f"no task {self.task!r}", hint="one of " + " ".join(TASKS))

    @property
    def modality(self) -> OutputModality:
        return OutputModality.SPEECH if self.task == "tts" else OutputModality.TEXT

    @property
    def direction(self) -> str:
        return "t-s" if self.task == "tts" else "s-t"

    @property
    def stop_text(self) -> tuple[str, ...]:
        """Strings that end an answer."""
        return {"asr": (END, "\n"), "ic": ("\n",), "tts": ()}[self.task]

    def question(self, item: Spoken) -> str:
        if self.task == "tts":
            return f"{TEXT}{one_line(item.utterance.text)} {STOP}{SPEECH}"
        return f"{SPEECH}{item.string(self.expressive)}{TEXT} " + (START if self.task == "asr" else "A:")

    def example(self, item: Spoken) -> str:
        """The question with its answer."""
        if self.task == "tts":
            return self.question(item) + item.string(self.expressive) + self.stop_units
        if self.task == "asr":
            return f"{self.question(item)} {one_line(item.utterance.text)} {END}"
        return self.question(item) + intent(item)

    def answer(self, written: str) -> str:
        """What of a continuation is the answer, in one line."""
        if self.task == "tts":
            return written.split(self.stop_units)[0] if self.stop_units else written
        for stop in self.stop_text:
            written = written.split(stop)[0]
        return one_line(written)


def one_line(text: str) -> str:
    return " ".join(text.split())


def intent(item: Spoken) -> str:
    """The answer of ic, "activate lights bedroom". UserError: an utterance without its fields."""
    missing = [name for name in LABEL if not item.utterance.extra.get(name)]
    if missing:
        hint = "spiritlm_fluent.py makes manifests with intents"
        raise UserError(f"{item.id}: no field {missing[0]!r}", hint)
    return one_line(" ".join(str(item.utterance.extra[name]) for name in LABEL))


def drawn(pool: Sequence[Spoken], count: int, seed: int, where: str) -> list[Spoken]:
    """The solved examples of all questions, by the seed. UserError: too few have units and text."""
    usable = [item for item in pool if item.units["hubert"] and item.utterance.text.strip()]
    if len(usable) < count:
        raise UserError(f"{where}: {len(usable)} utterances with units and text, {count} examples are wanted")
    return random.Random(f"few-shot:{seed}").sample(usable, count)


def prompt(examples: Sequence[str], question: str, fits: Callable[[str], bool]) -> tuple[str | None, int]:
    """(the examples that there is room for, the last ones, each ended by a line break, and the question; how many were
    left out); None where not even the question has room."""
    for dropped in range(len(examples) + 1):
        whole = "".join(f"{example}\n" for example in examples[dropped:]) + question
        if fits(whole):
            return whole, dropped
    return None, len(examples)
