"""Fluent Speech Commands as manifests (papers 2.5: intents in the form "activate lights bedroom").

    fluent_speech_commands_dataset/data/{train,valid,test}_data.csv    "", path, speakerId, transcription, action, ...
    fluent_speech_commands_dataset/wavs/speakers/SPEAKER/UUID.wav

Guarantee: a line of the manifest for each line of the table, in its order; audio stays where it is. The archive is
given out by its owner against a form (Fluent Speech Commands Public Licence); nothing fetches it.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

from spire.audio import audio_seconds
from spire.errors import UserError
from spire.manifest import Utterance, write_manifest
from spiritlm.fewshot.prompts import LABEL

SPLITS = {"train": 23_132, "valid": 3_118, "test": 3_793}
_COLUMNS = ("path", "speakerId", "transcription", *LABEL)


def write_fluent(root: str | Path, split: str, out: str | Path, limit: int = 0, whole: bool = True) -> int:
    """The manifest of a split; fields action, object and location beside the usual ones. Returns the number of lines.

    `limit`: the first so many (0: all); `whole`: a published split of another size than known is an error. UserError:
    no such split, table, column or audio.
    """
    root, out = Path(root), Path(out)
    if split not in SPLITS:
        raise UserError(f"no split {split!r}", hint="splits: " + " ".join(SPLITS))
    table = root / "data" / f"{split}_data.csv"
    if not table.is_file():
        hint = "give the folder fluent_speech_commands_dataset of the unpacked archive"
        raise UserError(f"{table}: no such table", hint)
    with open(table, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{table}: no column {missing[0]!r}", hint="columns: " + ", ".join(reader.fieldnames or ()))
        rows = list(reader)
    if whole and len(rows) != SPLITS[split]:
        raise UserError(f"{table}: {len(rows)} lines, the published split has {SPLITS[split]}", hint="--any-size")
    utterances = []
    for number, row in enumerate(rows[: limit or None], start=2):
        path = root / row["path"]
        if os.path.isabs(row["path"]) or ".." in Path(row["path"]).parts or not path.is_file():
            raise UserError(f"{table}:{number}: {row['path']}: no such audio below {root}")
        extra = {name: row[name].strip() for name in LABEL}
        audio = os.path.relpath(path.absolute(), out.absolute().parent)
        speaker = row["speakerId"]
        utterances.append(
            Utterance(
                f"{speaker}-{path.stem}", audio, audio_seconds(path), "en", row["transcription"], speaker, extra=extra
            )
        )
    write_manifest(out, utterances)
    return len(utterances)
