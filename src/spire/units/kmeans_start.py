"""Where k-means starts: k-means++ by blocks, k-means||, or random frames; the same frames and seed, the same start.

k-means++ draws each start in proportion to its squared distance D^2 from the starts before it. Drawn one by one that is
K passes over the frames; here M candidates are drawn at once from the D^2 of the last update and gone through in order,
each kept with probability D^2 now / D^2 then. That is rejection sampling: what is kept has exactly the distribution of
k-means++, and the update of D^2 for all that were kept is one matrix product.
k-means|| (Bahmani et al., 2012) takes about K/2 frames in each of five rounds, weighs them by the frames they are
nearest to, and runs weighted k-means++ on those.
"""

from __future__ import annotations

import numpy as np
import torch

from spire.errors import UserError
from spire.progress import Progress
from spire.units.kmeans_scores import Scorer, add_sums

STARTS = ("k-means++", "k-means||", "random")
ROUNDS = 5  # of k-means||
MOST_CANDIDATES = 1024
SAME = 2e-6  # of |x|^2: float32 cannot tell a smaller squared distance from none


def start_centroids(frames: torch.Tensor, clusters: int, method: str, rng: np.random.Generator) -> torch.Tensor:
    """[K, D] of frames [n, D], both float32; UserError when there are fewer different frames than clusters."""
    if method not in STARTS:
        raise UserError(f"{method!r} is no start of k-means", hint="one of " + ", ".join(STARTS))
    if len(frames) < clusters:
        raise _too_few(len(frames), clusters)
    if method == "random":
        return frames[torch.from_numpy(rng.choice(len(frames), clusters, replace=False)).to(frames.device)].clone()
    if method == "k-means||":
        candidates, weights = _parallel_candidates(frames, clusters, rng)
        if len(candidates) > clusters:
            return candidates[_plus_plus(candidates, clusters, rng, weights)]
    return frames[_plus_plus(frames, clusters, rng)]


def _too_few(frames: int, clusters: int) -> UserError:
    reason = f"{frames} frames are too few (or too alike) for {clusters} clusters"
    return UserError(reason, hint="give more audio or ask for fewer --clusters")


def _plus_plus(
    frames: torch.Tensor,
    clusters: int,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
) -> torch.Tensor:
    """Indices [K] of the frames drawn, in the order drawn; `weights` [n] multiply the squared distances."""
    n = len(frames)
    first = int(rng.integers(n)) if weights is None else _draw(weights, 1, rng)[0]
    chosen = [int(first)]
    distance = np.full(n, np.inf)
    fresh = chosen
    with Progress("start", total=clusters, unit="clusters") as progress:
        while True:
            _lower(distance, frames, fresh)
            progress.advance(len(fresh))
            if len(chosen) == clusters:
                return torch.tensor(chosen, device=frames.device)
            mass = distance if weights is None else distance * weights
            if not mass.sum() > 0:
                raise _too_few(n, clusters)
            count = min(len(chosen), MOST_CANDIDATES, 2 * (clusters - len(chosen)))
            fresh = _kept(frames, _draw(mass, count, rng), distance, rng.random(count), clusters - len(chosen))
            chosen = chosen + fresh


def _draw(mass: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[count] indices drawn independently in proportion to `mass`, never one without mass."""
    cumulative = np.cumsum(mass, dtype=np.float64)
    picks = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    return np.minimum(picks, np.flatnonzero(mass)[-1])


def _kept(
    frames: torch.Tensor, candidates: np.ndarray, distance: np.ndarray, chances: np.ndarray, most: int
) -> list[int]:
    """The candidates that rejection keeps, at most `most`; the first always is one."""
    points = frames[torch.from_numpy(candidates).to(frames.device)]
    norms = points.square().sum(dim=1)
    between = (norms[:, None] + norms - 2 * (points @ points.t())).double().cpu().numpy()
    between[candidates[:, None] == candidates] = 0.0
    then = distance[candidates]
    now = then.copy()
    kept: list[int] = []
    for i in range(len(candidates)):
        if chances[i] * then[i] < now[i]:
            kept.append(int(candidates[i]))
            if len(kept) == most:
                break
            np.minimum(now, between[i], out=now)
    return kept


def _lower(distance: np.ndarray, frames: torch.Tensor, fresh: list[int]) -> None:
    """Squared distances [n] to the nearest start, after `fresh` frames became starts."""
    scorer = Scorer(frames[torch.tensor(fresh, device=frames.device)])
    for start in range(0, len(frames), scorer.rows):
        rows = frames[start : start + scorer.rows]
        best = scorer.scores(rows).amax(dim=1)
        norms = rows.square().sum(dim=1)
        squared = norms - 2 * best
        squared[squared <= SAME * norms] = 0.0
        squared = squared.double().cpu().numpy()
        part = distance[start : start + len(squared)]
        np.minimum(part, squared, out=part)
    distance[fresh] = 0.0


def _parallel_candidates(
    frames: torch.Tensor, clusters: int, rng: np.random.Generator
) -> tuple[torch.Tensor, np.ndarray]:
    """(frames drawn by the rounds of k-means|| [m, D], how many frames each is nearest to [m])."""
    n = len(frames)
    chosen = [int(rng.integers(n))]
    distance = np.full(n, np.inf)
    fresh = chosen
    for _ in range(ROUNDS):
        _lower(distance, frames, fresh)
        total = distance.sum()
        if not total > 0:
            break
        fresh = np.flatnonzero(rng.random(n) * total < distance * (clusters / 2)).tolist()
        chosen = chosen + fresh
        if not fresh:
            break
    candidates = frames[torch.tensor(chosen, device=frames.device)]
    counts = torch.zeros(len(chosen), dtype=torch.float64, device=frames.device)
    sums = torch.zeros(len(chosen), 1, device=frames.device)
    add_sums(sums, counts, frames[:, :1], Scorer(candidates).labels(frames), None)
    return candidates, counts.cpu().numpy()
