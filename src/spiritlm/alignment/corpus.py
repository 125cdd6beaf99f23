"""A transcribed corpus of any size: its utterances with texts, read line by line, and parts of it for jobs.

Order and cuts are those of `ManifestCorpus`: parts of about equal length, the same for every job. Only the lines of the
part are parsed, one at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from spire.datasets.corpus import Item, Reference
from spire.datasets.loader import Decoded, decoded
from spire.datasets.local import ManifestCorpus
from spire.datasets.shards import Shard
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


def heard(utterances: Iterable[Utterance], workers: int = 0) -> Iterator[tuple[Utterance, Decoded]]:
    """Each utterance with its samples, or the reason why it has none; `workers` processes decode ahead."""
    waiting: deque[Utterance] = deque()

    def items() -> Iterator[Item]:
        for u in utterances:
            waiting.append(u)
            yield Item(u.id, Reference(str(u.audio_path), u.start, u.duration, *u.stretch))

    with closing(decoded(items(), workers)) as source:
        for audio in source:
            yield waiting.popleft(), audio
