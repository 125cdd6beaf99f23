"""Where k-means starts: greedy k-means++, k-means||, or random frames; the same frames and seed, the same start.

Greedy k-means++ draws a few candidates for each start in proportion to their squared distance D^2 from the starts
before, and keeps the one that lowers the sum of D^2 most (scikit-learn's choice of k-means++ too). Done one start at a
time that is K thin products with all frames. Here candidates for many starts are drawn at once from the D^2 of that
moment, their distances to all frames are one matrix product, and going through them in order each is let through with
probability D^2 now / D^2 then. That is rejection sampling: those let through have exactly the distribution wanted.
k-means|| (Bahmani et al., 2012) takes about K/2 frames in each of five rounds, weighs them by the frames they are
nearest to, and runs weighted k-means++ on those: fewer passes, when the frames are many times the clusters.
"""

from __future__ import annotations

import numpy as np
import torch

from spire.errors import UserError
from spire.progress import Progress
from spire.units.kmeans_scores import Product, Scorer, add_sums

STARTS = ("k-means++", "k-means||", "random")
ROUNDS = 5  # of k-means||
MOST_DISTANCES = 1 << 25  # held at once between candidates and frames (128 MiB)
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
    trials: int | None = None,
) -> torch.Tensor:
    """Indices [K] of the frames chosen, in order; `weights` [n] multiply D^2; `trials` candidates compete for each."""
    n, device = len(frames), frames.device
    trials = trials or 2 + int(np.log(clusters))
    weight = torch.ones(n, device=device) if weights is None else torch.from_numpy(weights).float().to(device)
    norms = frames.square().sum(dim=1)
    product = Product(frames, norms / -2)
    first = int(rng.integers(n)) if weights is None else int(_draw(weights, 1, rng)[0])
    chosen = [first]
    distance = _squared(frames, norms, product, np.array(chosen))[0]
    carried: list[int] = []
    most = max(2 * trials, MOST_DISTANCES // n)
    with Progress("start", total=clusters, unit="clusters") as progress:
        while len(chosen) < clusters:
            mass = (distance.double() * weight).cpu().numpy()
            if not mass.sum() > 0:
                raise _too_few(n, clusters)
            # For about a quarter more starts: with more, many would be turned away.
            count = min(trials * (1 + min(len(chosen) // 4, clusters - len(chosen))), most)
            candidates = np.concatenate((np.array(carried, np.int64), _draw(mass, count, rng)))
            chances = np.concatenate((np.zeros(len(carried)), rng.random(count)))
            between = _squared(frames, norms, product, candidates)
            fresh, distance, carried = _through(between, distance, weight, candidates, chances, trials)
            chosen += fresh[: clusters - len(chosen)]
            progress.advance(len(fresh))
    return torch.tensor(chosen, device=device)


def _draw(mass: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[count] indices drawn independently in proportion to `mass`, never one without mass."""
    cumulative = np.cumsum(mass, dtype=np.float64)
    picks = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    return np.minimum(picks, np.flatnonzero(mass)[-1])


def _squared(frames: torch.Tensor, norms: torch.Tensor, product: Product, candidates: np.ndarray) -> torch.Tensor:
    """Squared distances of candidates to all frames, [candidates, n]; 0 where float32 cannot tell them apart."""
    index = torch.from_numpy(candidates).to(frames.device)
    squared = product(frames[index]).mul_(-2).add_(norms[index][:, None])
    squared.masked_fill_(squared <= SAME * norms, 0.0)
    squared[torch.arange(len(index), device=frames.device), index] = 0.0
    return squared


def _through(
    between: torch.Tensor,
    distance: torch.Tensor,
    weight: torch.Tensor,
    candidates: np.ndarray,
    chances: np.ndarray,
    trials: int,
) -> tuple[list[int], torch.Tensor, list[int]]:
    """(starts chosen, D^2 after them [n], candidates let through that still wait for competitors).

    `between` [candidates, n] are squared distances; the candidates were drawn from `distance` [n], D^2 as it is now.
    """
    index = torch.from_numpy(candidates).to(distance.device)
    then = distance[index].double().cpu().numpy()
    now = then.copy()
    chosen: list[int] = []
    waiting: list[int] = []
    for i in range(len(candidates)):
        if not chances[i] * then[i] < now[i]:
            continue
        waiting.append(i)
        if len(waiting) < trials:
            continue
        after = torch.minimum(between[waiting], distance)
        best = int((after @ weight).argmin()) if trials > 1 else 0
        distance = after[best]
        chosen.append(int(candidates[waiting[best]]))
        now = np.minimum(now, between[waiting[best]][index].double().cpu().numpy())
        waiting = []
    return chosen, distance, [int(candidates[i]) for i in waiting]


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
