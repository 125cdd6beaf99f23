"""The scikit-learn reference: published settings, and none of the published code's defects."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from spire.errors import UserError  # noqa: E402
from spire.units import kmeans_sklearn  # noqa: E402
from spire.units.corpora import ArrayFrames, Corpora  # noqa: E402
from spire.units.kmeans_sklearn import fit_offline, fit_online, inertia_of, published  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def frames_of(rows=1500, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, 3)) @ rng.standard_normal((3, 10)) + 2).astype(np.float32)


def corpora_of(frames, **kwargs):
    return Corpora([ArrayFrames(frames)], **({"block": 10, "aside": 200} | kwargs))


def test_settings_are_the_published_ones():
    model = published(5000)
    wanted = dict(n_clusters=5000, init="k-means++", n_init="auto", batch_size=20_000, max_iter=100, tol=0.0)
    wanted |= dict(max_no_improvement=100, reassignment_ratio=0.01, compute_labels=False, random_state=42)
    assert {key: model.get_params()[key] for key in wanted} == wanted


def test_offline_and_online_fit_about_equally_well_and_repeat_themselves():
    frames = frames_of()
    offline = fit_offline(frames, 20, batch=200)
    online = fit_online(corpora_of(frames), 20, batch=200, most_frames=20_000)
    assert offline.centroids.dtype == np.float32 and offline.centroids.shape == online.centroids.shape == (20, 10)
    assert inertia_of(frames, online.centroids) < 1.2 * inertia_of(frames, offline.centroids)
    again = fit_online(corpora_of(frames), 20, batch=200, most_frames=20_000)
    assert np.array_equal(online.centroids, again.centroids)


def test_a_first_batch_below_k_frames_gathers_more():
    """Spec 13, defect 17."""
    result = fit_online(corpora_of(frames_of()), 50, batch=20, most_frames=400)
    assert result.centroids.shape == (50, 10) and result.frames >= 400


def test_a_corpus_below_a_batch_is_fitted_all_the_same():
    """Spec 13, defect 7: the published code dumps an unfitted model."""
    frames = frames_of(100)
    result = fit_online(corpora_of(frames, aside=0), 8, batch=20_000, most_frames=100)
    assert np.isfinite(result.centroids).all() and result.reason == f"{result.frames} frames seen"


def test_several_corpora_are_measured_in_one_finite_set(monkeypatch):
    """Spec 13, defect 7: several validation configurations never ended."""
    monkeypatch.setattr(kmeans_sklearn, "CHECK_EVERY", 5)
    corpora = Corpora([ArrayFrames(frames_of(seed=s)) for s in (0, 1)], [1, 3], 10, 200)
    result = fit_online(corpora, 10, batch=100, most_frames=100_000, patience=2)
    assert result.history and result.frames < 100_000
    assert "set aside" in result.reason or "moved by less" in result.reason
    assert result.inertia == min(entry["inertia"] for entry in result.history)


def test_too_few_frames():
    with pytest.raises(UserError, match="too few"):
        fit_online(corpora_of(frames_of(30), aside=0), 31)
    with pytest.raises(UserError, match="too few"):
        fit_offline(frames_of(30), 31)
