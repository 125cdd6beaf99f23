"""How this CPU is used: the type of matrix operands, and memory that stays with the process."""

from __future__ import annotations

import ctypes

import torch

from spire.training.packed import bf16_is_fast


def choose_dtype(precision: str) -> tuple[torch.dtype, str]:
    """The type of matrix operands and why: "auto" takes bfloat16 where the CPU multiplies it in hardware."""
    if precision == "auto":
        fast, reason = bf16_is_fast()
        return (torch.bfloat16 if fast else torch.float32), reason
    return (torch.bfloat16 if precision == "bf16" else torch.float32), "asked for"


def keep_freed_memory() -> None:
    """Tell glibc to keep freed buffers instead of returning them: fresh pages cost a tenth of a step on a small model.

    Does nothing under other C libraries.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    mallopt(-1, 2_000_000_000)  # M_TRIM_THRESHOLD
