"""HuBERT from scratch: predict the k-means label of cepstra at masked (and unmasked) frames.

The same audio, settings and seed give the same weights on the same machine with one thread. Training reads one endless
stream of shuffled utterances, cut at frame boundaries: no padding, no masks of unequal rows, every step the same shape.
A last frame whose window would reach 5 ms or more beyond its utterance has no label and no loss.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from spire.audio import load_utterance
from spire.errors import UserError
from spire.manifest import read_manifest
from spire.progress import Progress
from spire.units import kmeans, mfcc
from spire.units.hubert import Hubert, HubertShape, save_hubert
from spire.units.hubert_encoder import normalize_wav
from spire.units.products import Linear, set_product_dtype

LABEL_FRAMES = 60_000  # frames the label k-means learns from


@dataclass(frozen=True)
class Pretraining:
    """Settings of a run. `label_clusters` may name several label sets, whose losses are averaged; `precision` is that
    of the linear layers' products in training (float32 or bfloat16)."""

    steps: int = 850
    batch: int = 16
    frames: int = 75
    peak_rate: float = 3e-3
    warmup: float = 0.08
    weight_decay: float = 0.01
    clip: float = 1.0
    mask_start: float = 0.065
    mask_length: int = 10
    unmasked_weight: float = 1.0
    label_clusters: tuple[int, ...] = (500,)
    label_pca: int = 24
    precision: str = "float32"
    seed: int = 1


@dataclass(frozen=True)
class Stream:
    """All audio end to end: wav [320 T + 80] float16, labels [sets, T] int16 with -1 for frames without one."""

    wav: np.ndarray
    labels: np.ndarray


def read_stream(manifest: Path, settings: Pretraining) -> Stream:
    """Read, normalize, shuffle and label the utterances of a manifest; UserError when they cannot fill one crop."""
    utterances = read_manifest(manifest)
    order = np.random.default_rng(settings.seed).permutation(len(utterances))
    wavs, features = [], []
    with Progress("read", total=sum(u.duration for u in utterances), unit="s of audio") as progress:
        for i in order:
            wav = load_utterance(utterances[i])
            progress.advance(utterances[i].duration)
            if len(wav) >= mfcc.WINDOW:
                wavs.append(normalize_wav(wav)[: len(wav) // mfcc.HOP * mfcc.HOP].astype(np.float16))
                features.append(mfcc.context_features(wav)[: len(wavs[-1]) // mfcc.HOP])
    if sum(map(len, wavs)) < (settings.frames + 1) * mfcc.HOP:
        raise UserError(f"{manifest}: less audio than one crop of {settings.frames} frames", hint="give more audio")
    labels = [_label_set(features, clusters, settings) for clusters in settings.label_clusters]
    parts = []
    for i, wav in enumerate(wavs):
        part = np.full((len(labels), len(wav) // mfcc.HOP), -1, np.int16)
        part[:, : len(features[i])] = [each[i] for each in labels]
        parts.append(part)
    wavs.append(np.zeros(mfcc.WINDOW - mfcc.HOP, np.float16))
    return Stream(np.concatenate(wavs), np.concatenate(parts, axis=1))


def _label_set(features: list[np.ndarray], clusters: int, settings: Pretraining) -> list[np.ndarray]:
    sample, total = [], 0
    for part in features:
        sample.append(part[: LABEL_FRAMES - total])
        total += len(sample[-1])
        if total >= LABEL_FRAMES:
            break
    centroids = kmeans.fit(np.concatenate(sample), clusters, settings.seed, pca=settings.label_pca)
    return [kmeans.nearest(part, centroids) for part in features]


class _Heads(nn.Module):
    """One linear classifier for each label set, on the normalized last layer."""

    def __init__(self, shape: HubertShape, clusters: tuple[int, ...]):
        super().__init__()
        self.clusters = clusters
        self.projection = Linear(shape.hidden_size, sum(clusters))

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.projection(hidden).split(self.clusters, dim=-1)


def pretrain(manifest: Path, shape: HubertShape, settings: Pretraining, out: Path) -> list[dict]:
    """Train and save a Hugging Face folder with pretraining.json (settings and curve); returns the curve.

    UserError when `out` exists with content, settings make no sense, or the loss stops being a number.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: already exists and is not empty", hint="move it away or choose another --out")
    if settings.steps < 1 or settings.batch < 1 or settings.frames < 2 * settings.mask_length:
        raise UserError("steps and batch must be positive, frames at least two masks long", hint="see --help")
    stream = read_stream(manifest, settings)
    torch.manual_seed(settings.seed)
    model = Hubert(shape)
    heads = _Heads(shape, settings.label_clusters)
    _initialize(model, heads)
    for part in (model, heads):
        set_product_dtype(part, getattr(torch, settings.precision))
    curve = _train(model, heads, stream, settings)
    record = json.dumps({"settings": asdict(settings), "curve": curve}, indent=1) + "\n"
    save_hubert(model, out, {"pretraining.json": record})
    return curve


def _initialize(model: Hubert, heads: nn.Module) -> None:
    for module in (*model.modules(), *heads.modules()):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02 if module.in_features != module.out_features else 0.05)
            nn.init.zeros_(module.bias)
    for conv in model.feature_extractor.conv_layers:
        nn.init.kaiming_normal_(conv.conv.weight)
        if conv.conv.bias is not None:
            nn.init.zeros_(conv.conv.bias)
    nn.init.normal_(model.feature_projection.projection.weight, std=model.shape.conv_dim[-1] ** -0.5)


def _train(model: Hubert, heads: _Heads, stream: Stream, settings: Pretraining) -> list[dict]:
    parameters = [*model.parameters(), *heads.parameters()]
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=settings.peak_rate,
        betas=(0.9, 0.98),
        eps=1e-6,
        foreach=True,
    )
    rng = np.random.default_rng([settings.seed, 1])
    curve: list[dict] = []
    sums = np.zeros(4)
    with Progress("pretrain", total=settings.steps, unit="steps") as progress:
        for step in range(1, settings.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = settings.peak_rate * _rate(step, settings)
            loss, counts = _step_loss(model, heads, stream, settings, rng)
            if not math.isfinite(loss.item()):
                raise UserError(f"step {step}: the loss is {loss.item()}", hint="lower --rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
            sums += counts
            note = ""
            if step % 50 == 0 or step == settings.steps:
                right_masked, masked, right_seen, seen = sums
                point = {
                    "step": step,
                    "loss": round(loss.item(), 4),
                    "masked_accuracy": round(right_masked / max(masked, 1), 4),
                    "unmasked_accuracy": round(right_seen / max(seen, 1), 4),
                }
                curve.append(point)
                sums[:] = 0
                note = f"loss {point['loss']:.3f}, masked accuracy {point['masked_accuracy']:.3f}"
            progress.advance(note=note)
    return curve


def _rate(step: int, settings: Pretraining) -> float:
    """Linear rise, then linear fall to a twentieth, relative to the peak."""
    rise = max(1, round(settings.warmup * settings.steps))
    if step <= rise:
        return step / rise
    return 1 - 0.95 * (step - rise) / max(1, settings.steps - rise)


def _step_loss(
    model: Hubert, heads: _Heads, stream: Stream, settings: Pretraining, rng: np.random.Generator
) -> tuple[torch.Tensor, np.ndarray]:
    """Loss of a fresh batch, and (right, all) of masked and of unmasked frames for the first label set."""
    total = stream.labels.shape[1]
    starts = rng.integers(0, total - settings.frames + 1, settings.batch)
    samples = settings.frames * mfcc.HOP + mfcc.WINDOW - mfcc.HOP
    wav = np.stack([stream.wav[s * mfcc.HOP : s * mfcc.HOP + samples] for s in starts]).astype(np.float32)
    labels = torch.from_numpy(np.stack([stream.labels[:, s : s + settings.frames] for s in starts], axis=1)).long()
    mask = torch.from_numpy(_spans(rng, settings))
    frames = model.frames(torch.from_numpy(wav))
    frames = torch.where(mask[:, :, None], model.masked_spec_embed, frames)
    hidden = model.encoder.layer_norm(model.layer(frames, model.shape.num_hidden_layers))
    flat = hidden.reshape(-1, hidden.shape[-1])
    mask = mask.reshape(-1)
    weights = torch.where(mask, 1.0, settings.unmasked_weight)
    loss = torch.zeros(())
    for logits, targets in zip(heads(flat), labels.reshape(len(labels), -1), strict=True):
        known = (targets >= 0).float() * weights
        each = F.cross_entropy(logits, targets.clamp(min=0), reduction="none")
        loss = loss + (each * known).sum() / known.sum().clamp(min=1) / len(labels)
        if targets.data_ptr() == labels.data_ptr():
            right = (logits.argmax(dim=1) == targets).float()
            seen = (targets >= 0) & ~mask
            hidden_frames = (targets >= 0) & mask
            counts = [right[hidden_frames].sum(), hidden_frames.sum(), right[seen].sum(), seen.sum()]
    return loss, np.array([float(c) for c in counts])


def _spans(rng: np.random.Generator, settings: Pretraining) -> np.ndarray:
    """[batch, frames] bool: each frame starts a masked span with probability `mask_start`; spans may overlap."""
    begins = rng.random((settings.batch, settings.frames)) < settings.mask_start
    mask = begins.copy()
    for shift in range(1, settings.mask_length):
        mask[:, shift:] |= begins[:, :-shift]
    return mask
