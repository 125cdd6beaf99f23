"""Spirit LM as a recognizer: a pretrained model that is shown transcribed recordings and then one without a transcript
(papers 2.5; its examples were not published, so these are the first usable ones of another set).

It takes strings of units, `[Hu99][Hu49]...`, as SpiRit-LM's own tokenizer writes them; audio itself is not read here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from spire.baselines.system import Baseline, Reply, one_line
from spire.decoding.backends import open_backend
from spire.decoding.settings import Settings
from spire.errors import UserError

SPEECH, TEXT, START, END = "[Speech]", "[Text]", "<START Transcript>", "<END>"


def example(units: str, text: str) -> str:
    """One solved example."""
    return f"{SPEECH}{units}{TEXT} {START} {text} {END}\n"


class SpiritLM(Baseline):
    """A directory of Spirit LM in Hugging Face form. examples: (units, text), placed before every question."""

    reads_units = True

    def __init__(self, folder: str | Path, device: str, dtype: str, max_new: int, examples: list[tuple[str, str]]):
        super().__init__(frozenset({"asr"}), float("inf"))
        self._backend = open_backend("transformers", folder, device=device, dtype=dtype, rows=1)
        vocabulary = self._backend.vocabulary
        if vocabulary.piece(vocabulary.encode(SPEECH)[-1]) != SPEECH:
            raise UserError(f"{folder}: {SPEECH} is no token of its vocabulary", hint="give a Spirit LM directory")
        self._examples = [example(units, text) for units, text in examples]
        self._settings = Settings(max_new=max_new, stop=frozenset({vocabulary.eos}), stop_text=(END, "\n"))
        shown = hashlib.sha256("".join(self._examples).encode()).hexdigest()[:16]
        self.identity = {"shots": len(examples), "examples": shown, **self._settings.identity()}

    def hear_units(self, units: str) -> Reply:
        """The transcript of a string of units, after as many of the examples as its model has room for beside an answer
        of full length; without any room nothing, marked as cut."""
        prompt = self._prompt(units)
        if prompt is None:
            return Reply("", 0, True)
        vocabulary = self._backend.vocabulary
        answer = self._backend.generate([prompt], self._settings)[0]
        text = vocabulary.decode(list(answer.ids))
        for stop in self._settings.stop_text:
            text = text.split(stop)[0]
        return Reply(one_line(text), answer.steps, not answer.finished)

    def _prompt(self, units: str) -> list[int] | None:
        question = f"{SPEECH}{units}{TEXT} {START}"
        longest = self._backend.longest
        for shots in range(len(self._examples), -1, -1):
            ids = self._backend.vocabulary.encode("".join(self._examples[:shots]) + question, bos=True)
            if longest is None or len(ids) + self._settings.max_new <= longest:
                return ids
        return None
