"""The native engine: one CPU process trains our own Llama on documents laid end to end.

Guarantees: weights depend on the starting model, the batches, the settings, the number of threads and the kind of CPU
only; a state that was saved and loaded again goes on bit for bit.
"""

from __future__ import annotations

from pathlib import Path

import torch

from spire.errors import UserError
from spire.training.checkpoint import write_model
from spire.training.cpu import choose_dtype, keep_freed_memory
from spire.training.data import NO_LOSS, UNIT_LOSS, Batch
from spire.training.engine import KINDS, Losses
from spire.training.fused import OutputLoss
from spire.training.llama import Llama
from spire.training.optimizer import FlatAdamW
from spire.training.packed import Layout, packed_hidden
from spire.training.settings import Settings

STATE = "state.safetensors"
_TARGET_MULTIPLE = 256


def batch_loss(model: Llama, batch: Batch, unit_weight: float, dtype: torch.dtype):
    """(loss, nll [m], kinds [m], blocks [m]) of the m targets of a batch; the loss is the weighted mean of nll."""
    ids = torch.from_numpy(batch.ids)
    # Token i is predicted from the state of token i - 1; a document's first token never carries loss.
    targets = torch.from_numpy(batch.kinds != NO_LOSS).nonzero().squeeze(1)
    targets = targets[torch.from_numpy(batch.positions)[targets] > 0]
    kinds = torch.from_numpy(batch.kinds)[targets]
    blocks = torch.from_numpy(batch.blocks)[targets]
    weights = torch.where(kinds == UNIT_LOSS, unit_weight, 1.0)
    weights = weights / weights.sum().clamp_min(1e-6)
    # Targets of weight 0 round their number up, so that few shapes occur (see data._assemble).
    n = len(targets)
    spare = -n % _TARGET_MULTIPLE
    targets = torch.cat((targets, targets.new_ones(spare)))
    weights = torch.cat((weights, weights.new_zeros(spare)))
    positions = torch.from_numpy(batch.positions)
    states = packed_hidden(model, ids, positions, Layout(batch.starts), dtype, targets - 1)
    loss, nll = OutputLoss.apply(states, model.lm_head.weight, ids[targets], weights, dtype)
    return loss, nll[:n], kinds, blocks


def _losses(loss: torch.Tensor, nll: torch.Tensor, kinds: torch.Tensor, blocks: torch.Tensor) -> Losses:
    key = blocks.long() * KINDS + kinds.long()
    counts = torch.bincount(key)
    return Losses(loss, torch.zeros(len(counts), dtype=torch.float64).index_add_(0, key, nll.double()), counts)


class NativeEngine:
    """See `engine.Engine`. Owns the storage of `model`'s parameters from here on."""

    def __init__(self, model: Llama, settings: Settings):
        torch.set_num_threads(settings.threads)
        keep_freed_memory()
        self.model, self.settings = model, settings
        self.dtype, self.reason = choose_dtype(settings.precision)
        self.precision = "bf16" if self.dtype == torch.bfloat16 else "fp32"
        self.parameters = sum(p.numel() for p in model.parameters())
        self.is_main = True
        self.optimizer = FlatAdamW(
            list(model.parameters()), settings.beta1, settings.beta2, weight_decay=settings.weight_decay
        )

    def forward_backward(self, batch: Batch) -> Losses:
        loss, nll, kinds, blocks = batch_loss(self.model, batch, self.settings.unit_weight, self.dtype)
        loss.backward()
        return _losses(loss.detach(), nll, kinds, blocks)

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Losses:
        return _losses(*batch_loss(self.model, batch, self.settings.unit_weight, self.dtype))

    def step(self, lr: float, clip: float) -> float:
        return self.optimizer.step(lr, clip)

    def any(self, flag: bool) -> bool:
        return flag

    def identity(self) -> dict:
        return {"engine": "native", "precision": self.precision, "shape": self.model.shape.to_config(0, 0, 0)}

    def save(self, folder: Path) -> list[str]:
        from safetensors.torch import save_file

        o = self.optimizer
        tensors = {"values": o.values, "first": o.first, "second": o.second, "random": torch.get_rng_state()}
        save_file(tensors, folder / STATE, metadata={"updates": str(o.steps)})
        return [STATE]

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        from safetensors import safe_open

        o = self.optimizer
        with safe_open(folder / STATE, framework="pt") as file:
            for name, into in (("values", o.values), ("first", o.first), ("second", o.second)):
                found = file.get_tensor(name)
                if found.shape != into.shape:
                    raise UserError(f"{folder / STATE}: {name} has {len(found)} numbers, the model {len(into)}")
                into.copy_(found)
            o.steps = int(file.metadata()["updates"])
            torch.set_rng_state(file.get_tensor("random"))
        o.grads.zero_()

    def export(self, folder: Path, vocabulary, eos: int) -> None:
        write_model(self.model, vocabulary, folder, eos)
