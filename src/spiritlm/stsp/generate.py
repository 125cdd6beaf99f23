"""Continuations of STSP's prompts: every item and run, tried again where nothing usable was written (spiritlm 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from spire.audio import RATE, write_wav
from spire.errors import UserError
from spire.files import replaced_folder
from spire.manifest import Utterance, write_manifest
from spire.textfiles import write_json, write_jsonl
from spiritlm.evaluation.measures import DIRECTIONS
from spiritlm.generation.ranks import Ranks, shared
from spiritlm.generation.streams import Spoken
from spiritlm.generation.voice import Voice
from spiritlm.generation.writer import Writer
from spiritlm.model.content import OutputModality
from spiritlm.stsp.data import Item, Shot
from spiritlm.stsp.prompts import chosen, examples, prompt, question

NEW_TEXT, NEW_SPEECH, TRIES = 50, 300, 3


@dataclass(frozen=True)
class Setup:
    """direction; solved examples in a prompt (0, 3, 6, 9); runs with random numbers of their own; the most tokens
    written; how often an item is tried in a run; how tokens are drawn."""

    direction: str = "s-s"
    shots: int = 0
    runs: int = 1
    max_new: int = NEW_SPEECH
    tries: int = TRIES
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 1

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise UserError(f"no direction {self.direction!r}", hint="directions: " + " ".join(DIRECTIONS))
        if min(self.runs, self.tries) < 1 or self.shots < 0:
            raise UserError(f"{self.runs} runs, {self.tries} tries, {self.shots} shots", hint="at least 1, 1 and 0")

    @property
    def modality(self) -> OutputModality:
        return OutputModality.TEXT if self.direction.endswith("t") else OutputModality.SPEECH

    def seed_of(self, run: int, attempt: int) -> int:
        """Of the random numbers of one run's attempt."""
        return self.seed + 1000 * run + 1_000_000 * attempt


def generate(
    writer: Writer,
    items: Sequence[Item],
    shots: Sequence[Shot],
    spoken: Mapping[str, Spoken],
    setup: Setup,
    out: str | Path,
    ranks: Ranks | None = None,
) -> list[dict] | None:
    """A row for each run and item, {"id", "run", "written", "tries", "dropped_shots"}; None on all ranks but the first.

    "written" is "" where all tries gave nothing: no text, or no phonetic unit. UserError: an item without what the
    direction needs, too few examples.
    """
    expressive = writer.ids.expressive
    ranks = ranks or Ranks()
    settings = {**asdict(setup), **writer.identity, "model": str(writer.folder)}
    if ranks.world > 1:
        settings["weights"] = writer.weights
    asked: list[tuple[int, str, str, int]] = []  # run, id, prompt, examples left out
    for run in range(setup.runs):
        solved = examples(chosen(shots, setup.shots, setup.seed + run), spoken, expressive)
        for item in items:
            own = question(item, spoken, setup.direction, expressive)
            whole, dropped = prompt(solved, own, lambda text: writer.fits(text, setup.max_new))
            asked.append((run, item.id, whole, dropped))
    return shared(asked, lambda part: _written(writer, part, setup), out, settings, ranks)


def _written(writer: Writer, asked: Sequence[tuple[int, str, str, int]], setup: Setup) -> list[dict]:
    texts, tries = [""] * len(asked), [0] * len(asked)
    for run in sorted({run for run, *_ in asked}):
        for attempt in range(setup.tries):
            open_ones = [k for k, a in enumerate(asked) if a[0] == run and not _usable(texts[k], setup.modality)]
            if not open_ones:
                break
            found = writer.write(
                [asked[k][2] for k in open_ones],
                setup.modality,
                max_new=setup.max_new,
                strategy="sampling",
                temperature=setup.temperature,
                top_p=setup.top_p,
                seed=setup.seed_of(run, attempt),
                what=f"run {run + 1}",
            )
            for k, written in zip(open_ones, found, strict=True):
                texts[k], tries[k] = written.text, attempt + 1
    return [
        {
            "id": name,
            "run": run,
            "written": text if _usable(text, setup.modality) else "",
            "tries": count,
            "dropped_shots": dropped,
        }
        for (run, name, _, dropped), text, count in zip(asked, texts, tries, strict=True)
    ]


def _usable(text: str, modality: OutputModality) -> bool:
    return bool(text.strip()) if modality is OutputModality.TEXT else "[Hu" in text


def write_generations(out: str | Path, rows: Sequence[dict], setup: Setup, voice: Voice | None) -> None:
    """The folder: generations.jsonl, setup.json with the number of examples left out, and for speech manifest.jsonl and
    audio/RUN.ID.wav, where "audio" of a row names its file. UserError: speech without a voice."""
    speech = setup.modality is OutputModality.SPEECH
    if speech and voice is None:
        raise UserError(f"{setup.direction} ends in speech", hint="give --vocoder")
    with replaced_folder(out) as folder:
        kept, utterances = [], []
        for row in rows:
            if speech and row["written"]:
                name = f"audio/{row['run']}.{row['id'].replace('/', '_')}.wav"
                samples = voice.say(row["written"])
                (folder / "audio").mkdir(exist_ok=True)
                write_wav(folder / name, samples)
                seconds = round(len(samples) / RATE, 6)
                utterances.append(Utterance(f"{row['run']}.{row['id']}", name, seconds, "en", "", str(voice.speaker)))
                row = row | {"audio": name}
            kept.append(row)
        write_jsonl(folder / "generations.jsonl", kept)
        write_json(
            folder / "setup.json", asdict(setup) | {"dropped_shots": sum(row.get("dropped_shots", 0) for row in rows)}
        )
        if speech:
            write_manifest(folder / "manifest.jsonl", utterances)
