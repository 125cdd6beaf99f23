"""k-means: determinism, empty clusters, labels by the plain definition, files and refusals."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spire.errors import UserError
from spire.units import kmeans, mfcc
from spire.units.kmeans import KMeans, fit, load, nearest, save

GOLDEN = Path(__file__).resolve().parents[1] / "goldens" / "spirelm" / "units.npz"


def blobs(k=8, n=50, d=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((k, d)) * 20
    return (centres[:, None] + rng.standard_normal((k, n, d))).reshape(-1, d).astype(np.float32), centres


def test_well_separated_blobs_are_found():
    frames, centres = blobs()
    found = fit(frames, 8, seed=3)
    distance = np.linalg.norm(found[:, None] - centres[None], axis=2)
    assert sorted(distance.argmin(axis=1).tolist()) == list(range(8))
    assert distance.min(axis=1).max() < 1.0


def test_same_seed_same_centroids():
    frames, _ = blobs()
    assert np.array_equal(fit(frames, 6, seed=1), fit(frames, 6, seed=1))
    assert not np.array_equal(fit(frames, 6, seed=1), fit(frames, 6, seed=2))


def test_nearest_is_the_first_smallest_distance():
    rng = np.random.default_rng(0)
    frames, centroids = (rng.standard_normal((n, 7)).astype(np.float32) for n in (300, 20))
    distance = ((frames[:, None].astype(np.float64) - centroids[None]) ** 2).sum(axis=2)
    assert np.array_equal(nearest(frames, centroids), distance.argmin(axis=1))
    twice = np.concatenate((centroids, centroids))
    assert nearest(frames, twice).max() < 20, "ties go to the first"


def test_principal_components_fold_back_into_the_feature_space():
    rng = np.random.default_rng(0)
    frames = (rng.standard_normal((2000, 3)) @ rng.standard_normal((3, 12)) * 3).astype(np.float32)
    frames += 0.01 * rng.standard_normal(frames.shape).astype(np.float32) + 5
    centroids = fit(frames, 10, seed=0, pca=3)
    axes = kmeans._principal_axes(frames, 3)
    assert centroids.shape == (10, 12)
    assert np.array_equal(nearest(frames, centroids), nearest(frames @ axes, centroids @ axes))


def test_an_empty_cluster_moves_to_the_farthest_frame():
    frames = np.array([[0.0], [0.1], [0.2], [9.0]], np.float32)
    centroids = np.array([[0.1], [50.0]], np.float32)
    moved = kmeans._means(frames, nearest(frames, centroids), centroids)
    assert moved[1, 0] == 9.0


def test_too_few_frames():
    with pytest.raises(UserError, match="too few"):
        fit(np.zeros((100, 4), np.float32), 2, seed=0)


def test_golden_labels_unless_two_centroids_tie():
    golden = np.load(GOLDEN)
    for run in ("one", "short", "ln"):
        valid = golden[f"{run}.mask"]
        labels = nearest(golden[f"{run}.feats"][valid], golden["centroids"])
        wanted = golden[f"{run}.labels"][valid]
        difference = labels != wanted
        if difference.any():
            distance = ((golden[f"{run}.feats"][valid][:, None] - golden["centroids"]) ** 2).sum(axis=2)
            best = np.sort(distance[difference], axis=1)
            assert (best[:, 1] - best[:, 0]).max() < 1e-4


def test_file_round_trip_is_byte_stable(tmp_path):
    stored = KMeans(np.arange(6, dtype=np.float32).reshape(2, 3), {"encoder": "mfcc", "seed": "1"})
    save(tmp_path / "a.safetensors", stored)
    back = load(tmp_path / "a.safetensors")
    assert np.array_equal(back.centroids, stored.centroids) and back.metadata == stored.metadata
    save(tmp_path / "b.safetensors", back)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x80\x04K\x01."])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "k.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="k.safetensors"):
        load(path)


def test_infinite_centroids_are_refused(tmp_path):
    save(tmp_path / "k", KMeans(np.array([[np.inf]], np.float32), {}))
    with pytest.raises(UserError, match="not finite"):
        load(tmp_path / "k")


@pytest.mark.parametrize("samples", [0, 399, 400, 719, 720, 16000])
def test_cepstra_have_huberts_frame_count(samples):
    wav = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    frames = (samples - 80) // 320 if samples >= 400 else 0
    assert mfcc.mfcc_features(wav).shape == (frames, 39)
    assert mfcc.context_features(wav).shape == (frames, 91)


def test_cepstra_ignore_gain_and_survive_silence():
    wav = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    assert np.abs(mfcc.mfcc_features(wav) - mfcc.mfcc_features(wav * 0.25)).max() < 1e-3
    assert np.abs(mfcc.mfcc_features(np.zeros(8000, np.float32))).max() < 1e-3


def test_the_cepstral_path_does_not_import_torch():
    program = "import sys, numpy, spire.units.label, spire.units.report, spire.units.sample\n"
    program += "from spire.units.encoders import open_encoder\n"
    program += "open_encoder('mfcc').features(numpy.zeros(5000, 'f')); print('torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src"), "PATH": "/usr/bin:/bin"},
    )
    assert run.stdout.strip() == "False"
