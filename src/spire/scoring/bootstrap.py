"""Percentile bootstrap over sentences, for any metric that is a formula over summed per-sentence statistics.

The resampled corpora are never built. Resample r draws n sentences with replacement; its statistics are the sum of the
drawn rows, so all resamples together are one product of integers: counts [resamples, n] @ statistics [n, k]. Sums stay
below 2**53, so the product is exact in float64 and does not depend on the order in which a BLAS adds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RESAMPLES = 1000
LEVEL = 95


@dataclass(frozen=True)
class Interval:
    """The central `LEVEL` % of the resampled values, in the metric's unit; always contains the corpus value.

    Attributes:
        low, high: ends of the interval.
    """

    low: float
    high: float


def resampling_indices(n: int, resamples: int = RESAMPLES, seed: int = 1) -> np.ndarray:
    """Sentence indices of every resample: int64 [resamples, n], the same for the same arguments.

    Metrics and models scored on equally many sentences with one seed therefore share their resamples.
    """
    return np.random.default_rng(seed).integers(0, n, size=(resamples, n), dtype=np.int64)


@lru_cache(maxsize=8)
def resampling_counts(n: int, resamples: int = RESAMPLES, seed: int = 1) -> np.ndarray:
    """How often each resample draws each sentence: float64 [resamples, n], rows sum to n."""
    indices = resampling_indices(n, resamples, seed)
    flat = indices + np.arange(resamples, dtype=np.int64)[:, None] * n
    counts = np.bincount(flat.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)
    counts.setflags(write=False)
    return counts


def resampled_values(
    statistics: np.ndarray, formula: Callable[[np.ndarray], np.ndarray], resamples: int = RESAMPLES, seed: int = 1
) -> np.ndarray:
    """The metric on every resample: float64 [resamples].

    statistics: integers [n, k], one row a sentence; formula: summed statistics [r, k] to values [r].
    """
    counts = resampling_counts(len(statistics), resamples, seed)
    return formula(counts @ statistics.astype(np.float64))


def interval(
    statistics: np.ndarray,
    formula: Callable[[np.ndarray], np.ndarray],
    value: float,
    resamples: int = RESAMPLES,
    seed: int = 1,
) -> Interval:
    """The percentile interval around `value`, widened to contain it.

    With a handful of sentences smoothing can push the corpus value itself out of the percentiles; an interval that
    excludes its own estimate would be read as an error.
    """
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(resampled_values(statistics, formula, resamples, seed), [tail, 100 - tail])
    return Interval(min(float(low), value), max(float(high), value))
