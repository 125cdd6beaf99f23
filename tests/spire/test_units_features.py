"""Feature shards: resumed after kills with the same bytes, any number of parts, and k-means that sees no difference."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import units_features
import units_kmeans

from spire.audio import write_wav
from spire.datasets.open import open_corpus
from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.files import replaced_file
from spire.manifest import Utterance, write_manifest
from spire.units.corpora import ArrayFrames, Corpora
from spire.units.encoder import Encoder
from spire.units.encoders import open_encoder
from spire.units.feature_shards import FeatureFolder, write_features
from spire.units.kmeans import load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twelve utterances of 0.3 to 1.5 s, one too short, one missing."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    utterances = []
    for i in range(12):
        seconds = 0.3 + 0.1 * i if i != 4 else 0.02
        name = f"u{i:02d}"
        if i != 7:
            write_wav(folder / f"{name}.wav", (0.1 * rng.standard_normal(int(16000 * seconds))).astype(np.float32))
        utterances.append(Utterance(name, f"{name}.wav", seconds, "en", "x"))
    write_manifest(folder / "manifest.jsonl", utterances)
    return folder / "manifest.jsonl"


@pytest.fixture(scope="module")
def encoder():
    return open_encoder("mfcc")


def everything(folder):
    reader = FeatureFolder(folder)
    return reader.read(0, reader.rows)


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


HOURS = 100 / (50 * 3600)  # a shard closes at 100 frames


def wanted(corpus, encoder):
    return np.concatenate([f for f in encoder.stream(u.samples for u in _decoded(corpus))])


def _decoded(corpus):
    from spire.datasets.loader import decoded

    source = open_corpus(corpus)
    return decoded(source.items(0, source.pieces))


def test_frames_come_back_in_corpus_order(corpus, encoder, tmp_path):
    index = write_features(encoder, open_corpus(corpus), tmp_path / "f", hours_per_shard=HOURS)
    assert np.array_equal(everything(tmp_path / "f"), wanted(corpus, encoder))
    assert [u["id"] for u in index["unreadable"]] == ["u04", "u07"]
    assert "too short" in index["unreadable"][0]["reason"] and "no such" in index["unreadable"][1]["reason"]
    assert index["utterances"] == 12 and len(index["shards"]) > 2
    shards = sorted((tmp_path / "f").rglob("*.npy"))
    assert len(shards) == len(index["shards"]), "no empty shard at the end"
    assert all(len(np.load(s)) >= 100 for s in shards[:-1])


@settings(max_examples=15, deadline=None)
@given(parts=st.integers(1, 15), frames=st.integers(1, 400), data=st.data())
def test_parts_and_shard_sizes_change_nothing(corpus, encoder, tmp_path_factory, parts, frames, data):
    out = tmp_path_factory.mktemp("parts")
    hours = frames / (50 * 3600)
    for part in data.draw(st.permutations(range(1, parts + 1))):
        write_features(encoder, open_corpus(corpus), out, Shard(part, parts), hours)
    whole, folder = wanted(corpus, encoder), FeatureFolder(out)
    assert np.array_equal(folder.read(0, folder.rows), whole)
    a, b = sorted(data.draw(st.tuples(*[st.integers(0, folder.rows)] * 2)))
    assert np.array_equal(folder.read(a, b), whole[a:b])


def test_a_part_without_a_frame_is_finished_a_corpus_without_one_is_refused(corpus, encoder, tmp_path, capsys):
    (tmp_path / "bad").mkdir()
    for name in "ab":
        (tmp_path / f"bad/{name}.wav").write_bytes(b"no audio")
    for part in (1, 2):
        assert write_features(encoder, open_corpus(tmp_path / "bad"), tmp_path / "f", Shard(part, 2))["finished"]
        assert "gave a frame" in capsys.readouterr().err
    with pytest.raises(UserError, match="no frames in it"):
        FeatureFolder(tmp_path / "f")
    with pytest.raises(UserError, match="gave a frame"):
        write_features(encoder, open_corpus(tmp_path / "bad"), tmp_path / "g")


class Dying(Encoder):
    """Raises after some utterances, as a kill would."""

    def __init__(self, inner, left):
        super().__init__()
        self.inner, self.left, self.dim, self.rate_hz = inner, left, inner.dim, inner.rate_hz

    def metadata(self):
        return self.inner.metadata()

    def stream(self, wavs):
        for features in self.inner.stream(wavs):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            yield features


@settings(max_examples=15, deadline=None)
@given(kills=st.lists(st.integers(0, 8), max_size=5), store=st.sampled_from(["float32", "float16"]))
def test_an_interrupted_part_ends_with_the_bytes_of_an_undisturbed_one(corpus, encoder, tmp_path_factory, kills, store):
    base = tmp_path_factory.mktemp("kills")
    write_features(encoder, open_corpus(corpus), base / "whole", Shard(1, 2), HOURS, store)
    for left in kills:
        try:
            write_features(Dying(encoder, left), open_corpus(corpus), base / "f", Shard(1, 2), HOURS, store)
        except KeyboardInterrupt:
            assert not list((base / "f").rglob("*.partial"))
    write_features(encoder, open_corpus(corpus), base / "f", Shard(1, 2), HOURS, store)
    assert files(base / "f") == files(base / "whole")


def test_what_a_killed_run_left_of_a_shard_is_removed(corpus, encoder, tmp_path):
    write_features(encoder, open_corpus(corpus), tmp_path / "whole", hours_per_shard=HOURS)
    with pytest.raises(KeyboardInterrupt):
        write_features(Dying(encoder, 5), open_corpus(corpus), tmp_path / "f", hours_per_shard=HOURS)
    with replaced_file(tmp_path / "f/part-00001-of-00001/000001.npy") as partial:
        killed = partial.name
        partial.write_bytes(b"half")
        content = partial.read_bytes()
    (tmp_path / "f/part-00001-of-00001/000001.npy").unlink()
    (tmp_path / "f/part-00001-of-00001" / killed).write_bytes(content)
    write_features(encoder, open_corpus(corpus), tmp_path / "f", hours_per_shard=HOURS)
    assert files(tmp_path / "f") == files(tmp_path / "whole")


def test_a_finished_part_is_not_encoded_again(corpus, encoder, tmp_path):
    first = write_features(encoder, open_corpus(corpus), tmp_path / "f")
    assert write_features(Dying(encoder, 0), open_corpus(corpus), tmp_path / "f") == first


def test_float16_is_near_and_refuses_what_it_cannot_hold(corpus, encoder, tmp_path):
    write_features(encoder, open_corpus(corpus), tmp_path / "f", dtype="float16")
    assert np.abs(everything(tmp_path / "f") - wanted(corpus, encoder)).max() < 0.01

    class Loud(Dying):
        def stream(self, wavs):
            return (f * 1e5 for f in self.inner.stream(wavs))

    with pytest.raises(UserError, match="u00: .*float16"):
        write_features(Loud(encoder, 0), open_corpus(corpus), tmp_path / "loud", dtype="float16")
    assert not list((tmp_path / "loud").rglob("*.npy")), "no partial output"


def test_other_settings_are_refused(corpus, encoder, tmp_path):
    write_features(encoder, open_corpus(corpus), tmp_path / "f")
    with pytest.raises(UserError, match="encoder is"):
        write_features(open_encoder("mfcc", normalization="mean"), open_corpus(corpus), tmp_path / "f")
    with pytest.raises(UserError, match="dtype is 'float32' there"):
        write_features(encoder, open_corpus(corpus), tmp_path / "f", dtype="float16")


def test_missing_parts_and_damage_are_named(corpus, encoder, tmp_path):
    out = tmp_path / "f"
    with pytest.raises(UserError, match="no such feature folder"):
        FeatureFolder(out)
    write_features(encoder, open_corpus(corpus), out, Shard(2, 3))
    with pytest.raises(UserError, match="part 1, 3 of 3") as error:
        FeatureFolder(out)
    assert "--shard 1/3" in error.value.hint
    for part in (1, 3):
        write_features(encoder, open_corpus(corpus), out, Shard(part, 3))
    shard = out / "part-00002-of-00003" / "000000.npy"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(UserError, match="part-00002-of-00003/000000.npy"):
        FeatureFolder(out)
    shard.unlink()
    with pytest.raises(UserError, match="no such shard"):
        write_features(encoder, open_corpus(corpus), out, Shard(2, 3))
    write_features(encoder, open_corpus(corpus), out, Shard(1, 1))
    with pytest.raises(UserError, match="parts differs"):
        FeatureFolder(out)


def test_published_shards_are_read_in_the_order_of_their_numbers(tmp_path):
    frames = np.arange(360, dtype=np.float32).reshape(120, 3)
    for i in range(12):
        np.save(tmp_path / f"shard_{i}.npy", frames[10 * i : 10 * i + 10])
    assert np.array_equal(everything(tmp_path), frames)
    np.save(tmp_path / "shard_12.npy", frames[:, :2])
    with pytest.raises(UserError, match="shard_12.npy"):
        FeatureFolder(tmp_path)


def test_thousands_of_shards_need_few_open_files(tmp_path):
    """42,500 hours are as many shards; a process may hold about a thousand files open."""
    for i in range(300):
        np.save(tmp_path / f"shard_{i}.npy", np.full((2, 3), i, np.float32))
    folder = FeatureFolder(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    assert np.array_equal(folder.read(0, 600)[:, 0], np.repeat(np.arange(300), 2))
    assert len(os.listdir("/proc/self/fd")) - before <= 70


def test_kmeans_from_shards_is_kmeans_from_any_other_shards(corpus, encoder, tmp_path):
    for name, parts, hours in (("a", 1, 1.0), ("b", 5, HOURS)):
        for part in range(1, parts + 1):
            args = ["--encoder", "mfcc", "--corpus", str(corpus), "--shard", f"{part}/{parts}"]
            assert units_features.main([*args, "--hours-per-shard", str(hours), "--out", str(tmp_path / name)]) == 0
    results = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.safetensors"
        args = ["--method", "torch", "--features", str(tmp_path / name), "--clusters", "8", "--batch", "64"]
        args += ["--batches", "10", "--passes", "2", "--block", "10", "--products", "float32", "--out", str(out)]
        assert units_kmeans.main(args) == 0
        results.append(out.read_bytes())
    assert results[0] == results[1]
    metadata = load(tmp_path / "a.safetensors").metadata
    assert metadata["encoder"] == "mfcc" and metadata["method"] == "torch" and metadata["products"] == "float32"
    assert not list(tmp_path.glob("*.checkpoint"))


@pytest.mark.parametrize("method", ["numpy", "torch", "sklearn"])
def test_every_method_takes_features_and_manifests_with_weights(corpus, tmp_path, method):
    if method == "sklearn":
        pytest.importorskip("sklearn")
    assert units_features.main(["--encoder", "mfcc", "--corpus", str(corpus), "--out", str(tmp_path / "f")]) == 0
    sources = {
        "features": ["--features", str(tmp_path / "f"), str(tmp_path / "f")],
        "manifest": ["--encoder", "mfcc", "--frames", "300", "--manifest", str(corpus), str(corpus)],
    }
    for name, source in sources.items():
        out = tmp_path / f"{name}.safetensors"
        args = ["--method", method, "--clusters", "5", "--batch", "100", "--batches", "5", "--block", "10"]
        assert units_kmeans.main([*args, *source, "--weights", "3", "1", "--out", str(out)]) == 0
        assert load(out).centroids.shape == (5, 39)
    with pytest.raises(UserError, match="weights"):
        units_kmeans.main([*args, *source, "--weights", "3", "--out", str(out)])
    with pytest.raises(UserError, match="either --features or --manifest"):
        units_kmeans.main([*args, "--out", str(out)])


def test_corpora_cover_every_training_frame_once_an_epoch_and_keep_some_aside():
    frames = np.arange(1037, dtype=np.float32)[:, None]
    corpora = Corpora([ArrayFrames(frames)], block=10, aside=100, seed=3)
    aside, weights = corpora.held_out()
    train = np.concatenate([f for _, f, _ in corpora.training(64)])
    assert len(aside) + len(train) == 1037 and weights.sum() == pytest.approx(1)
    assert set(aside[:, 0]) | set(train[:, 0]) == set(range(1037))
    blocks = len(corpora._train[0])
    epoch = np.concatenate([corpora.batch(t, 10) for t in range(blocks)])
    assert sorted(epoch[:, 0]) == sorted(train[:, 0])
    following = np.concatenate([corpora.batch(t, 10) for t in range(blocks, 2 * blocks)])
    assert sorted(following[:, 0]) == sorted(train[:, 0]) and not np.array_equal(epoch, following)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    block=st.integers(1, 40),
    rows=st.integers(1, 200),
    aside=st.integers(0, 200),
    data=st.data(),
)
def test_training_frames_can_be_taken_up_anywhere(sizes, block, rows, aside, data):
    arrays = [np.full((n, 2), k, np.float32) + np.arange(n)[:, None] / 1000 for k, n in enumerate(sizes)]
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=len(sizes), max_size=len(sizes)))
    corpora = Corpora([ArrayFrames(a) for a in arrays], weights, block, aside)
    whole = list(corpora.training(rows))
    assert [len(f) for _, f, _ in whole[:-1]] == [rows] * (len(whole) - 1)
    assert sum(len(f) for _, f, _ in whole) == corpora.train_rows
    assert sum(w.sum() for _, _, w in whole) == pytest.approx(1)
    skipped = data.draw(st.integers(0, len(whole)))
    rest = list(corpora.training(rows, rows * skipped))
    assert len(rest) == len(whole) - skipped
    for (p, f, w), (q, g, v) in zip(whole[skipped:], rest, strict=True):
        assert p == q and np.array_equal(f, g) and np.array_equal(w, v)


@settings(max_examples=30, deadline=None)
@given(weights=st.lists(st.floats(0.05, 1), min_size=2, max_size=4), block=st.integers(1, 30))
def test_batches_have_each_corpus_by_its_weight(weights, block):
    arrays = [np.full((977, 1), k, np.float32) for k in range(len(weights))]
    corpora = Corpora([ArrayFrames(a) for a in arrays], weights, block)
    drawn = np.concatenate([corpora.batch(t, 200) for t in range(20)])[:, 0]
    for k, weight in enumerate(corpora.weights):
        assert abs((drawn == k).sum() - weight * 4000) <= 4 * block + 0.02 * 4000


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path):
    """SIGKILL at some instant of the script; run again, the file equals that of an undisturbed run."""
    rng = np.random.default_rng(0)
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f" / "shard_0.npy", rng.standard_normal((20_000, 32)).astype(np.float32))
    args = ["--method", "torch", "--features", str(tmp_path / "f"), "--clusters", "100", "--batch", "500"]
    args += ["--batches", "400", "--patience", "999", "--products", "float32", "--check-every", "50"]
    args += ["--checkpoint-seconds", "0"]
    out = tmp_path / "k"
    command = [sys.executable, str(ROOT / "scripts" / "units_kmeans.py"), *args, "--out", str(out)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "k.checkpoint").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not out.exists(), "the training is too short to be killed"
    assert units_kmeans.main([*args, "--out", str(out)]) == 0
    assert units_kmeans.main([*args, "--out", str(tmp_path / "undisturbed")]) == 0
    assert out.read_bytes() == (tmp_path / "undisturbed").read_bytes()


def test_the_index_is_plain_json(corpus, encoder, tmp_path):
    write_features(encoder, open_corpus(corpus), tmp_path / "f")
    index = json.loads((tmp_path / "f" / "part-00001-of-00001" / "index.json").read_text())
    assert index["finished"] and index["encoder"] == encoder.metadata() and index["dim"] == 39
