"""Foreign files to ours, once: an encoder folder in Hugging Face form, a k-means as safetensors.

What is written says where it came from: `source_sha256`, `source_format` and more in the safetensors metadata, and the
same for an encoder in config.json under `spire_source`. The same source gives the same bytes. Outputs appear whole or
not at all.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.files import free_directory
from spire.foreign.fairseq import VOCABULARY, WAVEFORM_EPS, read_fairseq
from spire.foreign.provenance import snapshot_revision
from spire.foreign.source import refuse
from spire.foreign.tensors_out import write_tensors
from spire.foreign.torch_file import Tensor, TorchFile, tensors_of

GROWTH = 4  # times the file's size that its tensors may have: float16 doubles, tied tensors are written twice
ABANDONED = 24 * 3600  # seconds after which an unfinished folder counts as left behind
PREPROCESSOR = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "sampling_rate": 16_000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
}


def sha256_of(path: str | Path) -> str:
    """Hex digest of the file's bytes; UserError when it is missing."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError) as e:
        raise UserError(f"{path}: no such file", hint="give the path of a downloaded file") from e


def convert_encoder(path: str | Path, out: str | Path) -> dict:
    """A fairseq checkpoint as the Hugging Face folder `out` (config.json, preprocessor_config.json,
    model.safetensors in float32); returns config.json. Tensors are read and written one by one. UserError when the
    file is refused, or `out` is not free."""
    out = free_directory(out)
    digest = sha256_of(path)
    with TorchFile(path, VOCABULARY) as file:
        model = read_fairseq(file)
        source = {
            "format": "fairseq",
            "sha256": digest,
            "waveform_eps": WAVEFORM_EPS,
            "final_norm_on_last_layer": False,
        }
        config = model.config | {"spire_source": source}
        texts = {"config.json": config, "preprocessor_config.json": PREPROCESSOR | {"do_normalize": model.normalize}}
        _write_folder(out, texts, file, model.tensors, "fairseq", digest, single=True)
    return config


def convert_weights(folder: Path, out: Path) -> None:
    """A Hugging Face folder that has only pytorch_model.bin as the folder `out` with model.safetensors instead.
    Types stay as they are, except that bfloat16 widens to float32."""
    path = folder / "pytorch_model.bin"
    digest = sha256_of(path)
    texts = {
        name: _object(folder / name) for name in ("config.json", "preprocessor_config.json") if (folder / name).exists()
    }
    revision = snapshot_revision(folder)
    source = {"format": path.name, "sha256": digest} | ({"revision": revision} if revision else {})
    texts["config.json"] = texts.get("config.json", {}) | {"spire_source": source}
    with TorchFile(path) as file:
        _write_folder(out, texts, file, tensors_of(file.root, file.where), "pytorch_model.bin", digest, single=False)


def _object(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        refuse(path, f"is not JSON: {e}")
    if not isinstance(found, dict):
        refuse(path, "is not a JSON object")
    return found


def _write_folder(
    out: Path,
    texts: Mapping[str, dict],
    file: TorchFile,
    tensors: Mapping[str, Tensor],
    source_format: str,
    digest: str,
    single: bool,
) -> None:
    def get(name: str) -> np.ndarray:
        array = file.array(tensors[name])
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            refuse(file.where, f"tensor {name} holds values that are not finite")
        return array.astype(np.float32, copy=False) if single else array

    described = {name: (tensor.shape, "f4" if single else _code(tensor)) for name, tensor in tensors.items()}
    total = sum(math.prod(shape) * int(code[1]) for shape, code in described.values())
    if total > GROWTH * file.size:
        refuse(file.where, f"holds tensors of {total} bytes in {file.size} bytes")
    metadata = {"format": "pt", "source_format": source_format, "source_sha256": digest}
    out.parent.mkdir(parents=True, exist_ok=True)
    for leftover in out.parent.glob(f".{out.name}.*.partial"):
        # Of a run that was killed; a younger one may belong to a process that converts the same file now.
        if time.time() - leftover.stat().st_mtime > ABANDONED:
            shutil.rmtree(leftover, ignore_errors=True)
    partial = out.with_name(f".{out.name}.{secrets.token_hex(6)}.partial")
    partial.mkdir()
    try:
        for name, content in texts.items():
            (partial / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        write_tensors(partial / "model.safetensors", described, get, metadata)
        if out.is_dir():
            out.rmdir()
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _code(tensor: Tensor) -> str:
    return "f4" if tensor.storage.dtype == "bf16" else np.dtype(tensor.storage.dtype).str[1:]
