"""Forced alignment is exact: against all paths of tiny cases, against other ways to compute it, in any batch."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritlm.alignment.viterbi import BLANK, best_paths, needed_frames

BLANK_CLASS = 0
QUICK = settings(max_examples=60, deadline=None, derandomize=True)


def collapsed(classes):
    return [c for i, c in enumerate(classes) if c != BLANK_CLASS and (i == 0 or classes[i - 1] != c)]


def best_by_force(probs, labels):
    """The greatest sum over all sequences of classes that collapse to `labels`; -inf without one."""
    frames, classes = probs.shape
    totals = [
        sum(float(probs[t, c]) for t, c in enumerate(path))
        for path in itertools.product(range(classes), repeat=frames)
        if collapsed(path) == list(labels)
    ]
    return max(totals, default=-np.inf)


def check_path(path, probs, labels):
    """The path says the labels in order, and its score is the sum along it."""
    said = [labels[i] if i != BLANK else BLANK_CLASS for i in path.labels]
    assert collapsed(said) == list(labels)
    spoken = path.labels[path.labels != BLANK]
    assert (np.diff(spoken) >= 0).all() and set(spoken) == set(range(len(labels)))
    assert path.score == pytest.approx(sum(float(probs[t, c]) for t, c in enumerate(said)))


@st.composite
def cases(draw, frames=6, classes=3, labels=3):
    """(log-probabilities [T, C], labels), with ties and impossible classes."""
    t = draw(st.integers(1, frames))
    values = st.sampled_from([-np.inf, -3.0, -1.0, -0.5, 0.0]) | st.floats(-9, 0, width=32)
    rows = draw(st.lists(st.lists(values, min_size=classes, max_size=classes), min_size=t, max_size=t))
    return np.array(rows, np.float32), draw(st.lists(st.integers(1, classes - 1), max_size=labels))


@QUICK
@given(cases())
def test_the_best_of_all_paths(case):
    probs, labels = case
    (path,) = best_paths([probs], [labels], BLANK_CLASS)
    wanted = best_by_force(probs, labels)
    if wanted == -np.inf:
        assert path is None
    else:
        assert path.score == pytest.approx(wanted, abs=1e-6)
        check_path(path, probs, labels)


@QUICK
@given(st.lists(cases(frames=12, classes=4, labels=6), min_size=1, max_size=5))
def test_neither_neighbours_nor_memory_matter(several):
    probs, labels = [p for p, _ in several], [row for _, row in several]
    alone = [best_paths([p], [row], BLANK_CLASS)[0] for p, row in several]
    for limit in (1, 1 << 26):
        for one, other in zip(alone, best_paths(probs, labels, BLANK_CLASS, limit), strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert np.array_equal(one.labels, other.labels) and one.score == other.score


def test_long_audio_is_the_same_in_little_memory():
    rng = np.random.default_rng(1)
    probs = rng.standard_normal((2000, 8)).astype(np.float32)
    labels = rng.integers(1, 8, 600).tolist()
    whole = best_paths([probs], [labels], BLANK_CLASS)[0]
    tracemalloc.start()
    blocks = best_paths([probs], [labels], BLANK_CLASS, limit=1 << 19)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(whole.labels, blocks.labels) and whole.score == blocks.score
    check_path(blocks, probs, labels)
    assert peak < 1_600_000 < 2000 * 1201  # bytes; a pointer for every state and frame is 2.4 MB


def test_ties_are_decided_the_same_way():
    flat = np.zeros((5, 3), np.float32)
    assert best_paths([flat], [[1, 2]], 0)[0].labels.tolist() == [0, 1, 1, 1, 1]
    assert best_paths([flat], [[1, 1]], 0)[0].labels.tolist() == [0, BLANK, 1, 1, 1]
    assert best_paths([flat], [[]], 0)[0].labels.tolist() == [BLANK] * 5


def test_what_does_not_fit_has_no_path():
    flat = np.zeros((3, 3), np.float32)
    assert needed_frames([1, 1, 2]) == 4
    assert best_paths([flat, flat[:0], flat], [[1, 1, 2], [1], [1, 2]], 0)[:2] == [None, None]
    with pytest.raises(ValueError, match="not the blank"):
        best_paths([flat], [[0]], 0)
    with pytest.raises(ValueError, match="classes of 3"):
        best_paths([flat], [[3]], 0)


def test_agrees_with_the_ctc_loss_of_pytorch():
    """The best path is one of those whose sum the loss is; where all others are impossible, it is the sum."""
    import torch

    rng = np.random.default_rng(2)
    probs = torch.log_softmax(torch.from_numpy(rng.standard_normal((9, 4)).astype(np.float32)), 1)
    labels = [1, 2, 2, 3]
    path = best_paths([probs.numpy()], [labels], 0)[0]
    args = (torch.tensor([labels]), torch.tensor([9]), torch.tensor([4]))
    loss = torch.nn.functional.ctc_loss(probs[:, None], *args, reduction="none")
    assert path.score < -loss.item()
    said = torch.tensor([labels[i] if i >= 0 else 0 for i in path.labels])
    only = torch.full((9, 1, 4), -torch.inf).scatter(2, said[:, None, None], probs.gather(1, said[:, None])[:, None])
    loss = torch.nn.functional.ctc_loss(only, *args, reduction="none")
    assert path.score == pytest.approx(-loss.item(), rel=1e-5)
