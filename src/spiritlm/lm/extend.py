"""A text model as the start of a speech-text model: the unified vocabulary, rows for it, another RoPE base.

Guarantees: old rows and all other weights keep their bytes; new rows, padding included, are random and depend on the
seed alone ("new rows random", papers 2.4: normal, with the deviation that the config gives as initializer_range);
with `random_weights` everything is random, for the ablation. Nothing but safetensors is read, the two matrices in
blocks, so a model of 7B parameters needs little memory. The folder appears whole or not at all, and transformers,
`Spiritlm` and `spire.training.checkpoint.load_model` open it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.files import free_directory, replaced_folder
from spire.vocabulary.embeddings import INPUT, OUTPUT, _read_json, _weight_files, _write_configs, _write_weights
from spire.vocabulary.layout import Layout
from spire.vocabulary.tensors import read_header
from spire.vocabulary.tokenizer import Vocabulary
from spiritlm.lm.vocabulary import Units, unified_vocabulary


def extend_model_folder(
    model: str | Path,
    out: str | Path,
    units: Units,
    seed: int,
    rope_base: float | None = None,
    random_weights: bool = False,
) -> Layout:
    """Write to the new folder `out` the Hugging Face Llama in `model` with the unified vocabulary; returns its layout.

    rope_base: of the new config (None: as in the old). UserError: `out` exists, `model` is no Llama with a tokenizer,
    its vocabulary is extended already or does not fit its matrices.
    """
    model, out = Path(model), free_directory(out)
    old = Vocabulary.load(model)
    vocabulary = unified_vocabulary(old, units)
    config = _read_json(model / "config.json")
    with replaced_folder(out) as folder:
        if random_weights:
            _write_random(config, vocabulary, folder, seed)
        else:
            _write_extended(model, config, old.size, vocabulary, folder, seed)
        _write_configs(model, folder, with_rope_base(config, rope_base), vocabulary, vocabulary.eos)
        vocabulary.save(folder, vocabulary.eos)
    return vocabulary.layout


def with_rope_base(config: dict, base: float | None) -> dict:
    """config.json with another base of the rotary positions, in the places where transformers 4 and 5 look for it."""
    if base is None:
        return config
    if base <= 1:
        raise UserError(f"a RoPE base of {base:g}", hint="10000 is Llama's, 100000 SpiRit-LM's")
    kinds = config.get("rope_parameters") or {"rope_type": "default"}
    return {**config, "rope_theta": float(base), "rope_parameters": {**kinds, "rope_theta": float(base)}}


def _write_extended(model: Path, config: dict, size: int, vocabulary, folder: Path, seed: int) -> None:
    files = _weight_files(model)
    tied = bool(config.get("tie_word_embeddings", False))
    if INPUT not in files or (OUTPUT not in files and not tied):
        raise UserError(f"{model} has no tensor {INPUT if INPUT not in files else OUTPUT}", hint="is this a Llama?")
    deviation, rows = float(config.get("initializer_range", 0.02)), {}
    for stream, name in enumerate(n for n in (INPUT, OUTPUT) if n in files):
        found, width = read_header(files[name])[0][name]["shape"]
        if found < size:
            hint = "the tokenizer in this directory belongs to another model"
            raise UserError(f"{files[name]}: {name} has {found} rows, the vocabulary {size} pieces", hint)
        rng = np.random.default_rng([seed, 0 if tied else stream])
        rows[name] = deviation * rng.standard_normal((vocabulary.padded_size - size, width))
    _write_weights(model, folder, files, rows, size)


def _write_random(config: dict, vocabulary, folder: Path, seed: int) -> None:
    from safetensors.torch import save_file

    from spire.training.checkpoint import WEIGHTS, new_model
    from spire.training.llama import LlamaShape

    shape = LlamaShape.from_config({**config, "vocab_size": vocabulary.padded_size}, "config.json")
    tensors = {name: p.detach().contiguous() for name, p in new_model(shape, seed).named_parameters()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def describe(layout: Layout) -> str:
    """The layout in one line, for people."""
    return json.dumps(layout.to_json(), ensure_ascii=False)
