"""Rows of text to a folder of speech: 16 kHz WAV files, a manifest with phone times, and the true times of words.

The bytes depend on rows, voices, seed and espeak's version alone, not on the number of workers. `words.jsonl` has a
line {"id", "words": [[word, start s, end s], ...]} for each line of the manifest, in its order.
"""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from spire.audio import RATE, resample, write_wav
from spire.errors import UserError
from spire.files import replaced_folder
from spire.manifest import Utterance, write_manifest
from spire.progress import Progress
from spire.speech.espeak import Voice
from spiritlm.speech.voices import Cast
from spiritlm.speech.word_events import Word, speak_words

LOUDEST = 0.97  # of full scale: a louder utterance is turned down as a whole
_CHUNK = 40  # utterances handed to a worker at a time
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_Job = tuple[str, Voice, float]
_Said = tuple[np.ndarray, tuple, tuple[Word, ...]]


def speak_row(text: str, voice: Voice, volume: float) -> _Said:
    """float32 [N] at 16 kHz, phones and words of one utterance; `volume` in dB, less where it would clip."""
    speech, words = speak_words(text, voice)
    samples = resample(speech.samples.astype(np.float32) / 32768.0, speech.rate) * np.float32(10 ** (volume / 20))
    peak = float(np.abs(samples).max())
    return samples * np.float32(min(1.0, LOUDEST / max(peak, 1e-9))), speech.phones, words


def _work(jobs: list[_Job]) -> list[_Said]:
    return [speak_row(*job) for job in jobs]


def _spoken(jobs: list[_Job], workers: int) -> Iterator[_Said]:
    """Results in the order of `jobs`."""
    chunks = [jobs[i : i + _CHUNK] for i in range(0, len(jobs), _CHUNK)]
    if workers <= 1 or len(chunks) <= 1:
        for job in jobs:
            yield speak_row(*job)
        return
    # spawn: a forked child would inherit the locks of its parent's threads.
    with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for said in pool.map(_work, chunks):
                yield from said
        except BrokenProcessPool as e:
            raise UserError("a synthesis worker died (out of memory?)", hint="run again with --jobs 1") from e


def speak_rows(rows: list[dict], cast: Cast, out: Path, seed: int, workers: int = 1) -> list[Utterance]:
    """Speak rows {"id", "text", "speaker", "style"[, "story"]} into the new folder `out`, whole or not at all.

    Fields of a row that a manifest does not know are kept in it. UserError: no rows, an id that is no file name or
    occurs twice, an unknown speaker or style, text without words.
    """
    if not rows:
        raise UserError("nothing to speak", hint="make stories with spiritlm_stories.py")
    ids = [row["id"] for row in rows]
    bad = [name for name in ids if not _PLAIN_ID.fullmatch(name)]
    if bad:
        raise UserError(f"id {bad[0]!r} cannot be a file name", hint="use letters, digits, '.', '_' and '-'")
    if len(set(ids)) < len(ids):
        raise UserError(f"two rows have the id {next(name for name in ids if ids.count(name) > 1)!r}")
    jobs = [(row["text"], *cast.voice(row["speaker"], row["style"], row["id"], seed)) for row in rows]
    utterances: list[Utterance] = []
    with replaced_folder(out) as partial:
        lines = []
        with Progress("speak", total=len(rows), unit="utterances") as progress:
            for row, (samples, phones, words) in zip(rows, _spoken(jobs, workers), strict=True):
                duration = len(samples) / RATE
                write_wav(partial / "audio" / f"{row['id']}.wav", samples)
                utterances.append(
                    Utterance(
                        id=row["id"],
                        audio=f"audio/{row['id']}.wav",
                        duration=round(duration, 6),
                        lang="en",
                        text=row["text"],
                        speaker=row["speaker"],
                        phones=tuple(_cut(phones, duration)),
                        extra={key: value for key, value in row.items() if key not in ("id", "text", "speaker")},
                    )
                )
                lines.append(json.dumps({"id": row["id"], "words": [list(word) for word in _cut(words, duration)]}))
                progress.advance()
        (partial / "words.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        write_manifest(partial / "manifest.jsonl", utterances)
    return utterances


def _cut(stretches: tuple[tuple[str, float, float], ...], duration: float) -> Iterator[tuple[str, float, float]]:
    """The stretches within `duration` seconds, which resampling may have shortened by a sample."""
    for name, start, end in stretches:
        yield name, min(start, round(duration, 4)), min(end, round(duration, 4))
