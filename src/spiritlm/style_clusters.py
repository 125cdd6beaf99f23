"""Style labels for speech that has none: clusters of how a second of speech sounds, whoever speaks.

Each second is described by its pitch (mean, spread and slope of log f0, share of voiced frames) and its loudness (mean
and spread of the log energy); the descriptions of a speaker are brought to mean 0 and variance 1, and k-means over all
of them gives the labels. A classifier trained on them (`spiritlm.style_training`) then hears them in any voice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spire.audio import RATE, load_utterance
from spire.errors import UserError
from spire.manifest import Utterance
from spire.units.kmeans import fit, nearest
from spiritlm.pitch.f0_files import RATE as F0_RATE
from spiritlm.pitch.f0_files import F0Folder

WINDOW = 320  # samples of an energy
FEATURES = 6


def described(wav: np.ndarray, f0: np.ndarray, voicing: np.ndarray) -> np.ndarray:
    """Samples at 16 kHz and their contour to float32 [seconds, 6]; the last second may be shorter, but not below half;
    nan for what a second without voice does not have."""
    seconds = max(1, round(len(wav) / RATE))
    energies = np.array([np.dot(w, w) / len(w) for w in np.array_split(wav, max(1, len(wav) // WINDOW))])
    loudness = np.log(energies + 1e-7)
    rows = np.full((seconds, FEATURES), np.nan)
    for i in range(seconds):
        last = None if i == seconds - 1 else i + 1
        values = slice(int(i * F0_RATE), None if last is None else int(last * F0_RATE))
        frames = slice(i * RATE // WINDOW, None if last is None else last * RATE // WINDOW)
        voiced = voicing[values] > 0
        rows[i, 3] = voiced.mean() if len(voiced) else 0.0
        rows[i, 4:] = loudness[frames].mean(), loudness[frames].std()
        if voiced.sum() > 1:
            pitch = np.log(f0[values][voiced])
            rows[i, :3] = pitch.mean(), pitch.std(), np.polyfit(np.flatnonzero(voiced) / F0_RATE, pitch, 1)[0]
    return rows.astype(np.float32)


def prosody_labels(
    utterances: Sequence[Utterance], contours: F0Folder, clusters: int, seed: int
) -> tuple[list[str], list[np.ndarray]]:
    """Names "0", "1", ... and a label for each second of each utterance, int64. UserError: an utterance without a
    contour, too few seconds."""
    places: Mapping[str, int] = {name: i for i, name in enumerate(contours.ids)}
    missing = [u.id for u in utterances if u.id not in places]
    if missing:
        raise UserError(f"{len(missing)} utterances have no contour, the first {missing[0]}", hint="give more --f0")
    rows = [described(load_utterance(u), *contours[places[u.id]].contour) for u in utterances]
    speakers = np.array([u.speaker for u in utterances])
    for speaker in np.unique(speakers):
        mine = np.flatnonzero(speakers == speaker)
        of_speaker = np.concatenate([rows[i] for i in mine])
        counts = np.maximum(1, (~np.isnan(of_speaker)).sum(axis=0))
        mean = np.nansum(of_speaker, axis=0) / counts
        deviation = np.sqrt(np.nansum((of_speaker - mean) ** 2, axis=0) / counts)
        for i in mine:
            rows[i] = np.nan_to_num((rows[i] - mean) / np.maximum(deviation, 1e-6)).astype(np.float32)
    centroids = fit(np.concatenate(rows), clusters, seed)
    return [str(i) for i in range(clusters)], [nearest(row, centroids).astype(np.int64) for row in rows]
