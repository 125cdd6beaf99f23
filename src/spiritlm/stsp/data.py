"""The STSP benchmark's files (spiritlm 9): speech-text sentiment preservation, as published and as made here.

    stsp_data/data/...                  audio
    stsp_data/manifest/....jsonl        {"id", "emotion", "sentiment", "wav_path", "split", "speaker"[, "asr"]}
    few-shot {s2s,s2t,t2t,t2s}.jsonl    {"prompt", "generation", "sentiment"}: text, or a path of audio

`prepare` turns them into a folder that the project's other steps read: `items.jsonl` (id, sentiment, text),
`shots.jsonl`, and `manifest.jsonl` of all audio that is needed, so that it is encoded as any speech. Guarantees: every
line of the split becomes an item, ids are compared as strings and occur once; nothing is left out without an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from spire.audio import audio_seconds
from spire.errors import UserError
from spire.files import replaced_folder
from spire.manifest import Utterance, read_manifest, write_manifest
from spire.textfiles import read_jsonl, write_jsonl

SENTIMENTS = ("positive", "negative", "neutral")
OF_EMOTION = {
    "happy": "positive",
    "amused": "positive",
    "sad": "negative",
    "angry": "negative",
    "default": "neutral",
    "neutral": "neutral",
}
FEW_SHOT = {"s-s": "s2s", "s-t": "s2t", "t-t": "t2t", "t-s": "t2s"}


@dataclass(frozen=True)
class Item:
    """One prompt of the benchmark: its id, its true sentiment, its text ("" where there is none)."""

    id: str
    sentiment: str
    text: str


@dataclass(frozen=True)
class Shot:
    """A solved example: for speech the id of an utterance of the manifest, otherwise text."""

    direction: str
    sentiment: str
    prompt: str
    generation: str


def sentiment_of(label: str, where: str) -> str:
    """The sentiment that a sentiment's or an emotion's name says, in any case; UserError for another."""
    name = label.strip().lower()
    found = name if name in SENTIMENTS else OF_EMOTION.get(name)
    if found is None:
        raise UserError(f"{where}: {label!r} is no emotion", hint="known are " + " ".join((*SENTIMENTS, *OF_EMOTION)))
    return found


def prepare(data: Path, manifest: Path, out: Path, split: str = "test", few_shot: Mapping[str, Path] | None = None):
    """Write the folder `out` from a manifest of the benchmark, and few-shot files by direction. Returns (items, shots).

    UserError: a missing field or file, an unknown emotion, sentiment and emotion that contradict each other, an id
    twice, no line of the split.
    """
    data, out = Path(data), Path(out)
    items: dict[str, Item] = {}
    audio: dict[str, tuple[Path, str, str]] = {}  # by id of the utterance: file, text, speaker
    for number, row in enumerate(read_jsonl(Path(manifest)), start=1):
        where = f"{manifest}:{number}"
        if row.get("split", split) != split:
            continue
        name = str(_field(row, "id", where))
        if name in items:
            raise UserError(f"{where}: id {name} occurs twice")
        items[name] = Item(name, _sentiment(row, where), str(row.get("asr") or ""))
        file = _audio(data, _field(row, "wav_path", where), where)
        audio[name] = (file, items[name].text, str(row.get("speaker", "")))
    if not items:
        raise UserError(f"{manifest}: no line of the split {split!r}", hint="--split names another")
    shots: list[Shot] = []
    for direction, path in (few_shot or {}).items():
        shots += _shots(direction, Path(path), data, audio)
    with replaced_folder(out) as folder:
        write_jsonl(folder / "items.jsonl", map(asdict, items.values()))
        write_jsonl(folder / "shots.jsonl", map(asdict, shots))
        utterances = [
            Utterance(name, os.path.relpath(file, out.absolute()), audio_seconds(file), "en", text, speaker)
            for name, (file, text, speaker) in audio.items()
        ]
        write_manifest(folder / "manifest.jsonl", utterances)
    return list(items.values()), shots


def read_items(folder: Path) -> list[Item]:
    """The items of a folder that `prepare` wrote."""
    return [Item(**row) for row in read_jsonl(Path(folder) / "items.jsonl")]


def read_shots(folder: Path, direction: str) -> list[Shot]:
    """Its solved examples of one direction."""
    return [shot for row in read_jsonl(Path(folder) / "shots.jsonl") if (shot := Shot(**row)).direction == direction]


def from_styles(manifest: Path, out: Path, dev: Path | None = None, limit: int = 0) -> None:
    """The benchmark's files from speech with a field "style": OUT/manifest/styles.jsonl, and from `dev` speech, whose
    utterances are solved examples of themselves, OUT/manifest/few_shot/s2s.jsonl. Audio stays where it is: OUT/data is
    not made, `data` is the folder of the manifest. `limit`: so many utterances of each sentiment (0: all), spread
    evenly over the manifest, as neighbours may be of one story and speaker."""
    found: dict[str, list[dict]] = {}
    for number, u in enumerate(read_manifest(manifest)):
        sentiment = sentiment_of(str(u.extra.get("style", "")), f"{manifest}: {u.id}")
        row = {"id": number, "emotion": u.extra["style"], "sentiment": sentiment, "wav_path": u.audio}
        row |= {"split": "test", "speaker": u.speaker, "asr": u.text}
        found.setdefault(sentiment, []).append(row)
    rows = []
    for of_sentiment in found.values():
        count = min(limit, len(of_sentiment)) if limit else len(of_sentiment)
        rows += [of_sentiment[i * len(of_sentiment) // count] for i in range(count)]
    rows.sort(key=lambda row: row["id"])
    with replaced_folder(out) as folder:
        write_jsonl(folder / "manifest" / "styles.jsonl", rows)
        if dev is not None:
            here = Path(manifest).parent
            shots = [
                {"prompt": (name := os.path.relpath(u.audio_path, here)), "generation": name, "sentiment": s}
                for u in read_manifest(dev)
                if (s := sentiment_of(str(u.extra.get("style", "")), f"{dev}: {u.id}"))
            ]
            write_jsonl(folder / "manifest" / "few_shot" / "s2s.jsonl", shots)


def _shots(direction: str, path: Path, data: Path, audio: dict[str, tuple[Path, str, str]]) -> list[Shot]:
    if direction not in FEW_SHOT:
        raise UserError(f"no direction {direction!r}", hint="directions: " + " ".join(FEW_SHOT))
    found = []
    for number, row in enumerate(read_jsonl(path), start=1):
        where = f"{path}:{number}"
        sides = []
        for kind, field in zip(direction.split("-"), ("prompt", "generation"), strict=True):
            value = str(_field(row, field, where))
            if kind == "s":
                name = f"shot:{value}"
                audio.setdefault(name, (_audio(data, value, where), "", ""))
                value = name
            sides.append(value)
        found.append(Shot(direction, sentiment_of(str(_field(row, "sentiment", where)), where), *sides))
    return found


def _sentiment(row: dict, where: str) -> str:
    said = [sentiment_of(str(row[name]), where) for name in ("sentiment", "emotion") if row.get(name)]
    if not said:
        raise UserError(f"{where}: neither sentiment nor emotion")
    if len(set(said)) > 1:
        raise UserError(f"{where}: sentiment {row['sentiment']!r} and emotion {row['emotion']!r} contradict each other")
    return said[0]


def _field(row: dict, name: str, where: str):
    if row.get(name) in (None, ""):
        raise UserError(f"{where}: no {name!r}", hint="a line has id, emotion, sentiment, wav_path, split, speaker")
    return row[name]


def _audio(data: Path, name: str, where: str) -> Path:
    path = data / name
    if not path.is_file():
        raise UserError(f"{where}: {path}: no such audio", hint="--data is the folder that wav_path is relative to")
    return path
