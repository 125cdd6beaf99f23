"""k-means in numpy: the same frames, K and seed give the same centroids; a label depends on its own utterance alone.

Labels are the first nearest centroid, found as the argmax of x . c - |c|^2 / 2: the distance's |x|^2 cannot change it.
A k-means is a safetensors file {"centroids": [K, D]} whose metadata says which features it belongs to.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.progress import Progress

_ROWS = 2048  # frames scored at once: [2048, K] stays in cache


@dataclass(frozen=True)
class KMeans:
    """centroids [K, D] and the file's string metadata (encoder, encoder_digest, layer, normalization, seed, ...)."""

    centroids: np.ndarray
    metadata: dict[str, str]

    @property
    def clusters(self) -> int:
        return len(self.centroids)

    def label(self, features: np.ndarray) -> np.ndarray:
        """[T, D] float32 to [T] int32."""
        if features.shape[1:] != self.centroids.shape[1:]:
            dims = f"{features.shape[1]} dimensions, the k-means has {self.centroids.shape[1]}"
            raise UserError(f"features have {dims}", hint="use the encoder and layer the k-means was made with")
        return nearest(features, self.centroids)


@dataclass(frozen=True)
class Training:
    """What a training of k-means gives: centroids [K, D] float32; history [{batches, passes, frames, inertia}] of its
    checks; inertia (of frames set aside, None without any); frames labelled in training; why it stopped."""

    centroids: np.ndarray
    history: list[dict]
    inertia: float | None
    frames: int
    reason: str


def nearest(features: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Index of the first nearest centroid, [T] int32; |c|^2 in the centroids' own precision, the rest in float32."""
    offset = ((centroids * centroids).sum(axis=1) * 0.5).astype(np.float32)
    transposed = np.ascontiguousarray(centroids.T, dtype=np.float32)
    labels = np.empty(len(features), np.int32)
    for start in range(0, len(features), _ROWS):
        scores = features[start : start + _ROWS].astype(np.float32, copy=False) @ transposed
        scores -= offset
        labels[start : start + _ROWS] = scores.argmax(axis=1)
    return labels


def fit(frames: np.ndarray, clusters: int, seed: int, iterations: int = 25, pca: int = 0) -> np.ndarray:
    """Lloyd's algorithm from a k-means++ start: [N, D] float32 to centroids [K, D] float32.

    With `pca` > 0 distances are taken in that many principal components. The centroids are returned in the original
    space: a frame's part outside the components adds the same to every distance there, so labels stay the same.
    UserError when there are fewer distinct frames than clusters.
    """
    frames = np.ascontiguousarray(frames, dtype=np.float32)
    if clusters < 1:
        raise UserError(f"{clusters} clusters asked for", hint="--clusters is at least 1")
    if len(np.unique(frames[: 50 * clusters], axis=0)) < clusters and len(np.unique(frames, axis=0)) < clusters:
        raise UserError(
            f"{len(frames)} frames are too few (or too alike) for {clusters} clusters",
            hint="give more audio or ask for fewer --clusters",
        )
    basis = _principal_axes(frames, pca) if pca else None
    if basis is not None:
        frames = np.ascontiguousarray(frames @ basis)
    rng = np.random.default_rng(seed)
    candidates = rng.choice(len(frames), min(len(frames), 50 * clusters), replace=False)
    centroids = _plus_plus(frames[candidates], clusters, rng)
    labels = None
    with Progress("k-means", total=iterations, unit="iterations") as progress:
        for _ in range(iterations):
            previous, labels = labels, nearest(frames, centroids)
            if previous is not None and np.array_equal(previous, labels):
                break
            centroids = _means(frames, labels, centroids)
            progress.advance()
    return centroids if basis is None else (centroids @ basis.T).astype(np.float32)


def _principal_axes(frames: np.ndarray, count: int) -> np.ndarray:
    """[D, count] float32, orthonormal, largest variance first, signs fixed."""
    if count > frames.shape[1]:
        raise UserError(f"{count} principal components of {frames.shape[1]} dimensions", hint="lower --pca")
    centred = frames - frames.mean(axis=0, dtype=np.float64).astype(np.float32)
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    axes = vectors[:, ::-1][:, :count]
    return (axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(count)])).astype(np.float32)


def _plus_plus(frames: np.ndarray, clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Greedy k-means++: starts drawn in proportion to their squared distance from the starts so far, a few at a time,
    of which the one that lowers the sum of distances most is kept."""
    starts = np.empty((clusters, frames.shape[1]), np.float32)
    starts[0] = frames[rng.integers(len(frames))]
    norms = (frames * frames).sum(axis=1)
    distance = ((frames - starts[0]) ** 2).sum(axis=1)
    trials = 2 + int(np.log(clusters))
    for k in range(1, clusters):
        cumulative = np.cumsum(distance, dtype=np.float64)
        picks = np.searchsorted(cumulative, rng.random(trials) * cumulative[-1], side="right")
        picks = np.minimum(picks, len(frames) - 1)
        shorter = norms[picks, None] - 2 * (frames[picks] @ frames.T) + norms
        np.minimum(np.maximum(shorter, 0, out=shorter), distance, out=shorter)
        best = shorter.sum(axis=1, dtype=np.float64).argmin()
        starts[k], distance = frames[picks[best]], shorter[best]
    return starts


def _means(frames: np.ndarray, labels: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Mean frame of each cluster; empty clusters move to the frames farthest from their centroids, one frame each."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=len(centroids))
    filled = np.flatnonzero(counts)
    starts = np.concatenate(([0], np.cumsum(counts[filled])[:-1]))
    sums = np.add.reduceat(frames[order], starts, axis=0, dtype=np.float64)
    new = centroids.copy()
    new[filled] = sums / counts[filled, None]
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        distance = ((frames - centroids[labels]) ** 2).sum(axis=1)
        new[empty] = frames[np.argsort(-distance, kind="stable")[: len(empty)]]
    return new


def save(path: str | Path, kmeans: KMeans) -> None:
    """Write the safetensors file; whole or not at all, same centroids and metadata give the same bytes.

    Written here and not by the safetensors library, whose order of metadata differs from run to run.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.ascontiguousarray(kmeans.centroids, dtype="<f4").tobytes()
    tensor = {"dtype": "F32", "shape": list(kmeans.centroids.shape), "data_offsets": [0, len(data)]}
    header = json.dumps({"__metadata__": dict(sorted(kmeans.metadata.items())), "centroids": tensor}).encode()
    header += b" " * (-len(header) % 8)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(len(header).to_bytes(8, "little") + header + data)
    os.replace(partial, path)


def load(path: str | Path) -> KMeans:
    """Read such a file; UserError when it is missing, is not safetensors, or holds no finite [K, D] float centroids."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    path = Path(path)
    hint = "make it with units_kmeans.py"
    try:
        data = path.read_bytes()
        centroids = from_bytes(data)["centroids"]
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such k-means", hint=hint) from e
    except (SafetensorError, KeyError, ValueError) as e:
        raise UserError(f"{path}: not a k-means in safetensors form: {e}", hint=hint) from e
    if centroids.ndim != 2 or not len(centroids) or centroids.dtype not in (np.float32, np.float64):
        found = f"{centroids.dtype} {list(centroids.shape)}"
        raise UserError(f"{path}: centroids are {found}, expected [K, D] floats", hint)
    if not np.isfinite(centroids).all():
        raise UserError(f"{path}: a centroid is not finite", hint)
    return KMeans(centroids, metadata)
