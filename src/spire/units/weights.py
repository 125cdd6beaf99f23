"""Encoders in Hugging Face form on disk: config.json, and safetensors in one file or in shards. Nothing is executed.

Only the tensors that are asked for are read: of a Whisper, its encoder and not its decoder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from spire.errors import UserError

HINT = "an encoder's folder holds config.json and model.safetensors"


def read_config(folder: str | Path) -> dict:
    """The content of config.json; UserError when it is missing or not a JSON object."""
    return _read_object(Path(folder) / "config.json")


def _read_object(path: Path) -> dict:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise UserError(f"{path}: cannot be read: {e}", HINT) from e
    if not isinstance(config, dict):
        raise UserError(f"{path}: not a JSON object", HINT)
    return config


def read_preprocessor(folder: str | Path, needed: dict[str, tuple]) -> dict:
    """The content of preprocessor_config.json, {} without one; UserError when it asks for another front end than the
    encoder's: a key of `needed` with another value."""
    path = Path(folder) / "preprocessor_config.json"
    config = _read_object(path) if path.exists() else {}
    require(config, needed, path)
    return config


def require(config: dict, needed: dict[str, tuple], path: str | Path) -> None:
    """UserError unless each key of `needed` is absent from `config` or has one of the values given."""
    for key, allowed in needed.items():
        if config.get(key, allowed[0]) not in allowed:
            message = f"{path}: {key} is {config[key]!r}, not one of {allowed}"
            raise UserError(message, hint="this variant of the architecture is not supported")


def sizes(config: dict, names: dict[str, int], folder: str | Path) -> dict[str, int]:
    """The positive integers `names` of `config`, absent ones by their default; UserError for any other value."""
    found = {key: config.get(key, default) for key, default in names.items()}
    for key, value in found.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"{folder}/config.json: {key} is {value!r}, not a positive integer", HINT)
    return found


def weight_files(folder: str | Path) -> list[Path]:
    """model.safetensors, or the shards that model.safetensors.index.json names, in order; UserError without any."""
    folder = Path(folder)
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file() or not index.is_file():
        return [single]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, RecursionError, KeyError, AttributeError, TypeError) as e:
        raise UserError(f"{index}: cannot be read: {e}", HINT) from e
    if any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise UserError(f"{index}: a shard lies outside the folder", HINT)
    return [folder / name for name in names]


def digest(folder: str | Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the weights; of shards, of their SHA-256 one after the other."""
    sums = []
    for path in weight_files(folder):
        with open(path, "rb") as file:
            sums.append(hashlib.file_digest(file, "sha256").hexdigest())
    return (sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest())[:16]


def load_weights(model: nn.Module, folder: str | Path, name: Callable[[str], str]) -> None:
    """Fill `model` (built on the meta device) with the stored tensors in float32, and set it to evaluation.

    `name` turns a stored key into a parameter's name; keys that then name no parameter are skipped unread. UserError
    when a file is missing or broken, a parameter is missing or has another shape, or a value is not finite.
    """
    wanted = model.state_dict()
    found: dict[str, torch.Tensor] = {}
    try:
        for path in weight_files(folder):
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118, a safetensors file is not iterable
                    if name(key) in wanted:
                        found[name(key)] = file.get_tensor(key).float()
    except (OSError, SafetensorError) as e:
        raise UserError(f"{folder}: cannot be read: {e}", HINT) from e
    wrong = [key for key, value in wanted.items() if key not in found or found[key].shape != value.shape]
    if wrong:
        raise UserError(f"{folder}: {len(wrong)} tensors missing or of another shape, the first {wrong[0]}", HINT)
    broken = [key for key, value in found.items() if not torch.isfinite(value).all()]
    if broken:
        raise UserError(f"{folder}: {broken[0]} holds values that are not finite", HINT)
    model.load_state_dict(found, assign=True)
    model.eval().requires_grad_(False)
