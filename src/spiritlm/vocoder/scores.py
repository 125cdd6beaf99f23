"""How close resynthesized speech is to the original: mel distance, word errors, pitch, style, and what the units cost.

Every score keeps what each utterance contributed, so systems can be compared in pairs (spiritlm.evaluation.measures).
Test sets are called after the source of the audio: original, base, expressive, shuffled, ...; direction s-s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spire.audio import load_utterance
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest
from spire.scoring.wer import word_error_rate
from spire.textfiles import read_jsonl
from spiritlm.evaluation.measures import Measure, measured
from spiritlm.pitch.errors import pitch_errors
from spiritlm.pitch.f0_files import F0Folder
from spiritlm.vocoder.mel import log_mel

TASK, DIRECTION = "resynthesis", "s-s"
RATES = (25.0, 12.5, 1.0)  # phonetic, pitch and style units a second
SAME_LENGTH = 0.04  # seconds, a unit: audio of nearly the same length is compared frame by frame


def bits_per_second(sizes: Sequence[int]) -> float:
    """Bits a second of streams with so many different units, in the order phonetic, pitch, style: rate times the bits
    that hold one, repeats not dropped. At the published sizes 225 for Base and 307 for Expressive (papers 2.6)."""
    return sum(rate * int(size - 1).bit_length() for size, rate in zip(sizes, RATES, strict=False))


def mel_distance(original: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference in dB of the log-mel spectra (`mel.log_mel`: 80 bins, 100 frames a second) of two
    waveforms [N]: frame by frame where they are equally long but for a unit, else along the path of least sum that
    dynamic time warping finds, divided by its length."""
    ours, theirs = log_mel(original), log_mel(other)
    if not len(ours) or not len(theirs):
        raise UserError("a waveform without samples has no spectrum", hint="leave out what is empty")
    if abs(len(original) - len(other)) <= SAME_LENGTH * 16_000:
        frames = min(len(ours), len(theirs))
        return float(np.abs(ours[:frames] - theirs[:frames]).mean())
    costs = np.abs(ours[:, None] - theirs[None]).mean(axis=2)
    return warped(costs)


def warped(costs: np.ndarray) -> float:
    """Mean cost along the path of least sum through costs [T, S] from first to last corner by steps right, down or
    both; of paths of equal sum the shortest."""
    rows, columns = costs.shape
    sums = np.full((rows + 1, columns + 1), np.inf)
    steps = np.zeros((rows + 1, columns + 1))
    sums[0, 0] = 0.0
    # Along antidiagonals, whose cells do not depend on each other.
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        before = np.stack([sums[i - 1, j - 1], sums[i - 1, j], sums[i, j - 1]])
        lengths = np.stack([steps[i - 1, j - 1], steps[i - 1, j], steps[i, j - 1]])
        least = before.min(axis=0)
        shortest = np.where(before == least, lengths, np.inf).min(axis=0)
        sums[i, j], steps[i, j] = least + costs[i - 1, j - 1], shortest + 1
    return float(sums[rows, columns] / steps[rows, columns])


def mel_measure(name: str, originals: Sequence[Utterance], others: Sequence[Utterance], seed: int) -> Measure:
    """`mel_distance` of each utterance, and their mean; the originals give 0."""
    items = [mel_distance(load_utterance(a), load_utterance(b)) for a, b in zip(originals, others, strict=True)]
    signature = "mean absolute dB of 80 log-mel bins, floor -60 dB, frame by frame or warped"
    return measured(name, TASK, name, DIRECTION, "mel_distance", items, signature=signature, seed=seed)


def wer_measure(name: str, utterances: Sequence[Utterance], transcripts: str | Path, seed: int) -> Measure:
    """Word error rate in percent of transcripts, JSONL {"id", "text"} in the order of the utterances."""
    rows = read_jsonl(Path(transcripts))
    if [row.get("id") for row in rows] != [u.id for u in utterances]:
        raise UserError(f"{transcripts}: not the utterances of {name}", hint="transcribe its manifest again")
    found = word_error_rate([str(row["text"]) for row in rows], [u.text for u in utterances], seed=seed)
    errors, words = zip(*(row or (0, 0) for row in found.rows), strict=True)
    signature = found.signature.split("|bs:")[0]
    items = [100 * e for e in errors]
    return measured(name, TASK, name, DIRECTION, "wer", items, words, signature, seed)


def f0_measures(name: str, original: F0Folder, other: F0Folder, seed: int) -> list[Measure]:
    """Share of wrong f0 frames in percent, over all frames of all utterances. UserError: other utterances, or contours
    of another tracker."""
    if original.ids != other.ids or original.backend != other.backend:
        raise UserError(f"{name}: pitch of other utterances, or by another tracker", hint="track both anew")
    errors = [pitch_errors(a.contour, b.contour) for a, b in zip(original, other, strict=True)]
    wrong = [100.0 * (e.voicing + e.gross) for e in errors]
    frames = [e.frames for e in errors]
    signature = f"{original.backend}, voicing or 20 % off"
    return [measured(name, TASK, name, DIRECTION, "f0_error", wrong, frames, signature, seed)]


def style_measure(
    name: str, original: Sequence[Sequence[int]], other: Sequence[Sequence[int]], seed: int
) -> Measure | None:
    """Percent of the seconds whose style unit is the original's; None where no utterance has one."""
    pairs = [(a, b) for a, b in zip(original, other, strict=True)]
    kept = [100.0 * sum(x == y for x, y in zip(a, b, strict=False)) for a, b in pairs]
    seconds = [max(len(a), len(b)) for a, b in pairs]
    if not sum(seconds):
        return None
    return measured(name, TASK, name, DIRECTION, "style_accuracy", kept, seconds, "style units of the original", seed)


def bits_measure(name: str, sizes: Sequence[int], utterances: int) -> Measure:
    """`bits_per_second`, without an interval: it follows from the sizes."""
    value = bits_per_second(sizes)
    signature = "rate times bits of a unit: " + ", ".join(f"{rate:g} x {size}" for rate, size in zip(RATES, sizes))  # noqa: B905
    return Measure(name, TASK, name, DIRECTION, "bits_per_second", value, None, None, utterances, signature)


def same_utterances(folders: Mapping[str, Path]) -> dict[str, list[Utterance]]:
    """The manifests of folders of audio; UserError unless all have the same utterances in the same order."""
    found = {name: read_manifest(folder / "manifest.jsonl") for name, folder in folders.items()}
    first = next(iter(found))
    for name, utterances in found.items():
        if [u.id for u in utterances] != [u.id for u in found[first]]:
            raise UserError(f"{folders[name]}: not the utterances of {folders[first]}", "make both of the same streams")
    return found
