"""Where and in which numbers an encoder computes: device and dtype, chosen by name or detected."""

from __future__ import annotations

import torch
from torch import nn

from spire.errors import UserError
from spire.units.encoder import FinalNorm

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def place(model: nn.Module, device: str, dtype: str) -> tuple[nn.Module, torch.device, torch.dtype]:
    """`model` on `device` ("cpu", "cuda", "cuda:1", ...; "auto": a GPU if there is one) in `dtype` ("float32",
    "bfloat16"; "auto": bfloat16 on a GPU); UserError for a device that is not there or another dtype."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(device)
    except RuntimeError as e:
        raise UserError(f"unknown device {device!r}", hint="cpu, cuda, cuda:0, or auto") from e
    if where.type not in ("cpu", "cuda"):
        raise UserError(f"device {device} is not supported", hint="cpu, cuda, cuda:0, or auto")
    if where.type == "cuda" and (where.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {device}: this machine has {torch.cuda.device_count()} GPUs", hint="--device cpu")
    if dtype == "auto":
        dtype = "float32" if where.type == "cpu" else "bfloat16"
    if dtype not in DTYPES:
        raise UserError(f"unknown dtype {dtype!r}", hint="float32, bfloat16, or auto")
    # float32 means float32: convolutions on a GPU would otherwise round their operands to ten bits.
    torch.backends.cudnn.allow_tf32 = False
    return model.to(where, DTYPES[dtype]), where, DTYPES[dtype]


def final_norm_of(norm: nn.LayerNorm) -> FinalNorm:
    """A layer norm of a model as numpy, taken before the model is moved or rounded."""
    return FinalNorm(norm.weight.detach().float().cpu().numpy(), norm.bias.detach().float().cpu().numpy(), norm.eps)
