"""Continuations to read and to hear: the beginnings of utterances, spoken or written, continued in text and in speech.

    continuations/continuations.jsonl   every one: id, source, direction, prompt, written, finished, [audio]
    continuations/manifest.jsonl        the spoken ones as utterances: audio, start, duration, and the fields above
    continuations/audio/ID.wav          what was said before (where it was speech) and the continuation behind it

In the manifest `start` and `duration` are those of the continuation within the file. Guarantees: the folder appears
whole or not at all; its bytes depend on the model, the voice, the inputs and the settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spire.audio import RATE, write_wav
from spire.errors import UserError
from spire.files import replaced_folder
from spire.manifest import Utterance, write_manifest
from spire.textfiles import write_jsonl
from spiritlm.evaluation.measures import DIRECTIONS
from spiritlm.generation.streams import Spoken
from spiritlm.generation.voice import Voice
from spiritlm.generation.writer import Writer
from spiritlm.model.content import ContentType, OutputModality
from spiritlm.model.prompts import build_prompt

_KINDS = {"t": ContentType.TEXT, "s": ContentType.SPEECH}
_MODALITIES = {"t": OutputModality.TEXT, "s": OutputModality.SPEECH}


@dataclass(frozen=True)
class Plan:
    """What is asked for. `share`: of an utterance, in words or in time, that is the prompt; `max_new`: the most tokens
    of a text and of a speech continuation; `how`: fields of `spire.decoding.settings.Settings`."""

    directions: tuple[str, ...] = DIRECTIONS
    share: float = 0.5
    max_new: tuple[int, int] = (30, 200)
    how: tuple[tuple[str, object], ...] = ()

    def __post_init__(self) -> None:
        if unknown := [d for d in self.directions if d not in DIRECTIONS]:
            raise UserError(f"no direction {unknown[0]!r}", hint="directions: " + " ".join(DIRECTIONS))
        if not 0 < self.share <= 1:
            raise UserError(f"share {self.share} is not above 0 and at most 1")


def beginning(spoken: Spoken, kind: str, share: float, expressive: bool) -> str:
    """The prompt's content: the first words, at least one, or the string of the first units."""
    if kind == "s":
        return spoken.string(expressive, (0.0, share))
    words = spoken.utterance.text.split()
    return " ".join(words[: max(1, round(share * len(words)))])


def continuations(writer: Writer, items: Sequence[Spoken], plan: Plan) -> list[dict]:
    """A row for each direction and utterance: id, source, direction, speaker, prompt, written, tokens, finished."""
    expressive = writer.ids.expressive
    rows = []
    for direction in plan.directions:
        given, wanted = direction.split("-")
        contents = [beginning(item, given, plan.share, expressive) for item in items]
        modality = _MODALITIES[wanted]
        prompts = [build_prompt([(_KINDS[given].name, c)], modality, str) for c in contents]
        max_new = plan.max_new[wanted == "s"]
        found = writer.write(prompts, modality, max_new=max_new, what=direction, **dict(plan.how))
        rows += [
            {
                "id": f"{item.id}.{direction}",
                "source": item.id,
                "direction": direction,
                "prompt": content,
                "written": written.text,
                "tokens": written.tokens,
                "finished": written.finished,
            }
            for item, content, written in zip(items, contents, found, strict=True)
        ]
    return rows


def write_continuations(out: str | Path, rows: Iterable[dict], voice: Voice | None) -> None:
    """The folder; rows that end in speech are spoken by `voice`. UserError: there are such rows and no voice."""
    with replaced_folder(out) as folder:
        (folder / "audio").mkdir()
        kept, spoken = [], []
        for row in rows:
            if row["direction"].endswith("s"):
                if voice is None:
                    raise UserError(f"{row['id']} is speech", hint="give --vocoder, or directions that end in text")
                row, utterance = _said(row, voice, folder)
                spoken.append(utterance)
            kept.append(row)
        write_jsonl(folder / "continuations.jsonl", kept)
        write_manifest(folder / "manifest.jsonl", spoken)


def _said(row: dict, voice: Voice, folder: Path) -> tuple[dict, Utterance]:
    before = row["prompt"] if row["direction"].startswith("s") else ""
    samples, cut = voice.split(before, row["written"])
    name = f"audio/{row['id'].replace('/', '_')}.wav"
    write_wav(folder / name, samples)
    row = row | {"audio": name}
    seconds = (round(cut / RATE, 6), round((len(samples) - cut) / RATE, 6))
    extra = {key: row[key] for key in ("source", "direction", "prompt", "written", "finished")}
    utterance = Utterance(row["id"], name, seconds[1], "en", "", str(voice.speaker), start=seconds[0], extra=extra)
    return row, utterance
