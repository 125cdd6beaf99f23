"""Answers of a model to a few-shot test set, shared out over processes, and the folder that they are kept in.

answers/answers.jsonl    {"id", "answer", "finished", "dropped_shots"[, "audio"]}, a line for each utterance
answers/setup.json       task, test set, how
answers/manifest.jsonl   tts: the spoken answers, with the text that was asked for
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from spire.audio import RATE, write_wav
from spire.errors import UserError
from spire.files import replaced_folder
from spire.manifest import Utterance, write_manifest
from spire.textfiles import write_json, write_jsonl
from spiritlm.fewshot.prompts import Form, drawn, prompt
from spiritlm.generation.ranks import Ranks, shared
from spiritlm.generation.streams import Spoken
from spiritlm.generation.voice import Voice
from spiritlm.generation.writer import Writer


@dataclass(frozen=True)
class Setup:
    """test_set: its name; shots: solved examples; context: the most ids of a prompt with its answer (0: what the model
    has; published: 1024 for asr, 2048 for tts); max_new: of an answer; seed: of the choice of examples."""

    task: str
    test_set: str
    shots: int = 10
    context: int = 0
    max_new: int = 256
    seed: int = 1
    stop_units: str = ""


def answer_all(
    writer: Writer,
    items: Sequence[Spoken],
    pool: Sequence[Spoken],
    setup: Setup,
    how: dict,
    out: str | Path,
    ranks: Ranks | None = None,
) -> list[dict] | None:
    """A row for each utterance, None on all ranks but the first. An utterance without units, or without room in the
    model, has an empty answer that is not finished. `how`: fields of `spire.decoding.settings.Settings`."""
    form = Form(setup.task, writer.ids.expressive, setup.stop_units)
    shots = [form.example(item) for item in drawn(pool, setup.shots, setup.seed, "examples")]

    def fits(text: str) -> bool:
        within = not setup.context or len(writer.encode(text)) + setup.max_new <= setup.context
        return within and writer.fits(text, setup.max_new)

    asked: list[tuple[str, str | None, int]] = []
    for item in items:
        given = item.utterance.text.strip() if setup.task == "tts" else item.units["hubert"]
        asked.append((item.id, *(prompt(shots, form.question(item), fits) if given else (None, 0))))

    def compute(part: Sequence[tuple[str, str | None, int]]) -> list[dict]:
        found = writer.write(
            [text for _, text, _ in part],
            form.modality,
            markers_end=True,
            max_new=setup.max_new,
            stop_text=form.stop_text,
            what=setup.test_set,
            **how,
        )
        return [
            {"id": name, "answer": form.answer(w.text), "finished": w.finished, "dropped_shots": dropped}
            for (name, _, dropped), w in zip(part, found, strict=True)
        ]

    ranks = ranks or Ranks()
    settings = {**asdict(setup), **how, **writer.identity, "model": str(writer.folder)}
    if ranks.world > 1:
        settings["weights"] = writer.weights
    return shared(asked, compute, out, settings, ranks)


def write_answers(
    out: str | Path, rows: Sequence[dict], items: Sequence[Spoken], setup: Setup, record: dict, voice: Voice | None
) -> None:
    """The folder; whole or not at all. UserError: tts without a voice."""
    if setup.task == "tts" and voice is None:
        raise UserError("tts ends in speech", hint="give --vocoder")
    with replaced_folder(out) as folder:
        utterances, kept = [], []
        for row, item in zip(rows, items, strict=True):
            if setup.task == "tts":
                name = f"audio/{row['id'].replace('/', '_')}.wav"
                (folder / "audio").mkdir(exist_ok=True)
                samples = voice.say(row["answer"])
                write_wav(folder / name, samples)
                seconds = round(len(samples) / RATE, 6)
                speaker = str(voice.speaker)
                utterances.append(Utterance(item.id, name, seconds, "en", item.utterance.text, speaker))
                row = row | {"audio": name}
            kept.append(row)
        write_jsonl(folder / "answers.jsonl", kept)
        write_json(folder / "setup.json", asdict(setup) | record)
        if setup.task == "tts":
            write_manifest(folder / "manifest.jsonl", utterances)
