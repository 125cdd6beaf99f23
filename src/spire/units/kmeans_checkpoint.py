"""The checkpoint of a k-means under way: one safetensors file, replaced whole, read back bit for bit.

Tensors are stored as they are; numbers, texts and lists as JSON in the metadata, with a fingerprint of the settings and
the frames, so that a checkpoint never goes on with others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from spire.errors import UserError
from spire.files import replaced_file


def write_checkpoint(path: Path, fingerprint: str, tensors: dict[str, torch.Tensor], numbers: dict[str, Any]) -> None:
    """Replace `path`; tensors of any device and dtype of safetensors."""
    from safetensors.torch import save_file

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replaced_file(path) as partial:
        save_file(stored, str(partial), metadata={"fingerprint": fingerprint, "numbers": json.dumps(numbers)})


def read_checkpoint(path: Path, fingerprint: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors on the CPU, numbers); UserError when it is damaged or belongs to another training."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            numbers = json.loads(metadata.get("numbers", ""))
    except (SafetensorError, ValueError, OSError) as e:
        raise UserError(f"{path}: not a checkpoint of k-means: {e}", hint="remove it to start again") from e
    if metadata.get("fingerprint") != fingerprint:
        reason = f"{path}: belongs to other settings or other frames"
        raise UserError(reason, hint="remove it to start again, or give the arguments it was made with")
    return tensors, numbers
