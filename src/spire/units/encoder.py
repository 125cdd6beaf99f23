"""What turns a waveform into the frame features that k-means labels: cepstra or an encoder's layer, one interface.

Guarantees of every encoder: features of an utterance depend on that utterance alone, bit for bit, however it is batched
and whatever stands before or after it; `stream` yields in input order; audio too short for a frame gives an empty
result (spirelm 13, defect 1). `mfcc` and `mfccctx` never import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spire.errors import UserError
from spire.units import mfcc
from spire.units.pooling import check_pooling, pool

RATE_HZ = 50.0
NORMALIZATIONS = ("none", "mean", "meanvar")
FINAL_NORMS = ("drop", "keep")


class _Labels(Protocol):
    def label(self, features: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class FinalNorm:
    """The layer norm that a transformer puts behind its last layer: weight and bias float32 [dim]."""

    weight: np.ndarray
    bias: np.ndarray
    eps: float

    def apply(self, features: np.ndarray) -> np.ndarray:
        """float32 [T, dim] to float32 [T, dim]."""
        centred = features - features.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1, keepdims=True)
        return centred / np.sqrt(variance + np.float32(self.eps)) * self.weight + self.bias


class Encoder:
    """Features of 16 kHz speech.

    Attributes: name ("mfcc", "hubert", "whisper", ...); digest (of the weights, "" without any); layer (0 without any);
    dim (of one frame); rate_hz (frames a second, after pooling); eps (of the normalization of the input; None without
    any). What the encoder computes then passes, in this order: the final norm of the whole model (`final_norm` "keep"
    or "drop"); smoothing (how often frames are averaged with their neighbours by 1/4, 1/2, 1/4: fewer units that last
    one frame only); pooling (`pooling_width` frames become one); normalization (of each dimension over the utterance).
    """

    name = ""
    digest = ""
    layer = 0
    dim = 0
    rate_hz = RATE_HZ
    eps: float | None = None
    final_norm = "drop"
    pooling = "none"
    pooling_width = 1
    _norm: FinalNorm | None = None

    def __init__(self, normalization: str = "none", smoothing: int = 0):
        if normalization not in NORMALIZATIONS:
            raise UserError(f"unknown normalization {normalization!r}", hint="one of " + ", ".join(NORMALIZATIONS))
        if smoothing < 0:
            raise UserError(f"smoothing {smoothing} is negative", hint="0 is none, 1 the usual amount")
        self.normalization = normalization
        self.smoothing = smoothing

    def set_pooling(self, pooling: str, width: int) -> None:
        """Pool from now on by `pooling` ("none", "mean", "max") over `width` frames; `rate_hz` follows."""
        check_pooling(pooling, width)
        self.rate_hz *= self.pooling_width / width
        self.pooling, self.pooling_width = pooling, width

    def set_final_norm(self, final_norm: str, norm: FinalNorm | None) -> None:
        """Apply `norm` from now on ("keep") or not ("drop"); UserError for "keep" where the model has none."""
        if final_norm not in FINAL_NORMS:
            raise UserError(f"unknown final norm {final_norm!r}", hint="--final-norm keep or drop")
        if final_norm == "keep" and norm is None:
            raise UserError(f"{self.name} has no final norm behind its layers", hint="leave out --final-norm keep")
        self.final_norm = final_norm
        self._norm = norm if final_norm == "keep" else None

    @property
    def plain(self) -> bool:
        """Whether `features` are what the encoder's layer gives, with nothing done to them: labels may be taken where
        they were computed."""
        passes = self._norm is not None or self.smoothing or self.pooling_width > 1
        return not passes and self.normalization == "none"

    def features(self, wav: np.ndarray) -> np.ndarray:
        """float32 [N] at 16 kHz to float32 [T, dim].

        Before pooling, T is 0 when N < 400, else floor((N - 80) / 320); w2v-BERT and Whisper say their own.
        """
        return next(self.stream([wav]))

    def stream(self, wavs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """`features` of each waveform, in input order; reads ahead as far as batching pays, never the whole input."""
        for raw in self._raw_stream(wavs):
            yield self.finish(raw)

    def label_stream(self, wavs: Iterable[np.ndarray], kmeans: _Labels) -> Iterator[np.ndarray]:
        """The labels int32 [T] of each waveform by `kmeans`, in input order."""
        for features in self.stream(wavs):
            yield kmeans.label(features)

    def finish(self, raw: np.ndarray) -> np.ndarray:
        """What comes after the encoder's layer: float32 [T, dim] of one utterance to its features."""
        if self._norm is not None:
            raw = self._norm.apply(raw)
        return _normalize(pool(_smooth(raw, self.smoothing), self.pooling, self.pooling_width), self.normalization)

    def _raw_stream(self, wavs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        raise NotImplementedError

    def metadata(self) -> dict[str, str]:
        """What a k-means must remember to be used with these features only."""
        known = {
            "encoder": self.name,
            "encoder_digest": self.digest,
            "layer": str(self.layer),
            "rate_hz": f"{self.rate_hz:g}",
            "final_norm": self.final_norm,
            "smoothing": str(self.smoothing),
            "pooling": self.pooling,
            "pooling_width": str(self.pooling_width),
            "normalization": self.normalization,
        }
        return known if self.eps is None else known | {"eps": f"{self.eps:g}"}


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
