"""Synthesized corpora: sentences and voices in, 16 kHz WAV files and a manifest with phone times out.

The bytes depend on sentences, voices, split, seed and engine version alone: not on the number of workers, the order of
work, or what the cache held. The cache may be shared by several processes at once and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from spire.audio import RATE, resample, write_wav
from spire.errors import UserError
from spire.files import replaced_file, replaced_folder
from spire.manifest import Utterance, write_manifest
from spire.progress import Progress
from spire.speech.espeak import Voice, check_voice, engine_version, speak
from spire.speech.grammar import LANGUAGES

SPLITS = ("train", "dev", "seen", "unseen")

# Part of every cache key: raise it when the way from espeak's samples to the WAV file changes.
CACHE_FORMAT = 1

_CHUNK = 40  # utterances handed to a worker at a time
_WAV_HEADER = 44


@dataclass(frozen=True)
class VoiceSets:
    """Voices of training and seen test, and voices that nothing but the unseen test uses."""

    training: tuple[Voice, ...]
    unseen: tuple[Voice, ...]

    def of_split(self, split: str) -> tuple[Voice, ...]:
        return self.unseen if split == "unseen" else self.training


def read_voices(path: str | Path) -> VoiceSets:
    """Voices of a JSON file {"training": [...], "unseen": [...]}; UserError names the voice that is wrong.

    An unseen voice must not share its accent/variant pair with a training voice, whatever its pitch and rate.
    """
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as e:
        raise UserError(f"{path}: not JSON: {e}") from e
    sets: dict[str, tuple[Voice, ...]] = {}
    for name in ("training", "unseen"):
        rows = table.get(name) if isinstance(table, dict) else None
        if not isinstance(rows, list) or not rows:
            raise UserError(f'{path}: no voices under "{name}"', hint="see configs/voices.json")
        sets[name] = tuple(_voice(row, path) for row in rows)
    everything = sets["training"] + sets["unseen"]
    ids = [voice.id for voice in everything]
    if len(set(ids)) < len(ids):
        raise UserError(f"{path}: two voices have the id {next(i for i in ids if ids.count(i) > 1)!r}")
    shared = {v.voice for v in sets["training"]} & {v.voice for v in sets["unseen"]}
    if shared:
        raise UserError(f"{path}: {', '.join(sorted(shared))} is both a training and an unseen voice")
    return VoiceSets(**sets)


def _voice(row: object, path: str | Path) -> Voice:
    try:
        voice = Voice(**row)  # type: ignore[arg-type]
    except TypeError as e:
        raise UserError(f"{path}: {row!r} is not a voice", hint='give "id", "voice", "pitch", "range", "rate"') from e
    if not isinstance(voice.id, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", voice.id):
        raise UserError(f"{path}: voice id {voice.id!r}", hint="use lower-case letters, digits and '-'")
    for name, low, high in (("pitch", 0, 99), ("range", 0, 99), ("rate", 80, 450)):
        value = getattr(voice, name)
        if type(value) is not int or not low <= value <= high:
            raise UserError(f"{path}: voice {voice.id}: {name} {value!r} is not a whole number from {low} to {high}")
    if not isinstance(voice.voice, str):
        raise UserError(f"{path}: voice {voice.id}: {voice.voice!r} is not accent+variant")
    check_voice(voice.voice)
    return voice


def assign_voices(count: int, voices: tuple[Voice, ...], seed: int, split: str) -> list[Voice]:
    """A voice for each of `count` sentences: one shuffled deck of all voices after another, so shares are equal."""
    rng = random.Random(f"{seed} voices {split}")
    dealt: list[Voice] = []
    while len(dealt) < count:
        dealt += rng.sample(voices, len(voices))
    return dealt[:count]


def choose_translated(count: int, translated: int, seed: int) -> set[int]:
    """Indices of the `translated` utterances that keep their translations; a larger number only adds to a smaller."""
    order = random.Random(f"{seed} translated").sample(range(count), count)
    return set(order[:translated])


def cache_key(text: str, voice: Voice) -> str:
    """Digest of everything the bytes depend on; the voice's id is only its name and not part of it."""
    settings = {key: value for key, value in asdict(voice).items() if key != "id"}
    basis = json.dumps([CACHE_FORMAT, engine_version(), RATE, text, settings], sort_keys=True)
    return hashlib.sha256(basis.encode()).hexdigest()[:40]


@dataclass(frozen=True)
class _Entry:
    """A cached utterance: WAV file, seconds, phones."""

    wav: Path
    duration: float
    phones: tuple[tuple[str, float, float], ...]


def _read_entry(wav: Path) -> _Entry | None:
    """The entry, or None when it is missing, cut off or was changed through a hard link."""
    try:
        facts = json.loads(wav.with_suffix(".json").read_text(encoding="utf-8"))
        if hashlib.sha256(wav.read_bytes()).hexdigest() != facts["sha256"]:
            return None
        phones = tuple((str(symbol), float(start), float(end)) for symbol, start, end in facts["phones"])
        return _Entry(wav, float(facts["duration"]), phones)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def synthesize_cached(text: str, voice: Voice, cache: Path) -> _Entry:
    """The utterance from the cache, synthesized now if it is not there; safe beside other processes."""
    key = cache_key(text, voice)
    wav = cache / key[:2] / f"{key}.wav"
    entry = _read_entry(wav)
    if entry:
        return entry
    speech = speak(text, voice)
    samples = resample(speech.samples.astype(np.float32) / 32768.0, speech.rate)
    write_wav(wav, samples)
    duration = round((wav.stat().st_size - _WAV_HEADER) / 2 / RATE, 6)
    facts = {
        "duration": duration,
        "sha256": hashlib.sha256(wav.read_bytes()).hexdigest(),
        "phones": [[symbol, start, min(end, duration)] for symbol, start, end in speech.phones if start < duration],
    }
    with replaced_file(wav.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(facts), encoding="utf-8")
    return _Entry(wav, duration, tuple((s, a, b) for s, a, b in facts["phones"]))


def _work(chunk: list[tuple[str, Voice]], cache: Path) -> list[_Entry]:
    return [synthesize_cached(text, voice, cache) for text, voice in chunk]


def _entries(jobs: list[tuple[str, Voice]], cache: Path, workers: int) -> Iterator[_Entry]:
    """Entries in the order of `jobs`."""
    chunks = [jobs[i : i + _CHUNK] for i in range(0, len(jobs), _CHUNK)]
    if workers <= 1 or len(chunks) <= 1:
        for chunk in chunks:
            yield from _work(chunk, cache)
        return
    # spawn: a forked child would inherit the parent's threads' locks.
    with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for entries in pool.map(_work, chunks, [cache] * len(chunks)):
                yield from entries
        except BrokenProcessPool as e:
            raise UserError("a synthesis worker died (out of memory?)", hint="run again with --jobs 1") from e


def _place(source: Path, target: Path) -> None:
    """Hard link, or a copy where the file system cannot link."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def synthesize(
    sentences: list[dict[str, str]],
    voices: VoiceSets,
    split: str,
    out: Path,
    cache: Path,
    seed: int,
    translated: int | None = None,
    workers: int = 1,
) -> list[Utterance]:
    """Speak each sentence's English once; write out/audio/*.wav and then out/manifest.jsonl.

    `translated` (train only; other splits keep all): how many utterances keep their translations. UserError for an
    unknown split, no sentences, ids that cannot be file names, or more translated utterances than there are.
    """
    if split not in SPLITS:
        raise UserError(f"--split {split}: unknown", hint=f"one of {', '.join(SPLITS)}")
    if not sentences:
        raise UserError("no sentences to speak", hint="make some with data_sentences.py")
    bad = [row["id"] for row in sentences if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", row["id"])]
    if bad:
        raise UserError(f"sentence id {bad[0]!r} cannot be a file name", hint="use letters, digits, '.', '_' and '-'")
    if len({row["id"] for row in sentences}) < len(sentences):
        raise UserError("two sentences have the same id")
    keep = set(range(len(sentences)))
    if split == "train" and translated is not None:
        if not 0 <= translated <= len(sentences):
            raise UserError(f"--translated {translated}: there are {len(sentences)} utterances")
        keep = choose_translated(len(sentences), translated, seed)
    chosen = assign_voices(len(sentences), voices.of_split(split), seed, split)
    jobs = [(row["en"], voice) for row, voice in zip(sentences, chosen, strict=True)]

    utterances: list[Utterance] = []
    # The manifest is the last thing written and the first removed: where it is, its audio is.
    with replaced_folder(out / "audio") as partial:
        with Progress(f"speech {split}", total=len(jobs), unit="utterances") as progress:
            for i, entry in enumerate(_entries(jobs, cache, workers)):
                row, voice = sentences[i], chosen[i]
                name = f"{split}-{row['id']}"
                _place(entry.wav, partial / f"{name}.wav")
                utterances.append(
                    Utterance(
                        id=name,
                        audio=f"audio/{name}.wav",
                        duration=entry.duration,
                        lang="en",
                        text=row["en"],
                        speaker=voice.id,
                        translations={lang: row[lang] for lang in LANGUAGES if lang != "en"} if i in keep else {},
                        phones=entry.phones,
                    )
                )
                progress.advance()
        (out / "manifest.jsonl").unlink(missing_ok=True)
    write_manifest(out / "manifest.jsonl", utterances)
    return utterances
