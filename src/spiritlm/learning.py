"""Steps of gradient descent on small networks: the same seed gives the same weights, also when a run is stopped.

A step draws everything random from (seed, step), so a run that goes on from a checkpoint of `spire.training.snapshots`
ends with the bits of one that nobody stopped. The optimizer is AdamW with clipped gradients; the learning rate rises
over the first steps and then falls in a straight line to a twentieth of its peak.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from spire.errors import UserError
from spire.progress import Progress
from spire.training.flags import checkpoint_folders
from spire.training.optimizer import FlatAdamW
from spire.training.snapshots import Checkpoints, Interval

LOG_EVERY = 50
_OPTIMIZER = ("values", "first", "second")


class Learner:
    """Modules, their optimizer and what else changes in training, as a checkpoint keeps them. Modules are on `device`
    already; `state` are tensors that a step changes in place."""

    is_main = True

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        state: Mapping[str, torch.Tensor] | None = None,
        device: str | torch.device = "cpu",
        weight_decay: float = 0.01,
    ):
        self.device = torch.device(device)
        parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
        self.parameters = sum(p.numel() for p in parameters)
        with self.device:
            self.optimizer = FlatAdamW(parameters, eps=1e-6, weight_decay=weight_decay)
        buffers = {f"{name}.{key}": value for name, m in modules.items() for key, value in m.named_buffers()}
        self._state = buffers | dict(state or {})

    def any(self, flag: bool) -> bool:
        return flag

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {f"optimizer.{name}": getattr(self.optimizer, name) for name in _OPTIMIZER} | self._state

    def save(self, folder: Path) -> list[str]:
        """Write weights, averages of the optimizer and buffers; returns the names of the files."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self._tensors().items()}
        save_file(tensors, folder / "learner.safetensors", {"steps": str(self.optimizer.steps)})
        (folder / "learner.json").write_text(json.dumps({"steps": self.optimizer.steps}))
        return ["learner.safetensors", "learner.json"]

    def load(self, folder: Path) -> None:
        tensors = load_file(folder / "learner.safetensors")
        with torch.no_grad():
            for name, value in self._tensors().items():
                value.copy_(tensors[name])
        self.optimizer.steps = json.loads((folder / "learner.json").read_text())["steps"]


def learn(
    learner: Learner,
    loss_of: Callable[[np.random.Generator, int], tuple[torch.Tensor, Mapping[str, float]]],
    steps: int,
    rate: float,
    seed: int,
    label: str,
    warmup: float = 0.08,
    clip: float = 1.0,
    checkpoints: Checkpoints | None = None,
) -> list[dict]:
    """Take `steps` steps; returns a line {"step", "loss", ...} of means for every 50 of them.

    `loss_of(rng, step)` gives the loss to go down, and numbers to log. UserError when a loss is not finite.
    """
    kept = (checkpoints.resume(learner) if checkpoints else None) or {"step": 0, "curve": [], "sums": {}}
    first, curve, sums = kept["step"] + 1, kept["curve"], kept["sums"]
    with Progress(label, total=steps, unit="steps") as progress:
        progress.advance(first - 1)
        for step in range(first, steps + 1):
            loss, numbers = loss_of(np.random.default_rng([seed, step]), step)
            value = loss.item()
            if not math.isfinite(value):
                raise UserError(f"{label}: the loss of step {step} is {value}", hint="lower --rate")
            loss.backward()
            learner.optimizer.step(rate * _share(step, steps, warmup), clip)
            for name, number in {"loss": value, **numbers}.items():
                sums[name] = sums.get(name, 0.0) + float(number)
            if step % LOG_EVERY == 0 or step == steps:
                count = (step - 1) % LOG_EVERY + 1
                curve.append({"step": step} | {name: round(number / count, 5) for name, number in sums.items()})
                sums = {}
            progress.advance(note=", ".join(f"{k} {v:g}" for k, v in curve[-1].items() if k != "step") if curve else "")
            if checkpoints and step < steps and checkpoints.due(step):
                checkpoints.save(learner, step, {"step": step, "curve": curve, "sums": sums})
    return curve


def _share(step: int, steps: int, warmup: float) -> float:
    rise = max(1, round(warmup * steps))
    return step / rise if step <= rise else 1 - 0.95 * (step - rise) / max(1, steps - rise)


def add_learning_flags(parser: argparse.ArgumentParser, steps: int, batch: int, rate: float) -> None:
    """Steps, batch, rate, seed, device and checkpoints, with these defaults."""
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate, help="peak of the learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--checkpoint-every", default="10m", help='steps ("500") or time ("10m"); "0": none')
    parser.add_argument("--checkpoints", help="folder for them (default: OUT.checkpoints); deleted at the end")
    parser.add_argument("--out", type=Path, required=True)


def checkpoints_from(args: argparse.Namespace, identity: Callable[[], dict]) -> Checkpoints:
    """Those that the flags describe, and those of earlier attempts of the same task."""
    own, earlier = checkpoint_folders(args)
    return Checkpoints(own, identity, Interval.parse(args.checkpoint_every), earlier=earlier)
