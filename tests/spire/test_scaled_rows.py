"""Rows of packed documents, and the loss over chunks."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import scaled_worker as worker  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from spire.training.data import batches  # noqa: E402
from spire.training.engine import KINDS  # noqa: E402
from spire.training.scaled.loss import ChunkedLoss  # noqa: E402
from spire.training.scaled.rows import pieces, targets_of, weight_of  # noqa: E402


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("rows_each", [1, 2])
def test_processes_share_a_batch(count, rows_each):
    batch = next(batches(worker.corpus(), 700, 1))
    shares = [list(pieces(batch, 64, rows_each, 0.3, KINDS, r, count)) for r in range(count)]
    assert len({len(share) for share in shares}) == 1
    found, keys, weight = [], [], 0.0
    for piece in sum(shares, []):
        assert len(piece.ids) == 64 * rows_each and piece.starts[0] == 0 and piece.starts[-1] == len(piece.ids)
        assert len(piece.targets) % 256 == 0 and not piece.weights[piece.count :].any()
        starts = np.flatnonzero(piece.positions == 0)
        assert piece.starts[:-1].tolist() == starts.tolist()
        found += piece.ids[piece.states[: piece.count] + 1].tolist()
        assert (piece.targets[: piece.count] == piece.ids[piece.states[: piece.count] + 1]).all()
        keys += piece.keys[: piece.count].tolist()
        weight += piece.weights.sum(dtype=np.float64)
    places = targets_of(batch)
    assert sorted(found) == sorted(batch.ids[places].tolist())
    assert sorted(keys) == sorted((batch.blocks[places].astype(int) * KINDS + batch.kinds[places]).tolist())
    assert weight == pytest.approx(1.0, abs=1e-5)


def test_units_weigh_what_was_asked():
    assert weight_of(np.array([1, 2, 1], np.uint8), 0.25).tolist() == [1.0, 0.25, 1.0]


@pytest.mark.parametrize("chunk", [3, 10, 100])
def test_chunks_change_nothing(chunk):
    draw = torch.Generator().manual_seed(1)
    h = torch.randn(10, 8, generator=draw, requires_grad=True)
    matrix = torch.randn(12, 8, generator=draw, requires_grad=True)
    targets, weights = torch.randint(12, (10,), generator=draw), torch.rand(10, generator=draw)
    loss, nll = ChunkedLoss.apply(h, matrix, targets, weights, chunk)
    wanted = F.cross_entropy(h @ matrix.t(), targets, reduction="none")
    assert torch.allclose(nll, wanted, atol=1e-6)
    ours = torch.autograd.grad(loss * 3, (h, matrix))
    theirs = torch.autograd.grad((wanted * weights).sum() * 3, (h, matrix))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))
