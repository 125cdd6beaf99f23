"""Give a Llama model the rows for new tokens: the published "mean" initialization, on files, without torch.

Guarantees: old rows and all other weights keep their bytes; new rows (those that pad the matrix to a multiple of 64
included) are draws from N(mu, 1e-5 * Sigma), mu and Sigma being mean and population covariance of the rows of the
old tokens, input and output matrix each from its own; tied matrices are drawn once. The draws depend on the seed and
the weights only. The new directory appears complete or not at all.

Files are read in blocks and shards without these matrices are copied, so a model of 7B parameters takes about as much
memory as a few of its covariance matrices (docs/vocabulary.md has the measurement).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.files import free_directory, replaced_folder
from spire.vocabulary.extend import Extension, extend_vocabulary, write_vocabulary_listing
from spire.vocabulary.layout import Layout
from spire.vocabulary.plain import PlainVocabulary
from spire.vocabulary.rows import BLOCK, SCALES, draw, moments
from spire.vocabulary.tensors import append_rows, read_header, row_blocks
from spire.vocabulary.tokenizer import Vocabulary
from spire.vocabulary.tokenizer_config import TOKENIZER_FILE

INPUT, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
INDEX_FILE = "model.safetensors.index.json"
PAPERS = ("license", "notice", "readme", "use_policy")  # files to hand on; logs and the old tokenizer stay behind


def extend_directory(
    model_dir: str | Path,
    out: str | Path,
    units: int,
    seed: int,
    types: list[str] | None = None,
    scoring: str = "bpe",
    init: str = "mean",
    **how,
) -> Layout:
    """Write to `out` the model in `model_dir` with vocabulary and matrices extended by `units` units, then by `types`.

    init: "mean" (scale 1e-5 of the covariance) or "default" (1e-9, as the library's own resize); `how`: form, variant
    and units_of of an `Extension`. Raises UserError when `out` exists, the directory is no Llama-like model with a
    tokenizer, or the vocabulary is already extended. Returns the new layout.
    """
    model_dir, out = Path(model_dir), free_directory(out)
    if init not in SCALES:
        raise UserError(f"unknown initialization {init!r}", hint="one of " + ", ".join(SCALES))
    old = Vocabulary.load(model_dir)
    _all_tokens_are_known(model_dir, old)
    try:
        vocabulary = extend_vocabulary(old, Extension(units, types or [], scoring=scoring, **how))
    except UserError as e:
        raise UserError(f"{model_dir}: {e.message}", e.hint) from e
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
        new_rows = _draw(files, old.size, vocabulary.padded_size, seed, tied, SCALES[init])
        _write_weights(model_dir, temporary, files, new_rows, old.size)
        eos = vocabulary.im_end if how.get("variant") == "instruct" else vocabulary.eos
        _write_configs(model_dir, temporary, config, vocabulary, eos)
        write_tokenizer(vocabulary, temporary, eos)
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return vocabulary.layout


def _all_tokens_are_known(model_dir: Path, old: Vocabulary | PlainVocabulary) -> None:
    """UserError when tokenizer.json has ids after the SentencePiece pieces: new pieces would take them."""
    path = model_dir / TOKENIZER_FILE
    if isinstance(old, PlainVocabulary) or not path.is_file():
        return
    beyond = [t["content"] for t in _read_json(path).get("added_tokens", []) if t["id"] >= old.size]
    if beyond:
        raise UserError(
            f"{path} has {len(beyond)} tokens that tokenizer.model lacks, such as {beyond[0]!r}",
            hint="to keep them, extend a copy of the directory without tokenizer.model: then tokenizer.json counts",
        )


def extend_tokenizer(source: str | Path, out: str | Path, extension: Extension) -> Layout:
    """Write to the new directory `out` the extended tokenizer alone, of a `.model` file or a directory.

    Raises UserError as `extend_directory`.
    """
    out = free_directory(out)
    vocabulary = extend_vocabulary(Vocabulary.load(source), extension)
    with replaced_folder(out) as folder:
        write_tokenizer(vocabulary, folder, vocabulary.im_end if extension.variant == "instruct" else vocabulary.eos)
    return vocabulary.layout


def write_tokenizer(vocabulary: Vocabulary | PlainVocabulary, folder: Path, eos: int) -> None:
    """A vocabulary's files, and for a SentencePiece model the readable listing `tokenizer.vocab`."""
    vocabulary.save(folder, eos)
    if isinstance(vocabulary, Vocabulary):
        write_vocabulary_listing(vocabulary.model, folder / "tokenizer.vocab")


def _draw(
    files: dict[str, Path], old_size: int, rows: int, seed: int, tied: bool, scale: float
) -> dict[str, np.ndarray]:
    """New rows of each matrix. A tied model stored with both matrices gets the same rows in both."""
    drawn: dict[str, np.ndarray] = {}
    for stream, name in enumerate((INPUT, OUTPUT)):
        if name not in files:
            continue
        if tied and name == OUTPUT:
            drawn[name] = drawn[INPUT]
            continue
        shape = read_header(files[name])[0][name]["shape"]
        if len(shape) != 2 or shape[0] < old_size:
            raise UserError(
                f"{files[name]}: {name} has {shape[0]} rows, the vocabulary {old_size} pieces",
                hint="the tokenizer in this directory belongs to another model",
            )
        # Rows beyond the vocabulary are padding that no token ever trained: they would bend mean and covariance.
        mean, covariance = moments(partial(row_blocks, files[name], name, old_size, BLOCK))
        drawn[name] = draw(mean, covariance, rows - old_size, np.random.default_rng([seed, stream]), scale)
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
        if here:
            total += append_rows(path, target / path.name, here, dict.fromkeys(here, keep))
        else:
            total += sum(t["data_offsets"][1] - t["data_offsets"][0] for t in read_header(path)[0].values())
            shutil.copyfile(path, target / path.name)
    if (model_dir / INDEX_FILE).is_file():
        index = _read_json(model_dir / INDEX_FILE)
        index["metadata"] = {**(index.get("metadata") or {}), "total_size": total}
        _write_json(target / INDEX_FILE, index)


def _write_configs(
    model_dir: Path, target: Path, config: dict, vocabulary: Vocabulary | PlainVocabulary, eos: int
) -> None:
    """config.json and generation_config.json with the new sizes and ids, and the licence papers."""
    ids = {"bos_token_id": vocabulary.bos, "eos_token_id": eos, "pad_token_id": vocabulary.pad}
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
