"""One training loop for the base model, continued pretraining and instruction tuning.

Guarantees: weights depend on the starting model, the corpus, the settings, the number of threads and the kind of CPU
only; a loss that is not a number or runs away stops the run with advice and leaves no model behind.
"""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from spire.errors import UserError
from spire.progress import Progress
from spire.training.data import NO_LOSS, UNIT_LOSS, Batch, TokenCorpus, batches
from spire.training.fused import OutputLoss
from spire.training.llama import Llama
from spire.training.log import JsonLines
from spire.training.optimizer import FlatAdamW
from spire.training.packed import Layout, bf16_is_fast, packed_hidden
from spire.training.schedule import rate

PRECISIONS = ("auto", "fp32", "bf16")
_TARGET_MULTIPLE = 256


@dataclass(frozen=True)
class Settings:
    """The recipe. `unit_weight` is the loss weight of speech units (text has 1); `tokens_per_step` counts real
    tokens.
    """

    steps: int
    tokens_per_step: int
    lr: float
    warmup: int = 50
    schedule: str = "wsd"
    seed: int = 1
    threads: int = 1
    unit_weight: float = 1.0
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.98
    clip: float = 1.0
    precision: str = "auto"
    log_every: int = 25

    def __post_init__(self) -> None:
        for name in ("steps", "tokens_per_step", "lr", "threads", "clip", "log_every"):
            if not getattr(self, name) > 0:
                raise UserError(f"--{name.replace('_', '-')} is {getattr(self, name)}, must be above 0")
        if self.precision not in PRECISIONS:
            raise UserError(f"unknown precision {self.precision!r}", hint=f"choose one of {', '.join(PRECISIONS)}")
        rate(0, self.steps, self.lr, self.warmup, self.schedule)


@dataclass(frozen=True)
class Outcome:
    """What a run did: steps, tokens seen, epochs begun, loss over the last tenth, CPU and wall seconds, precision and
    its reason.
    """

    steps: int
    tokens: int
    epochs: int
    loss: float
    cpu_seconds: float
    wall_seconds: float
    precision: str
    reason: str


def choose_dtype(precision: str) -> tuple[torch.dtype, str]:
    """The type of matrix operands and why: "auto" takes bfloat16 where the CPU multiplies it in hardware."""
    if precision == "auto":
        fast, reason = bf16_is_fast()
        return (torch.bfloat16 if fast else torch.float32), reason
    return (torch.bfloat16 if precision == "bf16" else torch.float32), "asked for"


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


class _Means:
    """Sums of token losses by block (and by units against text), emptied at every log line."""

    def __init__(self, blocks: list[str]):
        self.blocks = blocks
        self.clear()

    def clear(self) -> None:
        self.sums: dict[str, list[float]] = {}

    def add(self, nll: torch.Tensor, kinds: torch.Tensor, blocks: torch.Tensor) -> None:
        key = blocks.long() * 4 + kinds.long()
        sums = torch.zeros(4 * len(self.blocks), dtype=torch.float64).index_add_(0, key, nll.double())
        counts = torch.bincount(key, minlength=len(sums))
        for k in counts.nonzero().flatten().tolist():
            name = self.blocks[k // 4] + (".units" if k % 4 == UNIT_LOSS else "")
            entry = self.sums.setdefault(name, [0.0, 0])
            entry[0] += sums[k].item()
            entry[1] += int(counts[k])

    def read(self) -> dict[str, float]:
        return {name: total / n for name, (total, n) in sorted(self.sums.items())}


def train(
    model: Llama,
    corpus: TokenCorpus,
    settings: Settings,
    log: JsonLines,
    label: str,
    probe: Callable[[int], str] | None = None,
) -> Outcome:
    """Train `model` in place. `probe(step)` is called after every step and returns a note for the progress line (""
    for none).
    """
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    dtype, reason = choose_dtype(settings.precision)
    optimizer = FlatAdamW(list(model.parameters()), settings.beta1, settings.beta2, weight_decay=settings.weight_decay)
    means, watch = _Means(corpus.blocks), _Watch(settings)
    stream = batches(corpus, settings.tokens_per_step, settings.seed)
    wall, cpu, seen, epoch, since = time.monotonic(), time.process_time(), 0, 0, 0.0
    with Progress(label, total=settings.steps, unit="steps") as progress:
        for step in range(settings.steps):
            batch = next(stream)
            epoch = batch.epoch
            lr = rate(step, settings.steps, settings.lr, settings.warmup, settings.schedule)
            loss, nll, kinds, blocks = batch_loss(model, batch, settings.unit_weight, dtype)
            loss.backward()
            norm = optimizer.step(lr, settings.clip)
            value = watch.check(step, loss.item(), norm, lr)
            seen += batch.tokens
            since += value
            means.add(nll, kinds, blocks)
            done = step + 1
            note = f"loss {watch.smooth:.3f}"
            if done % settings.log_every == 0 or done == settings.steps:
                count = (step % settings.log_every) + 1
                log.write(
                    step=done,
                    loss=since / count,
                    blocks=means.read(),
                    lr=lr,
                    grad_norm=norm,
                    tokens=seen,
                    epoch=epoch,
                    seconds=time.monotonic() - wall,
                    cpu_seconds=time.process_time() - cpu,
                )
                means.clear()
                since = 0.0
            if probe is not None and (extra := probe(done)):
                note += f", {extra}"
            progress.advance(1, note=note)
            if done == min(5, settings.steps):
                _estimate(label, settings.steps, done, time.process_time() - cpu)
    return Outcome(
        settings.steps,
        seen,
        epoch + 1,
        watch.tail(),
        time.process_time() - cpu,
        time.monotonic() - wall,
        "bf16" if dtype == torch.bfloat16 else "fp32",
        reason,
    )


def _estimate(label: str, steps: int, done: int, cpu: float) -> None:
    print(
        f"{label}: {cpu / done:.3f} CPU s a step, about {cpu / done * steps:.0f} CPU s in all",
        file=sys.stderr,
        flush=True,
    )


class _Watch:
    """Stops a run whose loss is not a number, or which has been clearly worse than at its start for a while."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.values: list[float] = []
        self.smooth = math.nan

    def check(self, step: int, loss: float, norm: float, lr: float) -> float:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise UserError(
                f"the loss or its gradient is not a number at step {step + 1} (learning rate {lr:.2g})",
                hint=f"lower --lr (now {self.settings.lr:g}) or lengthen --warmup (now {self.settings.warmup})",
            )
        self.values.append(loss)
        self.smooth = loss if len(self.values) == 1 else 0.95 * self.smooth + 0.05 * loss
        recent = self.values[-20:]
        if len(self.values) >= 40 and min(recent) > max(self.values[:5]) + 0.5:
            raise UserError(
                f"the loss is running away: {self.values[0]:.2f} at first, {sum(recent) / 20:.2f} at step {step + 1}",
                hint=f"lower --lr (now {self.settings.lr:g}) or lengthen --warmup (now {self.settings.warmup})",
            )
        return loss

    def tail(self) -> float:
        last = self.values[-max(1, len(self.values) // 10) :]
        return sum(last) / len(last)
