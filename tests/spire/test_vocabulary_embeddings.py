"""New rows: their distribution, what stays untouched, and every shape a model directory comes in."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from spire.errors import UserError
from spire.vocabulary.embeddings import INPUT, OUTPUT, extend_directory
from spire.vocabulary.rows import sample_rows
from spire.vocabulary.tensors import append_rows, read_header, read_matrix, to_bytes
from spire.vocabulary.tokenizer import Vocabulary

BASE_MODEL = Path(__file__).parent.parent / "goldens" / "spirelm" / "tokenizer" / "base.model"
BASE, WIDTH = 420, 16


def weights(rows: int = 448, seed: int = 0, output: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(WIDTH, WIDTH))
    tensors = {
        INPUT: (rng.normal(size=(rows, WIDTH)) @ mix + 3).astype(np.float32),
        "model.layers.0.weight": rng.normal(size=(5, 7)).astype(np.float32),
    }
    # Rows of padding hold what no statistic may see.
    tensors[INPUT][BASE:] = 1e6
    if output:
        tensors[OUTPUT] = (rng.normal(size=(rows, WIDTH)) - 1).astype(np.float32)
        tensors[OUTPUT][BASE:] = 1e6
    return tensors


def model(folder: Path, tensors: dict[str, np.ndarray], tied: bool = False, rows: int = 448) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "llama", "vocab_size": rows, "tie_word_embeddings": tied, "rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text('{"temperature": 0.5}')
    (folder / "tokenizer.model").write_bytes(BASE_MODEL.read_bytes())
    for name in ("tokenizer.json", "training.json", "LICENSE.txt"):
        (folder / name).write_text("{}")
    return folder


def test_rows_follow_the_published_distribution():
    old = weights()[INPUT][:BASE].astype(np.float64)
    new = sample_rows(old, 20000, np.random.default_rng(3))
    covariance = np.cov(old.T, bias=True)
    assert np.abs(new.mean(0) - old.mean(0)).max() < 5 * np.sqrt(1e-5 * covariance.diagonal().max() / 20000)
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (new - old.mean(0)).T) / np.sqrt(1e-5)
    assert np.abs(whitened.std(axis=1) - 1).max() < 0.03, "whitened std; the published golden is 1.007"
    assert np.abs(np.corrcoef(whitened) - np.eye(WIDTH)).max() < 0.05


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_fewer_rows_than_dimensions(rows):
    old = np.random.default_rng(1).normal(size=(rows, WIDTH))
    new = sample_rows(old, 50, np.random.default_rng(2))
    assert np.isfinite(new).all() and np.abs(new - old.mean(0)).max() < 0.1


def test_rows_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match="NaN or infinite"):
        sample_rows(np.full((5, 3), np.nan), 2, np.random.default_rng(0))


def test_a_directory_is_extended_and_nothing_else_changes(tmp_path):
    tensors = weights()
    layout = extend_directory(model(tmp_path / "base", tensors), tmp_path / "new", units=100, seed=42)
    new = load_file(tmp_path / "new" / "model.safetensors")
    assert (layout.size, layout.padded_size) == (527, 576)
    for name in (INPUT, OUTPUT):
        assert new[name].shape == (576, WIDTH) and new[name].dtype == np.float32
        assert np.array_equal(new[name][:BASE], tensors[name][:BASE])
        assert np.abs(new[name][BASE:] - tensors[name][:BASE].mean(0)).max() < 1, "padding rows were no part of mu"
    assert np.array_equal(new["model.layers.0.weight"], tensors["model.layers.0.weight"])
    drawn = [(new[n][BASE:] - new[n][BASE:].mean(0)).ravel() for n in (INPUT, OUTPUT)]
    assert abs(np.corrcoef(*drawn)[0, 1]) < 0.1, "each matrix has draws of its own"
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["vocab_size"] == 576 and config["rope_theta"] == 10000.0 and config["eos_token_id"] == 2
    generation = json.loads((tmp_path / "new" / "generation_config.json").read_text())
    assert generation == {"temperature": 0.5, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    vocabulary = Vocabulary.load(tmp_path / "new")
    assert vocabulary.im_end == 525 and vocabulary.units == 100
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "new"], "no leftovers"
    written = {p.name for p in (tmp_path / "new").iterdir()}
    assert "LICENSE.txt" in written
    assert "training.json" not in written
    assert (tmp_path / "new" / "tokenizer.json").read_text() != "{}", "the old tokenizer would shadow the new one"


def test_draws_depend_on_the_seed_only(tmp_path):
    base = model(tmp_path / "base", weights())
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        extend_directory(base, tmp_path / name, units=10, seed=seed)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_tied_matrices_are_drawn_once(tmp_path):
    extend_directory(model(tmp_path / "one", weights(output=False), tied=True), tmp_path / "a", units=10, seed=1)
    tensors = weights(output=False)
    both = {**tensors, OUTPUT: tensors[INPUT].copy()}
    extend_directory(model(tmp_path / "two", both, tied=True), tmp_path / "b", units=10, seed=1)
    a, b = load_file(tmp_path / "a" / "model.safetensors"), load_file(tmp_path / "b" / "model.safetensors")
    assert OUTPUT not in a
    assert np.array_equal(b[INPUT], b[OUTPUT]) and np.array_equal(a[INPUT], b[INPUT])


def test_shards(tmp_path):
    tensors = weights()
    whole = model(tmp_path / "whole", tensors)
    shards = model(tmp_path / "shards", tensors)
    (shards / "model.safetensors").unlink()
    names = {"a.safetensors": [INPUT], "b.safetensors": ["model.layers.0.weight"], "c.safetensors": [OUTPUT]}
    for file, keys in names.items():
        save_file({k: tensors[k] for k in keys}, shards / file)
    weight_map = {k: file for file, keys in names.items() for k in keys}
    (shards / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
    )
    extend_directory(whole, tmp_path / "w", units=10, seed=1)
    extend_directory(shards, tmp_path / "s", units=10, seed=1)
    expected = load_file(tmp_path / "w" / "model.safetensors")
    for name, file in weight_map.items():
        assert np.array_equal(load_file(tmp_path / "s" / file)[name], expected[name])
    index = json.loads((tmp_path / "s" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in expected.values())
    assert index["weight_map"] == weight_map


def bf16_file(path: Path, values: np.ndarray) -> None:
    data = to_bytes(values, "BF16")
    header = json.dumps({"m": {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [0, len(data)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def test_bfloat16_rounds_to_nearest_even_and_keeps_old_bits(tmp_path):
    values = np.array([[1.0, 1.00390625, 1.01171875, -2.5, 3e38, 1e-40]])
    bf16_file(tmp_path / "x", values)
    read = read_matrix(tmp_path / "x", "m")
    assert read[0, :4].tolist() == [1.0, 1.0, 1.015625, -2.5], "halves go to the even neighbour"
    append_rows(tmp_path / "x", tmp_path / "y", {"m": np.full((2, 6), 0.5)}, {"m": 1})
    assert np.array_equal(read_matrix(tmp_path / "y", "m"), np.vstack([read, np.full((2, 6), 0.5)]))


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_damaged_weights_leave_nothing_behind(tmp_path, damage):
    base = model(tmp_path / "base", weights())
    raw = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes({"cut": raw[:-10], "garbage": b"\xff" * 100, "empty": b""}[damage])
    with pytest.raises(UserError, match=r"model\.safetensors"):
        extend_directory(base, tmp_path / "new", units=10, seed=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base"]


def test_wrong_directories_are_explained(tmp_path):
    base = model(tmp_path / "base", weights())
    extend_directory(base, tmp_path / "new", units=10, seed=1)
    with pytest.raises(UserError, match="exists"):
        extend_directory(base, tmp_path / "new", units=10, seed=1)
    with pytest.raises(UserError, match="extended already"):
        extend_directory(tmp_path / "new", tmp_path / "again", units=10, seed=1)
    small = model(tmp_path / "small", {INPUT: np.ones((50, 4), np.float32)}, tied=True)
    with pytest.raises(UserError, match="50 rows, the vocabulary 420"):
        extend_directory(small, tmp_path / "x", units=10, seed=1)
    untied = model(tmp_path / "untied", weights(output=False))
    with pytest.raises(UserError, match="does not tie"):
        extend_directory(untied, tmp_path / "x", units=10, seed=1)


def test_shard_names_cannot_leave_the_directory(tmp_path):
    base = model(tmp_path / "base", weights())
    (base / "model.safetensors").rename(tmp_path / "outside.safetensors")
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {INPUT: "../outside.safetensors"}}))
    with pytest.raises(UserError, match="no file beside it"):
        extend_directory(base, tmp_path / "new", units=10, seed=1)


def test_the_header_is_what_the_library_writes(tmp_path):
    save_file(weights(), tmp_path / "x", metadata={"format": "pt"})
    header, metadata, _ = read_header(tmp_path / "x")
    assert metadata == {"format": "pt"} and set(header) == set(weights())
