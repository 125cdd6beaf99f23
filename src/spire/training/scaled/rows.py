"""The rows of an update dealt out to processes, in pieces that one can compute at a time.

Guarantees: every document of the update is in exactly one row, whole, and sees only itself there; the rows depend on
the documents and the length alone, so any number of processes trains on the same ones; every process gets the same
number of rows, which FSDP's common steps need. Rows are those that the source packed, or are packed here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spire.tokens.rows import pack
from spire.tokens.stream import PackedBatch
from spire.training.data import NO_LOSS, UNIT_LOSS, Batch

# The number of targets in a piece is rounded up with targets of weight 0, so that few shapes occur.
_MULTIPLE = 256


@dataclass(frozen=True)
class Piece:
    """What one process computes at a time: rows laid end to end.

    Attributes: ids, positions [n] int64 (positions from 0 in each document); starts [documents + 1] int32 (where
    documents begin, and n; the filler at the end of a row counts as one); states [m] int64 (the places whose states
    predict), targets [m] int64, weights [m] float32 (0 for filling up m), keys [m] int64 (block * KINDS + kind), count
    (the first so many of the m are real).
    """

    ids: np.ndarray
    positions: np.ndarray
    starts: np.ndarray
    states: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    keys: np.ndarray
    count: int


def weight_of(kinds: np.ndarray, unit_weight: float) -> np.ndarray:
    """Loss weights [n] float32 of targets: units have `unit_weight`, text has 1."""
    return np.where(kinds == UNIT_LOSS, unit_weight, 1.0).astype(np.float32)


def targets_of(batch: Batch) -> np.ndarray:
    """Places [m] of the tokens that carry loss: a document's first token never does."""
    return np.flatnonzero((batch.kinds != NO_LOSS) & (batch.positions > 0))


def pieces(batch: Batch, length: int, rows_each: int, unit_weight: float, kinds: int, rank: int, count: int):
    """Yield process `rank`'s share of `batch` as Pieces of `rows_each` rows of `length` tokens."""
    places = targets_of(batch)
    total = max(float(weight_of(batch.kinds[places], unit_weight).sum(dtype=np.float64)), 1e-6)
    starts = np.asarray(batch.starts)
    rows = batch.rows if isinstance(batch, PackedBatch) else pack(np.diff(starts).tolist(), length)
    # All processes have as many rows; the last ones may be empty.
    share = -(-len(rows) // (count * rows_each)) * rows_each
    rows += [[] for _ in range(share * count - len(rows))]
    mine = rows[rank::count]
    for first in range(0, share, rows_each):
        yield _piece(batch, starts, mine[first : first + rows_each], length, unit_weight, total, kinds)


def _piece(batch: Batch, starts, rows, length: int, unit_weight: float, total: float, kinds: int) -> Piece:
    ids = np.zeros(length * len(rows), np.int64)
    positions, kind, block = np.zeros_like(ids), np.zeros(len(ids), np.uint8), np.zeros(len(ids), np.int64)
    begins = []
    for row, documents in enumerate(rows):
        at = row * length
        for document in documents:
            a, b = starts[document], starts[document + 1]
            begins.append(at)
            for into, source in ((ids, batch.ids), (positions, batch.positions), (kind, batch.kinds)):
                into[at : at + b - a] = source[a:b]
            block[at : at + b - a] = batch.blocks[a:b]
            at += b - a
        if at < (row + 1) * length:
            begins.append(at)
            positions[at : (row + 1) * length] = np.arange((row + 1) * length - at)
    places = np.flatnonzero((kind != NO_LOSS) & (positions > 0))
    n = len(places)
    spare = -n % _MULTIPLE or (0 if n else _MULTIPLE)
    weights = np.zeros(n + spare, np.float32)
    weights[:n] = weight_of(kind[places], unit_weight) / total
    keys = np.zeros(n + spare, np.int64)
    keys[:n] = block[places] * kinds + kind[places]
    places = np.concatenate((places, np.ones(spare, np.int64)))
    return Piece(ids, positions, np.asarray([*begins, len(ids)], np.int32), places - 1, ids[places], weights, keys, n)
