"""Frames to learn a k-means from: whole utterances in a seeded order until there are enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.manifest import read_manifest
from spire.progress import Progress
from spire.units.encoder import Encoder
from spire.units.label import AudioReader


def sample_frames(encoder: Encoder, manifest: Path, frames: int, seed: int) -> np.ndarray:
    """[n, dim] float32 with n = `frames`, or all there are when the manifest holds fewer.

    The same manifest, seed and encoder give the same frames. UserError when no utterance gives any.
    """
    utterances = read_manifest(manifest)
    rest = [utterances[i] for i in np.random.default_rng(seed).permutation(len(utterances))]
    reader = AudioReader()
    parts: list[np.ndarray] = []
    total = 0
    with Progress("frames", total=frames, unit="frames") as progress:
        while rest and total < frames:
            # Only as many as should do: an encoder reads ahead, and what it reads is work. More when some give nothing.
            expected = np.cumsum([max(1, int(u.duration * encoder.rate_hz) - 1) for u in rest])
            taken = int(np.searchsorted(expected, frames - total)) + 1
            for features in encoder.stream(reader.read("", rest[:taken])):
                parts.append(features[: frames - total])
                total += len(parts[-1])
                progress.advance(len(parts[-1]))
            rest = rest[taken:]
    if not total:
        reason = f"; the first: {reader.problems[0]['reason']}" if reader.problems else ""
        raise UserError(f"{manifest}: no frame in {len(utterances)} utterances{reason}", hint="check the audio paths")
    return np.concatenate(parts)
