"""The lines that steps write for each utterance: word times by a model, word times of others, transcripts.

Each function gives a `part.Lines`. An utterance whose audio cannot be read never ends a corpus: its line says why.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from spire.errors import UserError
from spire.manifest import Utterance
from spire.textfiles import read_jsonl
from spiritlm.alignment.aligner import Aligner
from spiritlm.alignment.corpus import heard
from spiritlm.alignment.ctc_model import CtcModel
from spiritlm.alignment.foreign_words import ForeignWords
from spiritlm.alignment.part import Lines
from spiritlm.alignment.words import Aligned


def aligned_lines(model: CtcModel, workers: int = 0) -> Lines:
    """Word times by forced alignment; `workers` processes decode audio ahead."""

    def lines(utterances: Iterable[Utterance]) -> Iterator[tuple[str, int]]:
        waiting: deque[tuple[str, str]] = deque()

        def items() -> Iterator:
            for utterance, audio in heard(utterances, workers):
                waiting.append((utterance.id, audio.reason))
                yield audio.samples, utterance.text

        for words, reason in Aligner(model).align(items()):
            name, unreadable = waiting.popleft()
            aligned = Aligned(name, words, unreadable or reason)
            yield aligned.line(), int(bool(aligned.reason))

    return lines


def foreign_lines(words: ForeignWords) -> Lines:
    """Word times out of files."""

    def lines(utterances: Iterable[Utterance]) -> Iterator[tuple[str, int]]:
        for utterance in utterances:
            aligned = words.find(utterance)
            yield aligned.line(), int(bool(aligned.reason))

    return lines


def transcribed_lines(model: CtcModel, workers: int = 0) -> Lines:
    """{"id", "text"}; `workers` processes decode audio ahead."""

    def lines(utterances: Iterable[Utterance]) -> Iterator[tuple[str, int]]:
        waiting: deque[tuple[str, str]] = deque()

        def waves() -> Iterator:
            for utterance, audio in heard(utterances, workers):
                waiting.append((utterance.id, audio.reason))
                yield audio.samples

        for text in model.transcribe(waves()):
            name, reason = waiting.popleft()
            row = {"id": name, "text": text} | ({"reason": reason} if reason else {})
            yield json.dumps(row, ensure_ascii=False) + "\n", int(bool(reason))

    return lines


def read_transcripts(path: str | Path, ids: Iterable[str]) -> list[str]:
    """The texts of transcripts.jsonl, which must be those of the utterances `ids` in order; UserError otherwise."""
    rows, wanted = read_jsonl(Path(path)), list(ids)
    found = [row.get("id") for row in rows]
    if found != wanted:
        hint = "transcribe the audio of this manifest: spiritlm_transcribe.py"
        raise UserError(f"{path}: {len(found)} transcripts of other utterances than the {len(wanted)} asked for", hint)
    texts = [row.get("text") for row in rows]
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{path}:{[isinstance(t, str) for t in texts].index(False) + 1}: has no text")
    return texts
