"""How well centroids fit features: inertia on frames they were, or were not, trained on. No phones needed.

The measures follow from the frames and the centroids alone; sums are taken in float64, frame after frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from spire.errors import UserError
from spire.units.corpora import Frames
from spire.units.kmeans import KMeans

_ROWS = 8192


def fit_measures(frames: Iterable[np.ndarray], kmeans: KMeans) -> dict:
    """Of frames [n, D] that come in pieces:

    frames; inertia (mean squared distance to the nearest centroid); variance (mean squared distance to the mean frame);
    explained (1 - inertia / variance); empty_clusters (no frame is nearest to them); frame_entropy_bits and perplexity
    (2 to its power: how many clusters, used evenly, would be as varied). {} without a frame. UserError when frames and
    centroids differ in dimension.
    """
    centroids = kmeans.centroids
    counts = np.zeros(len(centroids), np.int64)
    distance = 0.0
    total = square = None
    origin = np.zeros(centroids.shape[1])
    for piece in frames:
        if not len(piece):
            continue
        labels = kmeans.label(piece)
        counts += np.bincount(labels, minlength=len(centroids))
        distance += float(((piece - centroids[labels]) ** 2).sum(dtype=np.float64))
        if total is None:  # the variance about a frame nearby: sums of squares of large numbers would lose it
            total, square, origin = np.zeros(piece.shape[1]), 0.0, piece[0].astype(np.float64)
        moved = piece - origin
        total += moved.sum(axis=0)
        square += float((moved * moved).sum())
    if total is None:
        return {}
    n = int(counts.sum())
    variance = max(square / n - float(((total / n) ** 2).sum()), 0.0)
    p = counts[counts > 0] / n
    entropy = float(-(p * np.log2(p)).sum()) + 0.0
    return {
        "frames": n,
        "inertia": distance / n,
        "variance": variance,
        "explained": 1 - distance / n / variance if variance else 0.0,
        "empty_clusters": int((counts == 0).sum()),
        "frame_entropy_bits": entropy,
        "perplexity": 2.0**entropy,
    }


def pieces(source: Frames, most: int = 0) -> Iterator[np.ndarray]:
    """The rows of a feature folder, or about `most` of them: stretches spread evenly over the whole."""
    blocks = -(-source.rows // _ROWS)
    wanted = blocks if not most else min(blocks, -(-most // _ROWS))
    for k in range(wanted):
        start = (k * blocks // wanted) * _ROWS
        yield source.read(start, min(start + _ROWS, source.rows))


def feature_measures(source: Frames, kmeans: KMeans, name: str, most: int = 0) -> dict:
    """`fit_measures` of a feature folder; UserError when its metadata and the k-means's name different encoders."""
    theirs = getattr(source, "metadata", {})
    for key in theirs.keys() & kmeans.metadata.keys():
        if theirs[key] != kmeans.metadata[key]:
            reason = f"{name}: {key} is {theirs[key]!r}, the k-means was trained on {kmeans.metadata[key]!r}"
            raise UserError(reason, hint="measure with features of the encoder the k-means was made with")
    if source.dim != kmeans.centroids.shape[1]:
        reason = f"{name}: frames of {source.dim} dimensions, centroids of {kmeans.centroids.shape[1]}"
        raise UserError(reason, hint="measure with features of the encoder the k-means was made with")
    return fit_measures(pieces(source, most), kmeans)
