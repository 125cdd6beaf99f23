"""Frames to learn a k-means from straight from audio: whole utterances in a seeded order until there are enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from spire.datasets.corpus import Item, Reference
from spire.datasets.loader import Decoded, decoded
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest
from spire.progress import Progress
from spire.units.encoder import Encoder


def sample_frames(encoder: Encoder, manifest: Path, frames: int, seed: int) -> np.ndarray:
    """[n, dim] float32 with n = `frames`, or all there are when the manifest holds fewer.

    The same manifest, seed and encoder give the same frames. UserError when no utterance gives any.
    """
    utterances = read_manifest(manifest)
    rest = [utterances[i] for i in np.random.default_rng(seed).permutation(len(utterances))]
    problems: list[Decoded] = []
    parts: list[np.ndarray] = []
    total = 0
    with Progress("frames", total=frames, unit="frames") as progress:
        while rest and total < frames:
            # Only as many as should do: an encoder reads ahead, and what it reads is work. More when some give nothing.
            expected = np.cumsum([max(1, int(u.duration * encoder.rate_hz) - 1) for u in rest])
            taken = int(np.searchsorted(expected, frames - total)) + 1
            for features in encoder.stream(_waveforms(rest[:taken], problems)):
                parts.append(features[: frames - total])
                total += len(parts[-1])
                progress.advance(len(parts[-1]))
            rest = rest[taken:]
    if not total:
        reason = f"; the first: {problems[0].reason}" if problems else ""
        raise UserError(f"{manifest}: no frame in {len(utterances)} utterances{reason}", hint="check the audio paths")
    return np.concatenate(parts)


def _waveforms(utterances: Sequence[Utterance], problems: list[Decoded]) -> Iterator[np.ndarray]:
    """Their samples, empty for what cannot be read, which goes to `problems`."""
    items = (Item(u.id, Reference(str(u.audio_path), u.start, u.duration, *u.stretch)) for u in utterances)
    for found in decoded(items):
        if found.reason:
            problems.append(found)
        yield found.samples


def sample_corpora(
    encoder: Encoder, manifests: Sequence[Path], weights: Sequence[float] | None, frames: int, seed: int
) -> list[np.ndarray]:
    """`sample_frames` of each manifest, which gives its weight's share of `frames`; by default its share of the audio.

    UserError as `sample_frames`, and when weights are not one positive number for each manifest.
    """
    if weights is None:
        weights = [sum(u.duration for u in read_manifest(path)) or 1.0 for path in manifests]
    if len(weights) != len(manifests) or not all(np.isfinite(w) and w > 0 for w in weights):
        reason = f"weights {list(weights)} for {len(manifests)} manifests"
        raise UserError(reason, hint="--weights takes one positive number for each manifest, in their order")
    shares = [max(1, round(frames * w / sum(weights))) for w in weights]
    return [sample_frames(encoder, path, n, seed) for path, n in zip(manifests, shares, strict=True)]
