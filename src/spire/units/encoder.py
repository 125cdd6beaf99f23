"""What turns a waveform into the frame features that k-means labels: cepstra or a HuBERT layer, behind one interface.

Guarantees of every encoder: features of an utterance depend on that utterance alone, bit for bit, however it is batched
and whatever stands before or after it; `stream` yields in input order. `mfcc` and `mfccctx` never import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from spire.errors import UserError
from spire.units import mfcc

RATE_HZ = 50.0
NORMALIZATIONS = ("none", "mean", "meanvar")


class Encoder:
    """Features of 16 kHz speech.

    Attributes: name ("mfcc", "mfccctx", "hubert"); digest (of the weights, "" without any); layer (0 without any);
    dim (of one frame); rate_hz (frames a second); smoothing (how often frames are averaged with their neighbours by
    1/4, 1/2, 1/4: fewer units that last one frame only); normalization (of each dimension over the utterance, last).
    """

    name = ""
    digest = ""
    layer = 0
    dim = 0
    rate_hz = RATE_HZ

    def __init__(self, normalization: str = "none", smoothing: int = 0):
        if normalization not in NORMALIZATIONS:
            raise UserError(f"unknown normalization {normalization!r}", hint="one of " + ", ".join(NORMALIZATIONS))
        if smoothing < 0:
            raise UserError(f"smoothing {smoothing} is negative", hint="0 is none, 1 the usual amount")
        self.normalization = normalization
        self.smoothing = smoothing

    def features(self, wav: np.ndarray) -> np.ndarray:
        """float32 [N] at 16 kHz to float32 [T, dim]; T is 0 when N < 400, else floor((N - 80) / 320)."""
        return next(self.stream([wav]))

    def stream(self, wavs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """`features` of each waveform, in input order; reads ahead as far as batching pays, never the whole input."""
        for raw in self._raw_stream(wavs):
            yield _normalize(_smooth(raw, self.smoothing), self.normalization)

    def _raw_stream(self, wavs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        raise NotImplementedError

    def metadata(self) -> dict[str, str]:
        """What a k-means must remember to be used with these features only."""
        return {
            "encoder": self.name,
            "encoder_digest": self.digest,
            "layer": str(self.layer),
            "rate_hz": f"{self.rate_hz:g}",
            "smoothing": str(self.smoothing),
            "normalization": self.normalization,
        }


class MfccEncoder(Encoder):
    """Cepstra with slopes (39 dimensions), or cepstra with three neighbours on each side (`context`, 91)."""

    def __init__(self, context: bool = False, normalization: str = "none", smoothing: int = 0):
        super().__init__(normalization, smoothing)
        self.name = "mfccctx" if context else "mfcc"
        self._function = mfcc.context_features if context else mfcc.mfcc_features
        self.dim = mfcc.CEPSTRA * (2 * mfcc.CONTEXT + 1 if context else 3)

    def _raw_stream(self, wavs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        return map(self._function, wavs)


def _smooth(features: np.ndarray, passes: int) -> np.ndarray:
    for _ in range(passes if len(features) else 0):
        padded = np.pad(features, ((1, 1), (0, 0)), mode="edge")
        features = 0.25 * (padded[:-2] + padded[2:]) + 0.5 * padded[1:-1]
    return features


def _normalize(features: np.ndarray, normalization: str) -> np.ndarray:
    if normalization == "none" or not len(features):
        return features
    if normalization == "mean":
        return (features - features.mean(axis=0, dtype=np.float64)).astype(np.float32)
    return mfcc.normalize(features)
