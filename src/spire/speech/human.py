"""The shipped human recordings as a manifest: real speech with transcripts and translations, 16 kHz WAV.

Every line of metadata.jsonl becomes an utterance, or nothing is written and one error lists each unusable file. The
recordings are telephone speech (8 kHz): the upper half of the 16 kHz spectrum is empty.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

from spire.audio import RATE, read_audio, write_wav
from spire.errors import UserError
from spire.files import replaced_folder
from spire.manifest import Utterance, write_manifest

LANGUAGES = ("fr", "es", "it", "ru")
SHORTEST = 0.1  # seconds: below it a recording is taken for damaged

_LISTED = 10  # bad files named in an error before "and N more"


@dataclass(frozen=True)
class Recording:
    """One line of metadata.jsonl: `audio` relative to the file, `sha256` of its bytes ("" = unchecked)."""

    key: str
    audio: str
    text: str
    translations: dict[str, str]
    speaker: str = ""
    sha256: str = ""


def read_recordings(source: Path) -> list[Recording]:
    """The lines of source/metadata.jsonl in order; UserError names the line that is wrong."""
    path = source / "metadata.jsonl"
    if not path.is_file():
        raise UserError(f"{path}: no such file", hint="--source is a folder made by data_human_import.py: data/human")
    recordings: list[Recording] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            recording = Recording(**json.loads(line))
        except (TypeError, ValueError) as e:
            raise UserError(f"{path}:{number}: {e}", hint="needs key, audio, text and translations") from e
        if not isinstance(recording.key, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", recording.key):
            raise UserError(f"{path}:{number}: key {recording.key!r} cannot be a file name")
        recordings.append(recording)
    keys = [recording.key for recording in recordings]
    if len(set(keys)) < len(keys):
        raise UserError(f"{path}: the key {next(k for k in keys if keys.count(k) > 1)!r} occurs twice")
    return recordings


def choose_subset(recordings: list[Recording], size: int | None, seed: int) -> list[Recording]:
    """`size` recordings in file order; a larger subset contains the smaller one of the same seed. None = all."""
    if size is None:
        return recordings
    if not 1 <= size <= len(recordings):
        raise UserError(f"--subset {size}: there are {len(recordings)} recordings")
    chosen = set(random.Random(f"{seed} human").sample(range(len(recordings)), len(recordings))[:size])
    return [recording for i, recording in enumerate(recordings) if i in chosen]


def _convert(recording: Recording, source: Path, audio: Path) -> Utterance:
    path = source / recording.audio
    if recording.sha256 and path.is_file():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != recording.sha256:
            # Decoding may name a plainer reason; the digest catches what decodes all the same.
            read_audio(path)
            raise UserError(f"{path}: not the file that metadata.jsonl describes (sha256 {found[:12]}...)")
    samples = read_audio(path)
    if len(samples) < SHORTEST * RATE:
        raise UserError(f"{path}: only {len(samples) / RATE:.3f} s of audio")
    name = f"human-{recording.key}"
    write_wav(audio / f"{name}.wav", samples)
    return Utterance(
        id=name,
        audio=f"audio/{name}.wav",
        duration=round(len(samples) / RATE, 6),
        lang="en",
        text=recording.text,
        speaker=recording.speaker,
        translations=recording.translations,
    )


def make_manifest(source: Path, out: Path, subset: int | None = None, seed: int = 1) -> list[Utterance]:
    """Write out/audio/*.wav (16 kHz, int16) and out/human.jsonl; return the utterances.

    UserError that lists every missing, corrupt, empty or changed file; then nothing of `out` is touched.
    """
    recordings = choose_subset(read_recordings(source), subset, seed)
    if not recordings:
        raise UserError(f"{source / 'metadata.jsonl'}: no recordings")
    utterances: list[Utterance] = []
    problems: list[str] = []
    with replaced_folder(out / "audio") as partial:
        for recording in recordings:
            try:
                utterances.append(_convert(recording, source, partial))
            except UserError as e:
                problems.append(e.message)
        if problems:
            listed = "\n  ".join(problems[:_LISTED])
            more = f"\n  and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
            raise UserError(
                f"{len(problems)} of {len(recordings)} recordings cannot be used:\n  {listed}{more}",
                hint=f"restore the files (git checkout -- {source}) or remove their lines from metadata.jsonl",
            )
        (out / "human.jsonl").unlink(missing_ok=True)
    write_manifest(out / "human.jsonl", utterances)
    return utterances
