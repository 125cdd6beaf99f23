"""How far one pitch contour is from another: f0 frame error and root mean square error in cents (papers 2.6, table 9).

Counts of each utterance are kept, so that means, intervals and paired tests can be made of them without the contours.
A frame is wrong when its voicing is, or when both contours are voiced and the tested f0 is more than 20 % off: the f0
frame error of Chu and Alwan (2009), the sum of their voicing decision error and gross pitch error over all frames.
Contours are compared frame by frame; where one ends earlier, it is unvoiced from there on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

GROSS = 0.2  # part of the reference's f0
CENTS = 1200 / math.log(2)
Contour = tuple[np.ndarray, np.ndarray]  # f0 in Hz [T], voicing (0 or 1) [T]


@dataclass(frozen=True)
class PitchErrors:
    """Counts of one utterance, or sums of several: frames; frames whose voicing differs; frames voiced in both; gross
    ones among these; the sum over the voiced ones of squared deviations in cents, and over those that are not gross."""

    frames: int = 0
    voicing: int = 0
    both: int = 0
    gross: int = 0
    square_cents: float = 0.0
    fine_square_cents: float = 0.0

    def __add__(self, other: PitchErrors) -> PitchErrors:
        names = self.__dataclass_fields__
        return PitchErrors(*(getattr(self, name) + getattr(other, name) for name in names))

    @property
    def frame_error(self) -> float:
        """Share of wrong frames, 0 to 1; 0 without frames."""
        return (self.voicing + self.gross) / self.frames if self.frames else 0.0

    @property
    def voicing_error(self) -> float:
        """Share of frames whose voicing is wrong."""
        return self.voicing / self.frames if self.frames else 0.0

    @property
    def gross_error(self) -> float:
        """Share of gross errors among the frames voiced in both; 0 where there are none."""
        return self.gross / self.both if self.both else 0.0

    @property
    def cents(self) -> float:
        """Root mean square deviation in cents over the frames voiced in both; nan where there are none."""
        return math.sqrt(self.square_cents / self.both) if self.both else math.nan

    @property
    def fine_cents(self) -> float:
        """The same over those that are no gross errors."""
        fine = self.both - self.gross
        return math.sqrt(self.fine_square_cents / fine) if fine else math.nan


def pitch_errors(reference: Contour, tested: Contour) -> PitchErrors:
    """The errors of `tested` against `reference`; f0 of unvoiced frames is not looked at. ValueError: a contour whose
    f0 and voicing have different lengths, or a voiced frame whose f0 is not positive."""
    frames = max(len(reference[1]), len(tested[1]))
    (f0, voiced), (other, other_voiced) = (_padded(*contour, frames) for contour in (reference, tested))
    both = voiced & other_voiced
    ratio = other[both] / f0[both]
    gross = np.abs(ratio - 1) > GROSS
    square = (CENTS * np.log(ratio)) ** 2
    return PitchErrors(
        frames=frames,
        voicing=int((voiced != other_voiced).sum()),
        both=int(both.sum()),
        gross=int(gross.sum()),
        square_cents=float(square.sum()),
        fine_square_cents=float(square[~gross].sum()),
    )


def total(errors: Iterable[PitchErrors]) -> PitchErrors:
    """The sums over utterances: long ones count for more."""
    return sum(errors, PitchErrors())


def _padded(f0: np.ndarray, voicing: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    if np.shape(f0) != np.shape(voicing) or np.ndim(f0) != 1:
        raise ValueError(f"f0 of shape {np.shape(f0)} with voicing of shape {np.shape(voicing)}")
    missing = frames - len(f0)
    f0 = np.pad(np.asarray(f0, np.float64), (0, missing))
    voiced = np.pad(np.asarray(voicing) > 0, (0, missing))
    if (f0[voiced] <= 0).any():
        raise ValueError("voiced frames without a positive f0")
    return f0, voiced
