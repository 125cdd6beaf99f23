"""Hugging Face model directories in and out: config.json, model.safetensors, generation_config.json, tokenizer.model
and spire_vocabulary.json.

Guarantees: only safetensors is read or written; a directory appears under its name complete or not at all;
`transformers` loads what is written here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spire.errors import UserError
from spire.training.llama import Llama, LlamaShape

WEIGHTS = "model.safetensors"


@contextmanager
def new_directory(out: str | Path) -> Iterator[Path]:
    """Yield an empty temporary directory beside `out`; rename it to `out` on success (replacing what is there),
    delete it otherwise.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.parent / f".{out.name}.tmp{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
        old = None
        if out.exists():
            old = out.parent / f".{out.name}.old{os.getpid()}"
            os.rename(out, old)
        os.rename(work, out)
        if old is not None:
            shutil.rmtree(old)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def new_model(shape: LlamaShape, seed: int) -> Llama:
    """A model with random weights that depend on shape and seed only."""
    model = Llama(shape)
    model.initialize(seed)
    return model


def load_model(folder: str | Path) -> Llama:
    """The model of a Hugging Face Llama directory, float32 on the CPU. Raises UserError when files are missing or do
    not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: no config.json", hint="give the directory of a Hugging Face model") from None
    except json.JSONDecodeError as e:
        raise UserError(f"{folder / 'config.json'}: not JSON: {e}") from None
    shape = LlamaShape.from_config(config, str(folder / "config.json"))
    model = Llama(shape)
    tensors = {}
    for file in _weight_files(folder):
        try:
            tensors |= load_file(file)
        except SafetensorError as e:
            raise UserError(f"{file}: damaged: {e}", hint="make the model again; the copy is cut or altered") from None
    if shape.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    wanted = {n: p.shape for n, p in model.named_parameters()}
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or unknown:
        raise UserError(f"{folder}: weights do not fit config.json: missing {missing[:3]}, unexpected {unknown[:3]}")
    for name, size in wanted.items():
        if tensors[name].shape != size:
            raise UserError(f"{folder}: {name} is {tuple(tensors[name].shape)}, config.json says {tuple(size)}")
    model.load_state_dict({n: t.float() for n, t in tensors.items()}, strict=False, assign=True)
    if shape.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    model.requires_grad_(True)
    return model


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / f"{WEIGHTS}.index.json"
    if not index.is_file():
        raise UserError(f"{folder}: no {WEIGHTS}", hint="only safetensors weights are read, never pickled ones")
    names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    if any(Path(n).name != n for n in names):
        raise UserError(f"{index}: names files outside its folder")
    return [folder / n for n in names]


def write_model(model: Llama, vocabulary, folder: Path, eos: int) -> None:
    """Write all files of a model into an existing (temporary) `folder`; `eos` is the id that ends an answer."""
    import torch
    from safetensors.torch import save_file

    # Cloned, because training keeps all parameters in one buffer and safetensors refuses shared storage.
    tensors = {n: p.detach().clone(memory_format=torch.contiguous_format) for n, p in model.named_parameters()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = model.shape.to_config(vocabulary.bos, eos, vocabulary.pad)
    generation = {
        "bos_token_id": vocabulary.bos,
        "eos_token_id": eos,
        "pad_token_id": vocabulary.pad,
        "do_sample": False,
    }
    for name, content in (("config.json", config), ("generation_config.json", generation)):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    vocabulary.save(folder, eos)
