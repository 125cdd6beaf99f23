"""Importing k-means: every form gives the same centroids, and what a file says about its encoder must hold."""

import gzip
import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from spire.errors import UserError  # noqa: E402
from spire.foreign.convert import convert_encoder, sha256_of  # noqa: E402
from spire.foreign.importing import import_kmeans  # noqa: E402
from spire.foreign.open import open_kmeans  # noqa: E402
from spire.units.encoders import encoder_for  # noqa: E402
from spire.units.kmeans import KMeans, load, save  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
CHECKPOINT = GOLDENS / "fairseq" / "hubert_tiny_large_prenorm.pt"
JOBLIB = GOLDENS / "spirelm" / "kmeans50_f32.joblib"


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "hubert"
    convert_encoder(CHECKPOINT, folder)
    return folder


@pytest.fixture(scope="module")
def centroids():
    with np.load(GOLDENS / "spirelm" / "units.npz") as stored:
        return stored["centroids"]


def forms(centroids, folder):
    """The same centroids in every form that is read, {name: path}."""
    joblib = pytest.importorskip("joblib", reason="joblib writes the compressed forms")
    plain_bytes = JOBLIB.read_bytes()
    paths = {"joblib": JOBLIB}
    (folder / "outer.gz").write_bytes(gzip.compress(plain_bytes))
    paths["gzip of joblib"] = folder / "outer.gz"
    sklearn = pytest.importorskip("sklearn.cluster", reason="scikit-learn makes the estimator")
    for dtype in (np.float32, np.float64):
        model = sklearn.MiniBatchKMeans(n_clusters=len(centroids), random_state=np.random.RandomState(3), n_init=1)
        model.fit(np.repeat(centroids, 3, axis=0).astype(dtype))
        model.cluster_centers_ = centroids.astype(dtype)
        for method in ("zlib", "gzip", "bz2", "xz", "lzma"):
            paths[f"{method} {dtype.__name__}"] = folder / f"{method}.{dtype.__name__}"
            joblib.dump(model, paths[f"{method} {dtype.__name__}"], compress=(method, 3))
        for protocol in range(6):
            paths[f"pickle {protocol} {dtype.__name__}"] = folder / f"{protocol}.{dtype.__name__}.pkl"
            paths[f"pickle {protocol} {dtype.__name__}"].write_bytes(pickle.dumps(model, protocol))
            paths[f"joblib {protocol} {dtype.__name__}"] = folder / f"{protocol}.{dtype.__name__}.joblib"
            joblib.dump(model, paths[f"joblib {protocol} {dtype.__name__}"], protocol=protocol)
        model.cluster_centers_ = np.asfortranarray(centroids.astype(dtype))
        paths[f"fortran {dtype.__name__}"] = folder / f"fortran.{dtype.__name__}"
        joblib.dump(model, paths[f"fortran {dtype.__name__}"])
    np.save(folder / "c.npy", centroids)
    np.savez_compressed(folder / "c.npz", centroids=centroids)
    save(folder / "c.safetensors", KMeans(centroids, {}))
    return paths | {name: folder / f"c.{name}" for name in ("npy", "npz", "safetensors")}


def test_every_form_of_a_kmeans_gives_the_same_centroids(centroids, tmp_path):
    for name, path in forms(centroids, tmp_path).items():
        kmeans = open_kmeans(path)
        assert np.array_equal(kmeans.centroids, centroids), name
        assert kmeans.centroids.dtype == (np.float64 if "float64" in name else np.float32), name
        assert name == "safetensors" or kmeans.metadata["source_sha256"] == sha256_of(path)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_files_as_numpy_writes_them(dtype, order, version, tmp_path):
    matrix = np.asarray(np.random.default_rng(0).standard_normal((7, 5)), dtype, order=order)
    with open(tmp_path / "c.npy", "wb") as file:
        np.lib.format.write_array(file, matrix, version)
    assert np.array_equal(open_kmeans(tmp_path / "c.npy").centroids, matrix)


def test_neither_joblib_nor_sklearn_is_imported():
    code = f"""
import sys
from spire.foreign.open import open_kmeans
open_kmeans({str(JOBLIB)!r})
assert not {{"joblib", "sklearn", "pickle5", "torch", "transformers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_imported_kmeans_labels_with_its_encoder_only(converted, centroids, tmp_path):
    out = tmp_path / "kmeans.safetensors"
    line = import_kmeans(JOBLIB, out, converted, layer=3, revision="abc")
    assert "50 centroids of 32 dimensions, encoder hubert" in line
    kmeans = load(out)
    assert np.array_equal(kmeans.centroids, centroids)
    assert kmeans.metadata["layer"] == "3" and kmeans.metadata["source_sha256"] == sha256_of(JOBLIB)
    assert encoder_for(kmeans, out, str(converted), 3).layer == 3
    with pytest.raises(UserError, match="layer is '2'"):
        encoder_for(kmeans, out, str(converted), 2)
    other = GOLDENS / "spirelm" / "hubert_tiny"
    with pytest.raises(UserError, match="encoder_digest"):
        encoder_for(kmeans, out, str(other), 3)
    assert open_kmeans(out, converted, 3, "abc").clusters == 50
    for arguments, named in (((other, 3), "encoder_digest"), ((None, 4), "layer"), ((None, 3, "abd"), "revision")):
        with pytest.raises(UserError, match=f"does not belong.*{named}"):
            open_kmeans(out, *arguments)
    with pytest.raises(UserError, match="does not belong"):
        import_kmeans(out, tmp_path / "rebound.safetensors", converted, layer=2)
    assert not (tmp_path / "rebound.safetensors").exists()


def test_changed_centroids_and_impossible_layers_are_found(converted, tmp_path):
    out = tmp_path / "kmeans.safetensors"
    import_kmeans(JOBLIB, out)
    data = bytearray(out.read_bytes())
    data[-1] ^= 1
    out.write_bytes(data)
    with pytest.raises(UserError, match="not those it was made with"):
        open_kmeans(out)
    with pytest.raises(UserError, match="layer 9 of 4"):
        import_kmeans(JOBLIB, tmp_path / "new.safetensors", converted, layer=9)
    np.save(tmp_path / "narrow.npy", np.ones((3, 5), np.float32))
    with pytest.raises(UserError, match="5 dimensions"):
        import_kmeans(tmp_path / "narrow.npy", tmp_path / "new.safetensors", converted, layer=1)
    with pytest.raises(UserError, match="stored as safetensors"):
        import_kmeans(JOBLIB, tmp_path / "new.joblib")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kmeans.safetensors", "narrow.npy"]


def test_double_precision_survives_the_import(tmp_path):
    exact = np.random.default_rng(0).standard_normal((4, 3))
    np.save(tmp_path / "c.npy", exact)
    import_kmeans(tmp_path / "c.npy", tmp_path / "c.safetensors")
    assert np.array_equal(open_kmeans(tmp_path / "c.safetensors").centroids, exact)


def test_the_command_line(tmp_path, capsys):
    import units_import

    encoder, kmeans = str(tmp_path / "hubert"), str(tmp_path / "kmeans.safetensors")
    assert units_import.main(["--encoder", str(CHECKPOINT), "--out", encoder]) == 0
    arguments = ["--kmeans", str(JOBLIB), "--encoder", encoder, "--layer", "3", "--out", kmeans]
    assert units_import.main(arguments) == 0
    assert "layer 3" in capsys.readouterr().out
    for wrong in (["--out", "x"], ["--encoder", encoder, "--layer", "3", "--out", "x"]):
        with pytest.raises(UserError):
            units_import.main(wrong)


def test_unfitted_and_foreign_estimators_are_refused(tmp_path):
    joblib = pytest.importorskip("joblib", reason="joblib writes the file")
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn makes the estimator")
    from sklearn.linear_model import LinearRegression

    joblib.dump(cluster.KMeans(3), tmp_path / "unfitted")
    with pytest.raises(UserError, match="without centroids"):
        open_kmeans(tmp_path / "unfitted")
    joblib.dump(LinearRegression(), tmp_path / "other")
    with pytest.raises(UserError, match="LinearRegression"):
        open_kmeans(tmp_path / "other")
    buffer = io.BytesIO()
    np.save(buffer, np.array([[{}]], dtype=object), allow_pickle=True)
    (tmp_path / "object.npy").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="expected"):
        open_kmeans(tmp_path / "object.npy")
