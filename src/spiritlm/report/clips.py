"""What a report lets the reader hear and read: utterances from several sources side by side, and continuations.

Audio becomes MP3 inside the page within a number of bytes; a clip whose file cannot be read, or that no longer fits,
says so and is no reason to have no report.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from spire.errors import UserError
from spire.manifest import Utterance, read_manifest
from spire.report.sound import mp3
from spire.textfiles import read_jsonl


@dataclass(frozen=True)
class Clip:
    """Something to hear, to read, or both. `audio` is the base64 of an MP3; `missing` says why there is none."""

    title: str
    text: str = ""
    audio: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Line:
    """One utterance or prompt with what belongs to it."""

    id: str
    text: str
    clips: tuple[Clip, ...]


@dataclass
class Budget:
    """Bytes of base64 that audio may still take."""

    left: int
    problems: list[str] = field(default_factory=list)

    def clip(self, title: str, utterance: Utterance, text: str = "") -> Clip:
        """The utterance as a clip, when it can be read and fits."""
        try:
            audio = base64.b64encode(mp3(utterance)).decode("ascii")
        except UserError as e:
            self.problems.append(f"{title}, {utterance.id}: {e.message.rpartition('/')[2]}")
            return Clip(title, text, missing="the audio could not be read")
        if len(audio) > self.left:
            return Clip(title, text, missing="left out: the page would be too large")
        self.left -= len(audio)
        return Clip(title, text, audio)


def resynthesized(sources: Mapping[str, Path], count: int, budget: Budget) -> list[Line]:
    """The first utterances that all sources have, by id, in the order of the first source; each with a clip a source.

    sources: title to a folder with manifest.jsonl. `UserError` when they have no utterance in common.
    """
    by_title = {title: {u.id: u for u in read_manifest(folder / "manifest.jsonl")} for title, folder in sources.items()}
    if not by_title:
        return []
    first = next(iter(by_title.values()))
    shared = [u for u in first.values() if all(u.id in found for found in by_title.values())]
    if not shared:
        folders = ", ".join(map(str, sources.values()))
        raise UserError(f"{folders}: no utterance in common", "give audio made from the same test set")
    # Spread over the set: the first ones are often one story by one speaker.
    chosen = [shared[i * len(shared) // min(count, len(shared))] for i in range(min(count, len(shared)))]
    return [
        Line(u.id, u.text, tuple(budget.clip(title, found[u.id]) for title, found in by_title.items())) for u in chosen
    ]


def continued(folders: Mapping[str, Path], speech: Path, count: int, budget: Budget) -> dict[str, list[Line]]:
    """Continuations by direction, of `count` prompts each: a line a prompt, a clip a model.

    folders: title of a model to a folder of scripts/spiritlm_continue.py; speech: the folder whose utterances were
    continued. `UserError` for lines of another form, or of utterances that are not there.
    """
    heard = {u.id: u for u in read_manifest(Path(speech) / "manifest.jsonl")}
    by_direction: dict[str, dict[str, Line]] = {}
    for title, folder in folders.items():
        manifest = Path(folder) / "manifest.jsonl"
        spoken = {u.id: u for u in read_manifest(manifest)} if manifest.exists() else {}
        for row in _rows(Path(folder) / "continuations.jsonl"):
            if row["source"] not in heard:
                raise UserError(f"{folder}: {row['source']} is not in {speech}", "give the speech that was continued")
            lines = by_direction.setdefault(row["direction"], {})
            if row["source"] not in lines:
                if len(lines) == count:
                    continue
                lines[row["source"]] = _opened(row, heard[row["source"]], budget)
            line = lines[row["source"]]
            lines[row["source"]] = replace(line, clips=(*line.clips, _answer(title, row, spoken, budget)))
    return {direction: list(lines.values()) for direction, lines in sorted(by_direction.items())}


def _opened(row: dict, utterance: Utterance, budget: Budget) -> Line:
    """The line of a prompt: text is shown as it was given, of speech the whole utterance can be heard and read."""
    if row["direction"].startswith("t"):
        return Line(row["source"], row["prompt"], ())
    return Line(row["source"], utterance.text, (budget.clip("the whole utterance", utterance),))


def _answer(title: str, row: dict, spoken: Mapping[str, Utterance], budget: Budget) -> Clip:
    if not row["written"]:
        return Clip(title, missing="nothing was written")
    if row["direction"].endswith("t"):
        return Clip(title, row["written"])
    if row["id"] not in spoken:
        return Clip(title, missing="nothing that can be heard was written")
    return budget.clip(title, _whole(spoken[row["id"]]))


def _whole(utterance: Utterance) -> Utterance:
    """The file from its beginning: what was said before, then the continuation."""
    return replace(utterance, start=0.0, duration=utterance.start + utterance.duration)


def _rows(path: Path) -> Iterable[dict]:
    for number, row in enumerate(read_jsonl(path), start=1):
        if any(not isinstance(row.get(name), str) for name in ("id", "source", "direction", "prompt", "written")):
            raise UserError(f"{path}:{number}: no continuation", "scripts/spiritlm_continue.py writes them")
        yield row
