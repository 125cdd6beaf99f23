"""The engine that computes an encoder's features on a device (`spire.units`), as SpiRit-LM's tokenizers use it."""

from __future__ import annotations

import torch

from spire.units.hubert import Hubert
from spire.units.hubert_cpu import CpuHubert
from spire.units.hubert_cuda import PackedHubert
from spire.units.hubert_parts import Position


def hubert_engine(model: Hubert, where: torch.device, dtype: torch.dtype) -> CpuHubert | PackedHubert:
    """The engine of `model`, which loses its layers."""
    if where.type != "cpu":
        return PackedHubert(model, where, dtype, release=True)
    engine = CpuHubert(model, dtype, release=True)
    # For fewer than some hundred frames oneDNN orders this convolution's bfloat16 weights anew at each call: 0.3 s.
    engine.embedding.position = Position(model, torch.float32)
    return engine
