"""Utterances of a manifest as samples, decoded ahead by processes; one that cannot be read is empty, with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice

from spire.datasets.corpus import Item, Reference
from spire.datasets.loader import Decoded, decoded
from spire.manifest import Utterance


def waveforms(utterances: Iterable[Utterance], workers: int = 0) -> Iterator[Decoded]:
    """One each, in order, the same for any number of `workers` (0: decoded here)."""
    items = (Item(u.id, Reference(str(u.audio_path), u.start, u.duration, *u.stretch)) for u in utterances)
    with closing(decoded(items, workers)) as source:
        yield from source


def grouped(source: Iterator[Decoded], size: int) -> Iterator[list[Decoded]]:
    """Successive lists of `size`, the last one shorter."""
    while group := list(islice(source, size)):
        yield group
