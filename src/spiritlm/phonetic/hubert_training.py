"""HuBERT at 25 Hz from scratch: predict the label of masked (and unmasked) frames (spiritlm 2.1).

The same audio, settings and seed give the same weights on the same machine with one thread, also when the run was
stopped and went on: crops and masks of a step follow from (seed, step) alone.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from spire.errors import UserError
from spire.progress import Progress
from spire.training.snapshots import Checkpoints
from spire.units.hubert import Hubert, HubertShape
from spire.units.pretrain import _initialize, _rate, _spans
from spire.units.products import Linear, set_product_dtype
from spiritlm.phonetic.labelled_audio import HOP, REACH, LabelledAudio, check_length
from spiritlm.phonetic.resume import Resumable

MINI = HubertShape(
    conv_dim=(16, 24, 32, 48, 64, 64, 64, 64),
    conv_kernel=(10, 3, 3, 3, 3, 2, 2, 2),
    conv_stride=(5, 2, 2, 2, 2, 2, 2, 2),
)


@dataclass(frozen=True)
class HubertTraining:
    """Settings of a run. `frames` are those of a crop (25 a second), `mask_length` counts them too; `noisy` is the
    share of crops with noise, 0 to 20 dB below them, whose labels stay those of the clean speech; `precision` is that
    of the linear layers' products (float32 or bfloat16)."""

    steps: int = 850
    batch: int = 16
    frames: int = 40
    peak_rate: float = 3e-3
    warmup: float = 0.08
    weight_decay: float = 0.01
    clip: float = 1.0
    mask_start: float = 0.08
    mask_length: int = 5
    unmasked_weight: float = 1.0
    noisy: float = 0.0
    precision: str = "float32"
    device: str = "cpu"
    seed: int = 1


def check_shape(shape: HubertShape) -> None:
    """UserError unless a frame is 640 samples, with a window of 720."""
    if math.prod(shape.conv_stride) != HOP or shape.samples(1) != HOP + REACH:
        found = f"{math.prod(shape.conv_stride)} samples a frame, a window of {shape.samples(1)}"
        raise UserError(f"the convolutions give {found}", hint=f"25 Hz needs {HOP} and {HOP + REACH}")


def train_hubert(
    audio: LabelledAudio,
    clusters: int,
    shape: HubertShape,
    settings: HubertTraining,
    checkpoints: Checkpoints | None = None,
) -> tuple[Hubert, list[dict]]:
    """The model and its curve [{step, loss, masked_accuracy, unmasked_accuracy}].

    UserError when settings make no sense, the audio is shorter than a crop, or the loss stops being a number.
    """
    if settings.steps < 1 or settings.batch < 1 or settings.frames < 2 * settings.mask_length:
        raise UserError("steps and batch must be positive, frames at least two masks long", hint="see --help")
    check_shape(shape)
    check_length(audio, settings.frames)
    torch.manual_seed(settings.seed)
    model = Hubert(shape)
    head = Linear(shape.hidden_size, clusters)
    _initialize(model, head)
    for part in (model, head):
        part.to(settings.device)
        set_product_dtype(part, getattr(torch, settings.precision))
    curve = _train(model, head, audio, settings, checkpoints)
    return model.cpu(), curve


def identity(audio_record: dict, shape: HubertShape, settings: HubertTraining) -> dict:
    """What a checkpoint must have been made of, as JSON values."""
    return {"audio": audio_record, "shape": asdict(shape), "settings": asdict(settings)}


def _train(
    model: Hubert, head: nn.Linear, audio: LabelledAudio, settings: HubertTraining, checkpoints: Checkpoints | None
) -> list[dict]:
    parameters = [*model.parameters(), *head.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.peak_rate, betas=(0.9, 0.98), eps=1e-6, foreach=True)
    kept = Resumable(model=model, head=head, optimizer=optimizer)
    state = checkpoints.resume(kept) if checkpoints else None
    state = state or {"step": 0, "curve": [], "sums": [0.0] * 4}
    curve, sums = state["curve"], np.array(state["sums"])
    with Progress("hubert", total=settings.steps - state["step"], unit="steps") as progress:
        for step in range(state["step"] + 1, settings.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = settings.peak_rate * _rate(step, settings)
            loss, counts = _step_loss(model, head, audio, settings, step)
            value = loss.item()
            if not math.isfinite(value):
                raise UserError(f"step {step}: the loss is {value}", hint="lower --rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
            sums += counts
            if step % 50 == 0 or step == settings.steps:
                masked, seen = sums[0] / max(sums[1], 1), sums[2] / max(sums[3], 1)
                point = {"step": step, "loss": value, "masked_accuracy": masked, "unmasked_accuracy": seen}
                curve.append({key: round(value, 4) for key, value in point.items()})
                sums[:] = 0
            progress.advance(note=f"loss {value:.3f}")
            if checkpoints and checkpoints.due(step):
                checkpoints.save(kept, step, {"step": step, "curve": curve, "sums": sums.tolist()})
    return curve


def _step_loss(
    model: Hubert, head: nn.Linear, audio: LabelledAudio, settings: HubertTraining, step: int
) -> tuple[torch.Tensor, np.ndarray]:
    """Loss of the step's batch, and (right, all) of masked and of unmasked frames."""
    rng = np.random.default_rng([settings.seed, step])
    starts = rng.integers(0, len(audio.labels) - settings.frames + 1, settings.batch)
    samples = settings.frames * HOP + REACH
    wav = np.stack([audio.wav[s * HOP : s * HOP + samples] for s in starts]).astype(np.float32)
    labels = np.stack([audio.labels[s : s + settings.frames] for s in starts]).astype(np.int64)
    if settings.noisy:
        wav = _with_noise(wav, rng, settings.noisy)
    wav, labels = (torch.from_numpy(array).to(settings.device) for array in (wav, labels))
    mask = torch.from_numpy(_spans(rng, settings)).to(settings.device)
    frames = torch.where(mask[:, :, None], model.masked_spec_embed, model.frames(wav))
    hidden = model.layer(frames, model.shape.num_hidden_layers)
    if model.shape.do_stable_layer_norm:
        hidden = model.encoder.layer_norm(hidden)
    logits, targets, mask = head(hidden).flatten(0, 1), labels.flatten(), mask.flatten()
    known = (targets >= 0).float() * torch.where(mask, 1.0, settings.unmasked_weight)
    each = F.cross_entropy(logits, targets.clamp(min=0), reduction="none")
    loss = (each * known).sum() / known.sum().clamp(min=1)
    right = logits.argmax(dim=1) == targets
    parts = ((targets >= 0) & mask, (targets >= 0) & ~mask)
    return loss, np.array([float(count) for part in parts for count in ((right & part).sum(), part.sum())])


def _with_noise(wav: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """White noise for a share of the rows, of a level of its own in each."""
    levels = 10 ** (-rng.uniform(0, 20, (len(wav), 1)) / 20) * (rng.random((len(wav), 1)) < share)
    levels = (levels * np.sqrt((wav**2).mean(axis=1, keepdims=True))).astype(np.float32)
    return wav + levels * rng.standard_normal(wav.shape, np.float32)
