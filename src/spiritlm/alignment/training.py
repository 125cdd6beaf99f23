"""Training a CTC aligner and recognizer from random weights, by the loop that trains the language models.

Guarantees: weights depend on manifest, sizes, settings and the kind of processor only; a run that was killed and
started again goes on from its newest checkpoint and ends with the same bytes. What is written opens in transformers.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from spire.errors import UserError
from spire.files import free_directory
from spire.training.cpu import keep_freed_memory
from spire.training.engine import KINDS, Losses
from spire.training.log import JsonLines
from spire.training.loop import train
from spire.training.optimizer import FlatAdamW
from spire.training.settings import Settings
from spire.training.snapshots import Checkpoints, Interval
from spire.units.hubert import HubertShape
from spire.units.products import fast_dtype, set_product_dtype
from spiritlm.alignment.augment import augment
from spiritlm.alignment.letters import ENGLISH, Letters
from spiritlm.alignment.trainable import TrainableCtc, check_shape
from spiritlm.alignment.utterances import Batch, Utterances

STATE = "state.safetensors"
SPAN = 5  # frames that are hidden together


@dataclass(frozen=True)
class Recipe:
    """`augmented`: whether audio is made worse (`augment`); `masked`: share of frames hidden, in spans of SPAN."""

    augmented: bool = True
    masked: float = 0.0


class CtcEngine:
    """See `spire.training.engine.Engine`. The loss is the CTC loss divided by the number of labels, averaged."""

    is_main = True

    def __init__(self, model: TrainableCtc, settings: Settings, recipe: Recipe, device: str = "cpu"):
        torch.set_num_threads(settings.threads)
        keep_freed_memory()
        self.device = torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise UserError("--device cuda: no GPU that PyTorch can use", hint="--device cpu")
        self.model, self.settings, self.recipe = model.to(self.device), settings, recipe
        dtype, self.reason = fast_dtype() if settings.precision == "auto" else (None, "as asked")
        if self.device.type == "cuda":
            dtype, self.reason = torch.bfloat16 if settings.precision != "fp32" else torch.float32, "on a GPU"
        if dtype is None:
            dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        set_product_dtype(self.model, dtype)
        self.precision = "bf16" if dtype == torch.bfloat16 else "fp32"
        self.parameters = sum(p.numel() for p in model.parameters())
        self.optimizer = _Adam(list(model.parameters()), settings, self.device)

    def forward_backward(self, batch: Batch) -> Losses:
        rng = np.random.default_rng([self.settings.seed, 2, batch.number])
        wav, frames = batch.wav.to(self.device), batch.frames.to(self.device)
        if self.recipe.augmented:
            wav = augment(wav, batch.samples, rng)
        loss = self._loss(wav, frames, batch, self._hidden(batch, rng))
        loss.backward()
        return self._losses(loss, batch)

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Losses:
        loss = self._loss(batch.wav.to(self.device), batch.frames.to(self.device), batch, None)
        return self._losses(loss, batch)

    def _loss(self, wav: torch.Tensor, frames: torch.Tensor, batch: Batch, hidden: torch.Tensor | None):
        scores = self.model(wav, frames, hidden).transpose(0, 1)
        labels, counts = batch.labels.to(self.device), batch.counts.to(self.device)
        return F.ctc_loss(scores, labels, frames, counts, blank=self.model.letters.blank, zero_infinity=True)

    def _hidden(self, batch: Batch, rng: np.random.Generator) -> torch.Tensor | None:
        if not self.recipe.masked:
            return None
        shape = (len(batch.frames), int(batch.frames.max()))
        begins = rng.random(shape) < self.recipe.masked / SPAN
        hidden = begins.copy()
        for shift in range(1, SPAN):
            hidden[:, shift:] |= begins[:, :-shift]
        return torch.from_numpy(hidden).to(self.device)

    def _losses(self, loss: torch.Tensor, batch: Batch) -> Losses:
        count = len(batch.frames)
        sums, counts = torch.zeros(KINDS, dtype=torch.float64), torch.zeros(KINDS, dtype=torch.int64)
        sums[1], counts[1] = loss.item() * count, count
        return Losses(loss.detach(), sums, counts)

    def step(self, lr: float, clip: float) -> float:
        return self.optimizer.step(lr, clip)

    def any(self, flag: bool) -> bool:
        return flag

    def identity(self) -> dict:
        return {"engine": "ctc", "precision": self.precision, "recipe": asdict(self.recipe)}

    def save(self, folder: Path) -> list[str]:
        from safetensors.torch import save_file

        save_file(self.optimizer.state(), folder / STATE)
        return [STATE]

    def load(self, folder: Path) -> None:
        from safetensors.torch import load_file

        self.optimizer.restore(load_file(folder / STATE))


class _Adam:
    """FlatAdamW on a processor, torch.optim.AdamW on a GPU; the state is tensors by name."""

    def __init__(self, parameters: list[torch.nn.Parameter], settings: Settings, device: torch.device):
        self.parameters, self.flat = parameters, None
        if device.type == "cpu":
            self.flat = FlatAdamW(
                parameters, settings.beta1, settings.beta2, eps=1e-6, weight_decay=settings.weight_decay
            )
            return
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.torch = torch.optim.AdamW(groups, lr=0.0, betas=(settings.beta1, settings.beta2), eps=1e-6)

    def step(self, lr: float, clip: float) -> float:
        if self.flat is not None:
            return self.flat.step(lr, clip)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip).item()
        if norm < float("inf"):
            for group in self.torch.param_groups:
                group["lr"] = lr
            self.torch.step()
        self.torch.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, torch.Tensor]:
        if self.flat is not None:
            flat = self.flat
            steps = torch.tensor([flat.steps])
            return {"values": flat.values, "first": flat.first, "second": flat.second, "steps": steps}
        tensors = {f"value.{i}": p.detach().cpu().contiguous() for i, p in enumerate(self.parameters)}
        for i, p in enumerate(self.parameters):
            for name, value in self.torch.state[p].items():
                tensors[f"{name}.{i}"] = value.detach().cpu().contiguous()
        return tensors

    @torch.no_grad()
    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        if self.flat is not None:
            for name in ("values", "first", "second"):
                getattr(self.flat, name).copy_(tensors[name])
            self.flat.steps = int(tensors["steps"])
            self.flat.grads.zero_()
            return
        for i, p in enumerate(self.parameters):
            p.copy_(tensors[f"value.{i}"])
            stored = {name: tensors[f"{name}.{i}"] for name in ("step", "exp_avg", "exp_avg_sq")}
            self.torch.state[p] = {k: v if k == "step" else v.to(p.device) for k, v in stored.items()}


def train_ctc(
    manifest: Path,
    shape: HubertShape,
    settings: Settings,
    recipe: Recipe,
    out: Path,
    log: Path,
    checkpoints: Path,
    earlier: tuple[Path, ...] = (),
    every: str = "10m",
    device: str = "cpu",
    alphabet: str = ENGLISH,
) -> dict:
    """Train on the texts of `manifest` and write the folder `out`; returns the record (also in training.json).

    UserError: `out` is not free, sizes that cannot be trained, nothing to learn from, or the loss runs away.
    """
    free_directory(out)
    check_shape(shape)
    letters = Letters.of(alphabet)
    source = Utterances(manifest, letters, shape, settings.tokens_per_step, settings.seed)
    model = TrainableCtc(shape, letters, settings.seed)
    engine = CtcEngine(model, settings, recipe, device)
    print(
        f"ctc: {len(source)} utterances, {source.seconds / 3600:.2f} h, {len(source.left_out)} left out; "
        f"{engine.parameters:,} parameters, products in {engine.precision} ({engine.reason})",
        flush=True,
    )

    def identity() -> dict:
        made_of = {"settings": asdict(settings), "shape": asdict(shape), "alphabet": alphabet}
        return made_of | {"source": source.identity()} | engine.identity()

    snapshots = Checkpoints(checkpoints, identity, Interval.parse(every), earlier=earlier)
    with JsonLines(log) as lines:
        outcome = train(engine, source, settings, lines, "ctc", checkpoints=snapshots)
    record = {
        "settings": asdict(settings),
        "recipe": asdict(recipe),
        "utterances": len(source),
        "left_out": source.left_out[:100],
        "manifest_sha256": hashlib.sha256(Path(manifest).read_bytes()).hexdigest(),
        "loss": round(outcome.loss, 4),
        "epochs": outcome.epochs,
        "precision": outcome.precision,
        "cpu_seconds": round(outcome.cpu_seconds, 1),
    }
    model.save(out, {"training.json": json.dumps({k: v for k, v in record.items() if k != "cpu_seconds"}, indent=1)})
    snapshots.finished(engine)
    return record
