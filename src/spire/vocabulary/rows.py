"""New embedding rows: draws around the mean of the old ones, the published initialization.

Guarantees: N(mu, scale * Sigma) with mu and Sigma the mean and population covariance of the old rows, in float64 (spec:
SpireLM 10); the old rows are read in blocks of BLOCK, twice, so memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from spire.errors import UserError

# SpireLM's "mean", and what the library's own resize does.
SCALES = {"mean": 1e-5, "default": 1e-9}
BLOCK = 4096  # rows


def moments(blocks: Callable[[], Iterable[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """(mean [d], population covariance [d, d]), float64, of the rows of all blocks [n, d] float64; `blocks` is called
    twice. UserError when a number is not finite."""
    count, total = 0, 0.0
    for block in blocks():
        if not np.isfinite(block).all():
            raise UserError("the embeddings hold NaN or infinite values", hint="the base model's training went wrong")
        count, total = count + len(block), total + block.sum(axis=0)
    mean = total / count
    products: np.ndarray | float = 0.0
    for block in blocks():
        centered = block - mean
        products = products + centered.T @ centered
    return mean, products / count


def draw(mean: np.ndarray, covariance: np.ndarray, count: int, rng: np.random.Generator, scale: float) -> np.ndarray:
    """`count` draws [count, d] float64 from N(mean, scale * covariance).

    The covariance is singular when there were no more rows than dimensions or the weights were rounded; the least
    jitter on its diagonal (relative to its mean, from 1e-10 upward) that lets the Cholesky factor exist is added.
    """
    jitter = 1e-10
    base = float(np.trace(covariance)) / len(covariance) or 1.0
    while True:
        try:
            loaded = covariance.copy()
            loaded.flat[:: len(covariance) + 1] += jitter * base
            factor = np.linalg.cholesky(loaded)
            break
        except np.linalg.LinAlgError:
            jitter *= 10
    return mean + np.sqrt(scale) * (rng.standard_normal((count, len(mean))) @ factor.T)


def sample_rows(old: np.ndarray, count: int, rng: np.random.Generator, scale: float = SCALES["mean"]) -> np.ndarray:
    """`draw` from the moments of the rows of `old` [n, d] float64, in memory."""
    return draw(*moments(lambda: [old]), count, rng, scale)
