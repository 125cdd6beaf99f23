"""k-means with torch: quality, exact resumption, independence of splits, empty clusters, weights over corpora."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from spire.errors import UserError  # noqa: E402
from spire.units import kmeans, kmeans_start, kmeans_torch  # noqa: E402
from spire.units.corpora import ArrayFrames, Corpora  # noqa: E402
from spire.units.kmeans_scores import Scorer, add_segments, add_sums, open_device  # noqa: E402
from spire.units.kmeans_start import start_centroids  # noqa: E402
from spire.units.kmeans_torch import Settings, train  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def speech_like(rows=3000, dim=12, seed=0, offset=3.0):
    """Correlated dimensions with an offset: what centring is for."""
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((rows, 4)) @ np.random.default_rng(9).standard_normal((4, dim)) * 2
    return (low + 0.3 * rng.standard_normal((rows, dim)) + offset).astype(np.float32)


def blobs(k=12, n=60, d=6, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((k, d)) * 30
    frames = (centres[:, None] + rng.standard_normal((k, n, d))).reshape(-1, d).astype(np.float32)
    return frames[rng.permutation(len(frames))], centres


class Pieces(ArrayFrames):
    """The same rows as several shards: a read is put together from parts."""

    def __init__(self, array, cuts):
        super().__init__(array, "same")
        self.shards = np.split(self.array, sorted(cuts))

    def read(self, start, stop):
        ends = np.cumsum([len(s) for s in self.shards])
        return np.concatenate(
            [
                s[max(start - (end - len(s)), 0) : max(stop - (end - len(s)), 0)]
                for s, end in zip(self.shards, ends, strict=True)
            ]
        )


PLANS = {
    "batches": dict(batches=25, passes=0),
    "lloyd": dict(batches=0, passes=6),
    "both": dict(batches=12, passes=3),
}


def plan(name, **changes):
    common = dict(clusters=30, batch=256, check_every=5, patience=50, tolerance=0.0)
    return Settings(**(common | PLANS[name] | changes))


def corpora_of(frames, **kwargs):
    return Corpora([ArrayFrames(frames, "same")], **({"block": 16, "aside": 300} | kwargs))


@pytest.mark.parametrize("start", kmeans_start.STARTS)
@pytest.mark.parametrize("method", PLANS)
def test_inertia_is_near_that_of_the_reference(start, method):
    frames = speech_like()
    reference = kmeans.fit(frames, 30, seed=1)
    found = train(corpora_of(frames), plan(method, start=start)).centroids

    def inertia(c):
        return ((frames - c[kmeans.nearest(frames, c)]) ** 2).sum(axis=1).mean()

    assert inertia(found) < 1.12 * inertia(reference)
    assert found.dtype == np.float32 and found.shape == (30, 12)


@pytest.mark.parametrize("start", ["k-means++", "k-means||"])
def test_well_separated_blobs_are_all_found_by_the_start(start):
    frames, centres = blobs()
    x = torch.from_numpy(frames)
    hits = 0
    for seed in range(5):
        found = start_centroids(x, 12, start, np.random.default_rng(seed)).numpy()
        nearest = np.linalg.norm(found[:, None] - centres[None], axis=2).argmin(axis=1)
        hits += len(set(nearest.tolist()))
    assert hits >= 54, "random starts find 8 of 12, 40 in all"


@pytest.mark.parametrize("trials", [1, 2])
def test_blocks_of_candidates_have_the_distribution_of_kmeans_plus_plus(trials):
    """On five points the chance of each point to be one of three starts is known; 700 draws agree."""
    points = np.array([[0.0], [1.0], [3.0], [7.0], [15.0]])
    distance = (points - points.T) ** 2

    def chances(nearest):
        """Of each point to come next: the best of `trials` draws by D^2, the first of equals."""
        p = nearest / nearest.sum()
        left = np.minimum(nearest, distance).sum(axis=1)
        if trials == 1:
            return p
        best = np.zeros(5)
        for a in range(5):
            for b in range(5):
                best[a if left[a] <= left[b] else b] += p[a] * p[b]
        return best

    exact = np.zeros(5)
    for first in range(5):
        for second, chance in enumerate(chances(distance[first])):
            if chance:
                third = chances(np.minimum(distance[first], distance[second]))
                exact[[first, second]] += 0.2 * chance
                exact += 0.2 * chance * third
    x = torch.from_numpy(points.astype(np.float32))
    draws = 700
    counts = np.zeros(5)
    for seed in range(draws):
        counts[kmeans_start._plus_plus(x, 3, np.random.default_rng(seed), trials=trials).numpy()] += 1
    error = np.sqrt(exact * (1 - exact) / draws)
    assert np.all(np.abs(counts / draws - exact) < 4 * error), (counts / draws, exact)


@pytest.mark.parametrize("method", PLANS)
def test_the_same_seed_gives_the_same_bits(method):
    frames = speech_like()
    first, again = (train(corpora_of(frames), plan(method)).centroids for _ in range(2))
    other = train(corpora_of(frames, seed=1), plan(method, seed=1)).centroids
    assert np.array_equal(first, again) and not np.array_equal(first, other)


class Killed(Exception):
    pass


@settings(max_examples=15, deadline=None)
@given(
    method=st.sampled_from(sorted(PLANS)),
    kills=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    seed=st.integers(0, 3),
)
def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path_factory, method, kills, seed):
    frames, settings_ = speech_like(1500), plan(method, seed=seed)
    whole = train(corpora_of(frames, seed=seed), settings_)
    checkpoint = tmp_path_factory.mktemp("kmeans") / "state"

    class Dies(ArrayFrames):
        left = 0

        def read(self, start, stop):
            self.left -= 1
            if self.left < 0:
                raise Killed
            return super().read(start, stop)

    result = None
    for reads in [*kills, 10**9]:
        corpus = Dies(frames, "same")
        corpora = Corpora([corpus], block=16, aside=300, seed=seed)
        # Setting up reads the frames set aside and the start; `reads` counts from there, in calls.
        corpus.left = reads * 12
        try:
            result = train(corpora, settings_, checkpoint, checkpoint_seconds=0.0)
            break
        except Killed:
            continue
    assert np.array_equal(result.centroids, whole.centroids)
    assert result.history == whole.history and result.reason == whole.reason and result.frames == whole.frames


def test_a_finished_checkpoint_gives_the_result_without_training(tmp_path):
    frames = speech_like()
    done = train(corpora_of(frames), plan("both"), tmp_path / "state")
    again = kmeans_torch.Trainer(corpora_of(frames), plan("both"), tmp_path / "state", 300.0)
    again._advance = None  # training would call it
    assert np.array_equal(again.run().centroids, done.centroids)


@pytest.mark.parametrize("change", [dict(clusters=29), dict(seed=1), dict(batch=255), dict(start="random")])
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, change):
    frames = speech_like()
    train(corpora_of(frames), plan("batches"), tmp_path / "state")
    with pytest.raises(UserError, match="other settings"):
        train(corpora_of(frames), plan("batches", **change), tmp_path / "state")
    with pytest.raises(UserError, match="other settings or other frames"):
        train(corpora_of(frames[:-1]), plan("batches"), tmp_path / "state")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(UserError, match="state"):
        train(corpora_of(speech_like()), plan("batches"), tmp_path / "state")


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 1500), max_size=6), method=st.sampled_from(sorted(PLANS)))
def test_how_rows_lie_in_shards_changes_nothing(cuts, method):
    frames = speech_like(1500)
    wanted = train(corpora_of(frames), plan(method)).centroids
    found = train(Corpora([Pieces(frames, cuts)], block=16, aside=300), plan(method)).centroids
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("batch", [100, 1024, 1500, 5000])
def test_lloyd_passes_do_not_depend_on_the_batch(batch):
    frames = speech_like(4000)
    wanted = train(corpora_of(frames), plan("lloyd", batch=2048)).centroids
    assert np.array_equal(train(corpora_of(frames), plan("lloyd", batch=batch)).centroids, wanted)


def test_lloyd_passes_are_the_means_of_nearest_frames():
    frames = speech_like(2000)
    corpora = corpora_of(frames, aside=0)
    start = train(corpora, plan("lloyd", passes=0)).centroids
    labels = kmeans.nearest(frames, start)
    means = np.stack([frames[labels == k].mean(axis=0, dtype=np.float64) for k in range(30)])
    assert np.abs(train(corpora, plan("lloyd", passes=1)).centroids - means).max() < 1e-4


@pytest.mark.parametrize("method", ["batches", "lloyd"])
def test_empty_clusters_come_back_to_life(method, monkeypatch):
    frames = speech_like()
    monkeypatch.setattr(
        kmeans_torch, "start_centroids", lambda x, k, *_: torch.cat((x[:1], torch.full((k - 1, x.shape[1]), 1e4)))
    )
    found = train(corpora_of(frames), plan(method, batches=60 if method == "batches" else 0)).centroids
    assert len(np.unique(kmeans.nearest(frames, found))) >= 28
    assert np.abs(found).max() < 100


def test_moved_clusters_are_different_frames():
    frames = speech_like()
    trainer = kmeans_torch.Trainer(corpora_of(frames), plan("batches"), None, 300.0)
    state = trainer.begin()
    state.counts += 10
    state.counts[5:15] = 0
    x = torch.from_numpy(frames) - state.shift
    before = state.centroids.clone()
    trainer._move_unused(state, x, Scorer(state.centroids).labels(x))
    moved = (state.centroids != before).any(dim=1)
    assert moved.nonzero()[:, 0].tolist() == list(range(5, 15))
    assert len(torch.unique(state.centroids[5:15], dim=0)) == 10
    assert all((x == c).all(dim=1).any() for c in state.centroids[5:15])


def test_weights_over_corpora_decide_where_centroids_go():
    """Two far-apart corpora of equal size and spread: the heavier one gets more of the centroids."""
    left, right = speech_like(2000, offset=-40.0), speech_like(2000, seed=1, offset=40.0)

    def share(weights, method):
        corpora = Corpora([ArrayFrames(left), ArrayFrames(right)], weights, block=16, aside=400)
        found = train(corpora, plan(method, start_frames=2000)).centroids
        return float((found.mean(axis=1) < 0).mean())

    for method in PLANS:
        even, heavy = share([1, 1], method), share([9, 1], method)
        assert 0.3 < even < 0.7 and heavy > even, method


def test_lloyd_with_weights_is_lloyd_with_copies():
    """A corpus that weighs three times its size acts like three copies of it."""
    a, b = speech_like(1000), speech_like(1000, seed=1, offset=5.0)
    start = speech_like(30, seed=5)

    def one_pass(arrays, weights):
        corpora = Corpora([ArrayFrames(x) for x in arrays], weights, block=16)
        trainer = kmeans_torch.Trainer(corpora, plan("lloyd", passes=1), None, 300.0)
        state = trainer.begin()
        state.shift.zero_()
        state.centroids = torch.from_numpy(start)
        trainer._part_of_pass(state)
        return state.centroids.numpy()

    assert np.abs(one_pass([a, b], [3, 1]) - one_pass([a, a, a, b], None)).max() < 1e-4


def test_bfloat16_products_lose_next_to_nothing():
    frames = speech_like()
    exact = train(corpora_of(frames), plan("both")).inertia
    rounded = train(corpora_of(frames), plan("both", products="bfloat16")).inertia
    assert abs(rounded / exact - 1) < 0.03
    x, c = (torch.from_numpy(speech_like(n, seed=n)) for n in (500, 40))
    scores = [Scorer(c, products).scores(x) for products in ("float32", "bfloat16")]
    assert 0 < (scores[0] - scores[1]).abs().max() < 0.02 * scores[0].abs().max()


def test_sums_by_segments_equal_sums_in_order():
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.standard_normal((500, 7)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 9, 500))
    weight = torch.from_numpy(rng.random(500))
    results = []
    for add in (add_sums, lambda s, c, x, y, w: add_segments(s, c, x.double() * w[:, None], y, w)):
        sums, counts = torch.zeros(11, 7, dtype=torch.float64), torch.zeros(11, dtype=torch.float64)
        add(sums, counts, frames, labels, weight)
        results.append((sums, counts))
    assert torch.allclose(results[0][0], results[1][0]) and torch.allclose(results[0][1], results[1][1])


def test_labels_are_those_of_the_numpy_reference():
    rng = np.random.default_rng(0)
    frames, centroids = (rng.standard_normal((n, 40)).astype(np.float32) for n in (3000, 200))
    labels, distances = Scorer(torch.from_numpy(centroids)).nearest(torch.from_numpy(frames))
    assert (labels.numpy() == kmeans.nearest(frames, centroids)).all()
    exact = ((frames - centroids[labels]) ** 2).sum(axis=1)
    assert np.allclose(distances.numpy(), exact, rtol=1e-5)


def test_early_stopping_keeps_the_best():
    frames = speech_like()
    result = train(corpora_of(frames), plan("batches", batches=500, check_every=2, patience=3, tolerance=1e-3))
    inertias = [h["inertia"] for h in result.history]
    assert "set aside" in result.reason and result.frames < 500 * 256
    assert result.inertia == min(inertias)
    held_out, _ = corpora_of(frames).held_out()
    distance = ((held_out - result.centroids[kmeans.nearest(held_out, result.centroids)]) ** 2).sum(axis=1).mean()
    assert distance == pytest.approx(result.inertia, rel=1e-4)


def test_without_frames_set_aside_still_centroids_stop_it():
    result = train(corpora_of(speech_like(), aside=0), plan("lloyd", passes=200, tolerance=1e-4))
    assert "moved by less" in result.reason and result.inertia is None and result.history == []


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(clusters=0), "0 clusters"),
        (dict(passes=-1), "negative"),
        (dict(patience=0), "patience"),
        (dict(start="best"), "no start"),
        (dict(products="int4"), "int4"),
        (dict(device="tpu9"), "not a device"),
        (dict(clusters=4000), "too few"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(UserError, match=message):
        train(corpora_of(speech_like()), plan("batches", **change))


@pytest.mark.parametrize("method", PLANS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(tmp_path, method, value):
    frames = speech_like()
    frames[[5, 2900]] = value
    with pytest.raises(UserError, match="not finite"):
        train(corpora_of(frames, aside=0), plan(method, start_frames=200), tmp_path / "state")


@pytest.mark.parametrize("start", ["k-means++", "k-means||"])
def test_too_few_different_frames(start):
    frames = np.repeat(speech_like(5), 100, axis=0)
    with pytest.raises(UserError, match="too few"):
        train(corpora_of(frames), plan("batches", clusters=6, start=start))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_named():
    assert open_device("auto").type == "cpu"
    with pytest.raises(UserError, match="no GPU"):
        open_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", PLANS)
def test_a_gpu_repeats_itself_and_agrees_with_the_cpu(method):
    frames = speech_like()
    first, again = (train(corpora_of(frames), plan(method, device="cuda")) for _ in range(2))
    assert np.array_equal(first.centroids, again.centroids)
    assert first.inertia == pytest.approx(train(corpora_of(frames), plan(method)).inertia, rel=0.05)
