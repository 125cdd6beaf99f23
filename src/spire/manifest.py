"""Manifests: one JSON object a line says where an utterance's audio is, what is said in it and by whom.

Reading a manifest gives the utterances in file order, or a UserError that names file and line; writing one is atomic.
The order of lines is the order of every file made from the manifest later.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spire.errors import UserError
from spire.files import replaced_file

# Written in this order; `phones` only when there are any.
FIELDS = ("id", "audio", "start", "duration", "lang", "text", "speaker", "translations", "phones")


@dataclass(frozen=True)
class Utterance:
    """One stretch of speech.

    `audio` is relative to `folder`, the manifest's own; `start` and `duration` are seconds;
    `translations` maps language codes to text; `phones` are (symbol, start s, end s) from the utterance's start;
    `extra` holds fields this project does not know, and keeps them when the manifest is written again; `offset` and
    `size` among them say which bytes of `audio`, an uncompressed archive, are the audio file.
    """

    id: str
    audio: str
    duration: float
    lang: str
    text: str
    speaker: str = ""
    start: float = 0.0
    translations: dict[str, str] = field(default_factory=dict)
    phones: tuple[tuple[str, float, float], ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def audio_path(self) -> Path:
        """Absolute path of the audio file."""
        return Path(os.path.abspath((self.folder or Path()) / self.audio))

    @property
    def stretch(self) -> tuple[int, int | None]:
        """Offset and size of the audio file's bytes in `audio_path`; (0, None) when it is a file of its own."""
        return self.extra.get("offset", 0), self.extra.get("size")


def _utterance(row: Any, folder: Path) -> Utterance:
    """ValueError with a reason when `row` is not a manifest line."""
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    for key in ("id", "audio", "lang", "text"):
        if not isinstance(row.get(key), str):
            raise ValueError(f'"{key}" must be a string')
    for key in ("id", "audio"):
        if not row[key]:
            raise ValueError(f'"{key}" is empty')
    if os.path.isabs(row["audio"]):
        raise ValueError(f'"audio" must be relative to the manifest, not {row["audio"]}')
    times = {"start": row.get("start", 0.0), "duration": row.get("duration")}
    for key, value in times.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise ValueError(f'"{key}" must be a number of seconds, not {value!r}')
    for key in ("offset", "size"):
        if key in row and (isinstance(row[key], bool) or not isinstance(row[key], int) or row[key] < 0):
            raise ValueError(f'"{key}" must be a number of bytes, not {row[key]!r}')
    if ("offset" in row) != ("size" in row):
        raise ValueError('"offset" and "size" belong together')
    if not isinstance(row.get("speaker", ""), str):
        raise ValueError('"speaker" must be a string')
    translations = row.get("translations", {})
    if not isinstance(translations, dict) or not all(isinstance(text, str) for text in translations.values()):
        raise ValueError('"translations" must map language codes to text')
    try:
        phones = tuple((str(symbol), float(start), float(end)) for symbol, start, end in row.get("phones", ()))
    except (TypeError, ValueError) as e:
        raise ValueError('"phones" must be a list of [symbol, start, end]') from e
    return Utterance(
        id=row["id"],
        audio=row["audio"],
        duration=float(times["duration"]),
        lang=row["lang"],
        text=row["text"],
        speaker=row.get("speaker", ""),
        start=float(times["start"]),
        translations=dict(translations),
        phones=phones,
        extra={key: value for key, value in row.items() if key not in FIELDS},
        folder=folder,
    )


def parse_line(line: str, path: Path, number: int) -> Utterance:
    """The utterance of line `number` of the manifest `path`; UserError naming both when it is none."""
    try:
        return _utterance(json.loads(line), path.parent.absolute())
    except ValueError as e:
        hint = "each line is one JSON object with id, audio, duration, lang and text"
        raise UserError(f"{path}:{number}: {e}", hint=hint) from e


def read_manifest(path: str | Path) -> list[Utterance]:
    """All utterances of a manifest. UserError names file and line of a malformed line or of a repeated id."""
    path = Path(path)
    utterances: list[Utterance] = []
    first_line: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such manifest", hint="run the step that makes it") from e
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not UTF-8 text: {e.reason} at byte {e.start}") from e
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        utterance = parse_line(line, path, number)
        if utterance.id in first_line:
            raise UserError(f"{path}:{number}: id {utterance.id!r} is already on line {first_line[utterance.id]}")
        first_line[utterance.id] = number
        utterances.append(utterance)
    return utterances


def to_line(utterance: Utterance, audio: str) -> str:
    """The manifest's line, with its line end, for an utterance whose audio is at the relative path `audio`."""
    row: dict[str, Any] = {key: getattr(utterance, key) for key in FIELDS if key not in ("audio", "phones")}
    row = {"id": row.pop("id"), "audio": Path(audio).as_posix()} | row
    if utterance.phones:
        row["phones"] = [list(phone) for phone in utterance.phones]
    return json.dumps(row | utterance.extra, ensure_ascii=False) + "\n"


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write the lines in the order given; the file appears whole or not at all.

    An utterance read from another manifest has its audio path rewritten for the new place; one made afresh (no
    `folder`) already names its audio relative to `path`. UserError on a repeated id.
    """
    path = Path(path)
    lines: list[str] = []
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.id in seen:
            raise UserError(f"{path}: two utterances have the id {utterance.id!r}")
        seen.add(utterance.id)
        audio = utterance.audio
        if utterance.folder is not None:
            audio = os.path.relpath(utterance.audio_path, path.parent.absolute())
        lines.append(to_line(utterance, audio))
    with replaced_file(path) as partial:
        partial.write_text("".join(lines), encoding="utf-8")
