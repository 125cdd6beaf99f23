"""Give a Llama model the rows for new tokens: the published "mean" initialization, on files, without torch.

Guarantees: old rows and all other weights keep their bytes; new rows (those that pad the matrix to a multiple of 64
included) are draws from N(mu, 1e-5 * Sigma), mu and Sigma being mean and population covariance of the rows of the
old tokens, input and output matrix each from its own; tied matrices are drawn once. The draws depend on the seed and
the weights only. The new directory appears complete or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.files import free_directory
from spire.vocabulary.extend import extend_model, extended_layout, unit_pieces, write_vocabulary_listing
from spire.vocabulary.tensors import append_rows, read_header, read_matrix
from spire.vocabulary.tokenizer import Layout, Vocabulary

INPUT, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
COVARIANCE_SCALE = 1e-5
INDEX_FILE = "model.safetensors.index.json"
PAPERS = ("license", "notice", "readme", "use_policy")  # files to hand on; logs and the old tokenizer stay behind


def sample_rows(old: np.ndarray, count: int, rng: np.random.Generator, scale: float = COVARIANCE_SCALE) -> np.ndarray:
    """`count` draws [count, d] float64 from N(mean, scale * covariance) of the rows of `old` [n, d] float64.

    The covariance is singular when n <= d or the weights were rounded; the least jitter on its diagonal (relative to
    its mean, from 1e-10 upward) that lets the Cholesky factor exist is added.
    """
    if not np.isfinite(old).all():
        raise UserError("the embeddings hold NaN or infinite values", hint="the base model's training went wrong")
    mean = old.mean(axis=0)
    centered = old - mean
    covariance = centered.T @ centered / len(old)
    jitter = 1e-10
    base = float(np.trace(covariance)) / len(covariance) or 1.0
    while True:
        try:
            factor = np.linalg.cholesky(covariance + jitter * base * np.eye(len(covariance)))
            break
        except np.linalg.LinAlgError:
            jitter *= 10
    return mean + np.sqrt(scale) * (rng.standard_normal((count, len(mean))) @ factor.T)


def extend_directory(
    model_dir: str | Path, out: str | Path, units: int, seed: int, types: list[str] | None = None, scoring: str = "bpe"
) -> Layout:
    """Write to `out` the model in `model_dir` with vocabulary and matrices extended by `units` units (or by `types`).

    Raises UserError when `out` exists, the directory is no Llama model with a SentencePiece vocabulary, or the
    vocabulary is already extended. Returns the new layout.
    """
    model_dir, out = Path(model_dir), free_directory(out)
    old = Vocabulary.load(model_dir)
    if old.layout.specials or old.layout.instruct:
        raise UserError(f"{model_dir} is extended already", hint="give the model it was extended from")
    extended, added = extend_model(old.model, unit_pieces(units) if types is None else types, scoring=scoring)
    vocabulary = Vocabulary(extended, extended_layout(old.size, added))
    config = _read_json(model_dir / "config.json")
    files = _weight_files(model_dir)
    tied = bool(config.get("tie_word_embeddings", False))
    if INPUT not in files:
        raise UserError(f"{model_dir} has no tensor {INPUT}", hint="is this a Hugging Face Llama directory?")
    if OUTPUT not in files and not tied:
        raise UserError(f"{model_dir} has no tensor {OUTPUT}, and its config does not tie it to the input matrix")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        temporary.chmod(0o755)
        new_rows = _draw(files, old.size, vocabulary.padded_size, seed, tied)
        _write_weights(model_dir, temporary, files, new_rows, old.size)
        _write_configs(model_dir, temporary, config, vocabulary)
        vocabulary.save(temporary)
        write_vocabulary_listing(extended, temporary / "tokenizer.vocab")
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return vocabulary.layout


def _draw(files: dict[str, Path], old_size: int, rows: int, seed: int, tied: bool) -> dict[str, np.ndarray]:
    """New rows of each matrix. A tied model stored with both matrices gets the same rows in both."""
    drawn: dict[str, np.ndarray] = {}
    for stream, name in enumerate((INPUT, OUTPUT)):
        if name not in files:
            continue
        if tied and name == OUTPUT:
            drawn[name] = drawn[INPUT]
            continue
        matrix = read_matrix(files[name], name)
        if len(matrix) < old_size:
            raise UserError(
                f"{files[name]}: {name} has {len(matrix)} rows, the vocabulary {old_size} pieces",
                hint="the tokenizer.model in this directory belongs to another model",
            )
        # Rows beyond the vocabulary are padding that no token ever trained: they would bend mean and covariance.
        drawn[name] = sample_rows(matrix[:old_size], rows - old_size, np.random.default_rng([seed, stream]))
    return drawn


def _weight_files(model_dir: Path) -> dict[str, Path]:
    """Tensor name -> file, for single-file and sharded models."""
    single, index = model_dir / "model.safetensors", model_dir / INDEX_FILE
    if single.is_file():
        return dict.fromkeys(read_header(single)[0], single)
    if not index.is_file():
        raise UserError(f"{model_dir} has neither model.safetensors nor {INDEX_FILE}")
    weights = _read_json(index).get("weight_map", {})
    for name in set(weights.values()):
        if Path(name).name != name or not (model_dir / name).is_file():
            raise UserError(f"{index} names {name!r}, which is no file beside it")
    return {tensor: model_dir / name for tensor, name in weights.items()}


def _write_weights(
    model_dir: Path, target: Path, files: dict[str, Path], rows: dict[str, np.ndarray], keep: int
) -> None:
    total = 0
    for path in sorted(set(files.values())):
        here = {name: new for name, new in rows.items() if files[name] == path}
        total += append_rows(path, target / path.name, here, dict.fromkeys(here, keep))
    if (model_dir / INDEX_FILE).is_file():
        index = _read_json(model_dir / INDEX_FILE)
        index["metadata"] = {**(index.get("metadata") or {}), "total_size": total}
        _write_json(target / INDEX_FILE, index)


def _write_configs(model_dir: Path, target: Path, config: dict, vocabulary: Vocabulary) -> None:
    """config.json and generation_config.json with the new sizes and ids, and the licence papers."""
    ids = {"bos_token_id": vocabulary.bos, "eos_token_id": vocabulary.eos, "pad_token_id": vocabulary.pad}
    _write_json(target / "config.json", {**config, **ids, "vocab_size": vocabulary.padded_size})
    generation = model_dir / "generation_config.json"
    _write_json(target / generation.name, {**(_read_json(generation) if generation.is_file() else {}), **ids})
    for path in sorted(model_dir.iterdir()):
        if path.is_file() and path.name.lower().startswith(PAPERS):
            shutil.copyfile(path, target / path.name)


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file", hint="expected a Hugging Face model directory") from e
    except ValueError as e:
        raise UserError(f"{path}: not JSON: {e}") from e


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
