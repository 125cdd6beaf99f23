"""A corpus: utterances in a fixed order, known before any audio is opened.

What every kind of corpus guarantees: the order is the same on each machine and in each run; `digest` changes when the
list of utterances does; any stretch can be read without what stands before it; audio stays closed until it is decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from spire.audio import RATE, audio_seconds, read_audio, read_audio_bytes, read_stretch
from spire.errors import UserError


@dataclass(frozen=True, slots=True)
class Reference:
    """Where the samples of one utterance are: a file, a stretch of bytes in an archive, or the bytes themselves.

    `path` names the file, and stands for the bytes in messages; `start` and `duration` are seconds in the audio;
    `size` is given for a member of an archive, which is the bytes from `offset` on; `data` wins over both.
    """

    path: str
    start: float = 0.0
    duration: float | None = None
    offset: int = 0
    size: int | None = None
    data: bytes | None = None

    def samples(self) -> np.ndarray:
        """float32 [N] at 16 kHz; UserError with the reason when it cannot be had."""
        content = self._content()
        if content is None:
            return read_audio(self.path, self.start, self.duration, RATE)
        return read_audio_bytes(content, self.path, self.start, self.duration, RATE)

    def decoded(self) -> np.ndarray | str:
        """The samples, or the reason why they cannot be had; raises nothing that a file can cause."""
        try:
            return self.samples()
        except UserError as e:
            return e.message
        except Exception as e:  # whatever else a decoder raises is this file's fault, and must not end the corpus
            return f"{self.path}: {type(e).__name__}: {e}"

    def seconds(self) -> float:
        """Length by the header alone; UserError when there is no audio."""
        if self.duration is not None:
            return self.duration
        content = self._content()
        return max(audio_seconds(self.path if content is None else content, self.path) - self.start, 0.0)

    def _content(self) -> bytes | None:
        if self.data is not None or self.size is None:
            return self.data
        return read_stretch(self.path, self.offset, self.size)


@dataclass(frozen=True, slots=True)
class Item:
    """One utterance: its `id` for messages (not necessarily unique), its audio, and its share of the corpus's
    `weights`. `reference` is None when the corpus has no audio for it, which `problem` then explains."""

    id: str
    reference: Reference | None
    weight: float = 1.0
    problem: str = ""


class Corpus:
    """Base of all kinds.

    Attributes: digest (of the list of utterances); pieces (how many parts it can be cut into); single (whether each
    piece is one utterance, and not an archive of them); weights ([pieces] float64 in any one measure of length, or None
    when it is not known); lengths ([utterances] float64 seconds where the corpus's own table says them, or None).
    """

    digest = ""
    pieces = 0
    single = True
    weights: np.ndarray | None = None
    lengths: np.ndarray | None = None

    def items(self, first: int, last: int, skip: int = 0) -> Iterator[Item]:
        """The utterances of the pieces first..last-1 in order, without the first `skip` of these utterances."""
        raise NotImplementedError

    def total(self, first: int, last: int) -> float:
        """Sum of the weights of these pieces, 1 for each where they are not known."""
        return float(last - first) if self.weights is None else float(self.weights[first:last].sum())


def digest_of(parts: Iterable[str | bytes]) -> str:
    """16 hexadecimal digits of the parts, kept apart by their lengths."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]
