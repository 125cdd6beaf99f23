"""scikit-learn's MiniBatchKMeans with the published settings (spec 5): the reference of k-means for large corpora.

`fit_offline` is the published whole fit on an array, `fit_online` the published partial fits over shuffled batches. Of
the published code's defects (spec 13, 7 and 17) none remain: the last batch counts however small it is, the first
gathers as many frames as the start needs, batches are shuffled by the seed, several corpora are measured in one finite
set, and the hours are those of the frames that were seen.
"""

from __future__ import annotations

import numpy as np

from spire.errors import UserError
from spire.progress import Progress
from spire.units.corpora import Corpora
from spire.units.kmeans import Training, nearest

BATCH = 20_000
MOST_OFFLINE = 200_000_000  # frames
MOST_ONLINE = 180_000_000  # frames: 1000 hours
CHECK_EVERY = 100  # updates between looks at how far centroids moved, and at the frames set aside
SMALLEST_CHANGE = 1e-4  # of the centroids' length


def published(
    clusters: int, seed: int = 42, batch: int = BATCH, init: str | np.ndarray = "k-means++", passes: int = 100
):
    """The estimator with the published settings; UserError when scikit-learn is not installed."""
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as e:
        raise UserError("scikit-learn is not installed", hint="pip install scikit-learn, or --method torch") from e
    return MiniBatchKMeans(
        n_clusters=clusters,
        init=init,
        n_init="auto" if isinstance(init, str) else 1,
        batch_size=batch,
        max_iter=passes,
        tol=0.0,
        max_no_improvement=100,
        reassignment_ratio=0.01,
        compute_labels=False,
        random_state=seed,
    )


def fit_offline(frames: np.ndarray, clusters: int, seed: int = 42, batch: int = BATCH, passes: int = 100) -> Training:
    """One fit of [N, D] float32. UserError when there are fewer frames than clusters or too many."""
    _check(len(frames), clusters)
    if len(frames) > MOST_OFFLINE:
        raise UserError(f"{len(frames)} frames for one fit", hint=f"at most {MOST_OFFLINE}: use fewer --frames")
    model = published(clusters, seed, batch, passes=passes).fit(frames)
    reason = f"{model.n_steps_} updates"
    return Training(model.cluster_centers_.astype(np.float32), [], None, int(model.n_steps_) * batch, reason)


def fit_online(
    corpora: Corpora,
    clusters: int,
    seed: int = 42,
    batch: int = BATCH,
    most_frames: int = MOST_ONLINE,
    patience: int = 3,
) -> Training:
    """Partial fits over the corpora's batches until `most_frames` are seen, centroids stand still, or the inertia of
    frames set aside has not improved in `patience` checks. UserError when there are fewer frames than clusters."""
    _check(corpora.train_rows, clusters)
    model = published(clusters, seed, batch)
    held_out, weights = corpora.held_out()
    history: list[dict] = []
    seen, step, misses, reason = 0, 0, 0, ""
    best, best_inertia, previous = None, float("inf"), None
    with Progress("k-means", total=most_frames, unit="frames") as progress:
        while seen < most_frames and not reason:
            frames = corpora.batch(step, batch)
            step += 1
            while seen == 0 and len(frames) < clusters:
                frames = np.concatenate((frames, corpora.batch(step, batch)))
                step += 1
            model.partial_fit(frames)
            seen += len(frames)
            progress.advance(len(frames))
            if step % CHECK_EVERY and seen < most_frames:
                continue
            centroids = model.cluster_centers_.copy()
            if len(held_out):
                inertia = inertia_of(held_out, centroids, weights)
                history.append({"batches": step, "passes": 0, "frames": seen, "inertia": inertia})
                misses = 0 if inertia < best_inertia else misses + 1
                if inertia < best_inertia:
                    best, best_inertia = centroids, inertia
                if misses >= patience:
                    reason = f"inertia of frames set aside has not improved in {patience} checks"
            if previous is not None and not reason:
                change = np.linalg.norm(centroids - previous) / np.linalg.norm(previous)
                if change < SMALLEST_CHANGE:
                    reason = f"centroids moved by less than {SMALLEST_CHANGE:g} of their length"
            previous = centroids
    centroids = best if best is not None else model.cluster_centers_
    return Training(
        centroids.astype(np.float32), history, best_inertia if history else None, seen, reason or f"{seen} frames seen"
    )


def inertia_of(frames: np.ndarray, centroids: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean squared distance of [N, D] to the nearest centroid; `weights` [N] add up to 1."""
    distances = np.empty(len(frames))
    for start in range(0, len(frames), 4096):
        part = frames[start : start + 4096]
        distances[start : start + len(part)] = ((part - centroids[nearest(part, centroids)]) ** 2).sum(axis=1)
    return float(distances.mean() if weights is None else (distances * weights).sum())


def _check(frames: int, clusters: int) -> None:
    if frames < clusters:
        reason = f"{frames} frames are too few for {clusters} clusters"
        raise UserError(reason, hint="give more audio or ask for fewer --clusters")
