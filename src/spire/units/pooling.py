"""Fewer frames a second: mean or maximum of every `width` frames, without overlap.

The frames of an utterance alone decide: T frames give floor(T / width), an utterance shorter than the window none, and
what is left over at the end is dropped (spirelm 3.2; padding never reaches a window, spirelm 13, defects 1 and 2).
"""

from __future__ import annotations

import numpy as np

from spire.errors import UserError

POOLINGS = ("none", "mean", "max")


def check_pooling(pooling: str, width: int) -> None:
    """UserError for an unknown kind, a width below 1, or a width without a kind."""
    if pooling not in POOLINGS:
        raise UserError(f"unknown pooling {pooling!r}", hint="one of " + ", ".join(POOLINGS))
    if width < 1:
        raise UserError(f"pooling width {width} is not positive", hint="--pooling-width counts frames, 1 or more")
    if pooling == "none" and width > 1:
        raise UserError(f"pooling width {width} without a pooling", hint="add --pooling mean or --pooling max")


def pool(features: np.ndarray, pooling: str, width: int) -> np.ndarray:
    """float32 [T, D] to float32 [T // width, D]."""
    if pooling == "none" or width == 1:
        return features
    windows = len(features) // width
    grouped = features[: windows * width].reshape(windows, width, features.shape[1])
    return grouped.mean(axis=1) if pooling == "mean" else grouped.max(axis=1)
