"""A transcribed corpus of any size: its utterances with texts, read line by line, and parts of it for jobs.

Order and cuts are those of `ManifestCorpus`: parts of about equal length, the same for every job. Only the lines of the
part are parsed, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spire.audio import load_utterance
from spire.datasets.local import ManifestCorpus
from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.manifest import Utterance, parse_line
from spiritlm.alignment.words import numbered_lines


class Transcribed:
    """The part `shard` of the manifest `path`. Attributes: digest (of the list of utterances), first and last (row of
    the first utterance and behind the last), of (rows in all). UserError for a malformed line anywhere."""

    def __init__(self, path: str | Path, shard: Shard):
        corpus = ManifestCorpus(path)
        self.path, self.digest, self.of = Path(path), corpus.digest, corpus.pieces
        self.first, self.last = shard.cut(corpus.pieces, corpus.weights)

    def __len__(self) -> int:
        return self.last - self.first

    def utterances(self, skip: int = 0) -> Iterator[Utterance]:
        """Those of the part, without the first `skip`."""
        row = 0
        for number, line in numbered_lines(self.path):
            if row == self.last:
                return
            if line.strip():
                if row >= self.first + skip:
                    yield parse_line(line, self.path, number)
                row += 1


def samples_of(utterance: Utterance) -> tuple[np.ndarray, str]:
    """(float32 [N] at 16 kHz, ""), or (nothing, the reason) for audio that cannot be read."""
    try:
        return load_utterance(utterance), ""
    except (UserError, OSError) as e:
        return np.zeros(0, np.float32), getattr(e, "message", str(e))
