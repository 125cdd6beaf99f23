"""How good 25 Hz units are: phonetic information, and how little they change when the recording does.

- pnmi: mutual information of phone and unit over the entropy of the phone, 0..1; a frame's phone is the one at the
  middle of its window, and frames outside all phones do not count;
- unit error: insertions, deletions and substitutions between the deduplicated units of the recording and those of its
  augmented copy, over the number of the former, in percent (unit edit distance of Gat et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spire.audio import RATE
from spire.manifest import Utterance
from spire.units.report import entropy_bits
from spiritlm.phonetic.labelled_audio import HOP, REACH


def frame_phones(frames: int, utterance: Utterance, index: dict[str, int]) -> np.ndarray:
    """[frames] int64: the index of the phone at the middle of each frame's window, -1 where there is none."""
    phones = np.full(frames, -1, np.int64)
    middles = (np.arange(frames) * HOP + (HOP + REACH) / 2) / RATE
    for symbol, start, end in utterance.phones:
        phones[(middles >= start) & (middles < end)] = index[symbol]
    return phones


def phone_counts(units: Sequence[np.ndarray], utterances: Sequence[Utterance], vocabulary: int) -> np.ndarray:
    """[utterances, phones, vocabulary] int64: how often phone and unit meet; no phones, where there are no times."""
    symbols = sorted({phone[0] for utterance in utterances for phone in utterance.phones})
    index = {symbol: i for i, symbol in enumerate(symbols)}
    counts = np.zeros((len(utterances), len(symbols), vocabulary), np.int64)
    for row, ids, utterance in zip(counts, units, utterances, strict=True):
        phones = frame_phones(len(ids), utterance, index)
        np.add.at(row, (phones[phones >= 0], ids[phones >= 0]), 1)
    return counts


def pnmi(counts: np.ndarray) -> float:
    """Of [phones, vocabulary]; 0 without frames."""
    phone = entropy_bits(counts.sum(axis=1))
    if not phone:
        return 0.0
    return (phone + entropy_bits(counts.sum(axis=0)) - entropy_bits(counts)) / phone


def deduplicated(units: np.ndarray) -> np.ndarray:
    """Each unit that differs from the one before it."""
    return units[np.r_[True, units[1:] != units[:-1]]] if len(units) else units


def unit_errors(units: np.ndarray, changed: np.ndarray) -> tuple[int, int]:
    """(insertions + deletions + substitutions, deduplicated units of the first)."""
    ours, theirs = deduplicated(np.asarray(units)), deduplicated(np.asarray(changed))
    distances = np.arange(len(theirs) + 1)
    steps = np.arange(len(theirs) + 1)
    for unit in ours:
        best = np.minimum(distances[1:] + 1, distances[:-1] + (theirs != unit))
        # Insertions: the least of what lies to the left, one more for each step from there.
        distances = np.minimum.accumulate(np.r_[distances[0] + 1, best] - steps) + steps
    return int(distances[-1]), len(ours)
