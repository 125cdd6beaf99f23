"""k-means over the 25 Hz features: the units that the quantizer is taught to keep (spiritlm 2.2).

Frames come from whole utterances in an order that the seed gives, until there are enough; so the same corpus, encoder,
sizes and seed give the same centroids on the same machine.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.manifest import read_manifest
from spire.progress import Progress
from spire.units import kmeans
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.phonetic.waveforms import grouped, waveforms

_AT_ONCE = 16  # utterances whose features are computed together


def sampled_features(hubert: Hubert25, manifests: list[Path], frames: int, seed: int, workers: int = 0) -> np.ndarray:
    """float32 [at most `frames`, d]; recordings that cannot be read give none. UserError without a single frame."""
    utterances = [utterance for path in manifests for utterance in read_manifest(path)]
    order = np.random.default_rng([seed, 2]).permutation(len(utterances))
    parts, held = [np.zeros((0, hubert.dim), np.float32)], 0
    with (
        Progress("features", total=frames, unit="frames") as progress,
        closing(waveforms((utterances[i] for i in order), workers)) as source,
    ):
        for group in grouped(source, _AT_ONCE):
            found = hubert.features([one.samples for one in group])
            parts += found
            held += sum(map(len, found))
            progress.advance(sum(map(len, found)))
            if held >= frames:
                break
    if not held:
        raise UserError(f"{manifests[0]}: no audio of 45 ms or more", hint="give more audio")
    return np.concatenate(parts)[:frames]


def learn_centroids(features: np.ndarray, clusters: int, seed: int, iterations: int) -> np.ndarray:
    """float32 [clusters, d]; UserError when frames are too few."""
    return kmeans.fit(features, clusters, seed, iterations)
