"""The linear quantizer, taught to give the units of the clean recording whatever was done to it (spiritlm 2.2).

The loss is CTC between its classes on the features of an augmented recording and the deduplicated units of the clean
one, by k-means or by an earlier quantizer (Gat et al. 2023, augmentation-invariant units; their rounds of pseudo-labels
are trainings with the last one's quantizer as teacher). The encoder stays as it is. Work goes in rounds: features of a
pool of recordings are made, and then used for many updates, as the encoder costs far more than the quantizer.

Everything follows from corpus, files, settings and seed: pools and batches are drawn from (seed, round, update), so a
run that was stopped goes on bit for bit from its last whole round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from spire.audio import RATE
from spire.errors import UserError
from spire.manifest import Utterance
from spire.progress import Progress
from spire.training.snapshots import Checkpoints
from spiritlm.phonetic.augmentation import KINDS, augment
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.phonetic.measures import deduplicated
from spiritlm.phonetic.quantizer import SLOPE, Quantizer
from spiritlm.phonetic.resume import Resumable
from spiritlm.phonetic.waveforms import grouped, waveforms

_AT_ONCE = 16  # recordings whose features are computed together


@dataclass(frozen=True)
class QuantizerTraining:
    """`pool` recordings a round, `updates` a round, `batch` recordings an update; `plain` is the share of recordings
    that are not augmented; `seconds` is the longest stretch of a recording that is used."""

    rounds: int = 2
    pool: int = 1000
    updates: int = 400
    batch: int = 32
    peak_rate: float = 3e-3
    warmup: float = 0.05
    clip: float = 1.0
    plain: float = 0.2
    seconds: float = 10.0
    device: str = "cpu"
    seed: int = 1


def layers_of(dim: int, vocabulary: int) -> nn.Sequential:
    """The quantizer's layers for features of `dim` dimensions, with `vocabulary` + 1 classes."""
    between = dim - (vocabulary + 1)
    widths = (dim, dim - between // 4, dim - between // 2, vocabulary + 1)
    first, second, third = (nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
    return nn.Sequential(first, nn.LeakyReLU(SLOPE), second, nn.LeakyReLU(SLOPE), third)


def train_quantizer(
    utterances: Sequence[Utterance],
    hubert: Hubert25,
    teacher: Quantizer,
    vocabulary: int,
    settings: QuantizerTraining,
    checkpoints: Checkpoints | None = None,
    workers: int = 0,
) -> tuple[nn.Sequential, list[dict]]:
    """The layers, and the mean loss a unit of each round [{"round", "loss"}]. `workers` processes decode ahead, and
    change nothing; recordings that cannot be read are left out.

    UserError when settings make no sense, no recording is long enough, or the loss stops being a number.
    """
    if min(settings.rounds, settings.pool, settings.updates, settings.batch) < 1 or not 0 <= settings.plain <= 1:
        raise UserError("rounds, pool, updates and batch must be positive, plain a share", hint="see --help")
    if teacher.dim != hubert.dim:
        raise UserError(f"the teacher takes {teacher.dim} dimensions, HuBERT has {hubert.dim}", "give its own HuBERT")
    torch.manual_seed(settings.seed)
    layers = layers_of(hubert.dim, vocabulary).to(settings.device)
    optimizer = torch.optim.Adam(layers.parameters(), lr=settings.peak_rate)
    kept = Resumable(layers=layers, optimizer=optimizer)
    state = (checkpoints.resume(kept) if checkpoints else None) or {"round": 0, "curve": []}
    curve = state["curve"]
    for number in range(state["round"] + 1, settings.rounds + 1):
        pool = _pool(utterances, hubert, teacher, settings, number, workers)
        loss = _learn(layers, optimizer, pool, vocabulary, settings, number)
        curve.append({"round": number, "loss": round(loss, 4)})
        if checkpoints and checkpoints.due(number):
            checkpoints.save(kept, number, {"round": number, "curve": curve})
    return layers.cpu(), curve


Pool = list[tuple[torch.Tensor, torch.Tensor]]


def _pool(
    utterances: Sequence[Utterance],
    hubert: Hubert25,
    teacher: Quantizer,
    settings: QuantizerTraining,
    number: int,
    workers: int,
) -> Pool:
    """(features [T, d] of the augmented recording, deduplicated units [U] of the clean one) of a round's recordings."""
    rng = np.random.default_rng([settings.seed, 3, number])
    chosen = rng.permutation(len(utterances))[: settings.pool]
    pool: Pool = []
    with (
        Progress(f"round {number}: features", total=len(chosen), unit="recordings") as progress,
        closing(waveforms((utterances[i] for i in chosen), workers)) as source,
    ):
        for group in grouped(source, _AT_ONCE):
            clean = [_stretch_of(one.samples, settings.seconds, rng) for one in group]
            changed = [_changed(wav, settings.plain, rng) for wav in clean]
            features = hubert.features([*clean, *(wav for wav in changed if wav is not None)])
            others = iter(features[len(clean) :])
            for plain, wav in zip(features[: len(clean)], changed, strict=True):
                units = deduplicated(teacher.units(plain))
                used = plain if wav is None else next(others)
                if len(units) and len(used):
                    pool.append((torch.from_numpy(used), torch.from_numpy(units.astype(np.int64))))
            progress.advance(len(group))
    if not pool:
        raise UserError("no recording is long enough for a unit", hint="give recordings of 45 ms or more")
    return pool


def _stretch_of(wav: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    most = int(seconds * RATE)
    if len(wav) <= most:
        return wav
    start = int(rng.integers(0, len(wav) - most + 1))
    return wav[start : start + most]


def _changed(wav: np.ndarray, plain: float, rng: np.random.Generator) -> np.ndarray | None:
    if rng.random() < plain:
        return None
    return augment(wav, KINDS[rng.integers(len(KINDS))], rng)


def _learn(
    layers: nn.Sequential,
    optimizer: torch.optim.Optimizer,
    pool: Pool,
    vocabulary: int,
    settings: QuantizerTraining,
    number: int,
) -> float:
    """The mean loss a unit over the round's updates."""
    rng = np.random.default_rng([settings.seed, 4, number])
    order = np.concatenate(
        [rng.permutation(len(pool)) for _ in range(-(-settings.updates * settings.batch // len(pool)))]
    )
    losses = []
    with Progress(f"round {number}: quantizer", total=settings.updates, unit="updates") as progress:
        for update in range(settings.updates):
            done = (number - 1) * settings.updates + update + 1
            for group in optimizer.param_groups:
                group["lr"] = settings.peak_rate * _rate(done, settings)
            batch = [pool[i] for i in order[update * settings.batch : (update + 1) * settings.batch]]
            loss = ctc_loss(layers, batch, vocabulary, settings.device)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise UserError(f"round {number}, update {update + 1}: the loss is {losses[-1]}", hint="lower --rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(layers.parameters(), settings.clip)
            optimizer.step()
            progress.advance(note=f"loss {losses[-1]:.3f}")
    return float(np.mean(losses))


def _rate(update: int, settings: QuantizerTraining) -> float:
    total = settings.rounds * settings.updates
    rise = max(1, round(settings.warmup * total))
    if update <= rise:
        return update / rise
    return 1 - 0.95 * (update - rise) / max(1, total - rise)


def ctc_loss(layers: nn.Sequential, batch: Pool, vocabulary: int, device: str = "cpu") -> torch.Tensor:
    """The mean over all units of the batch; recordings with fewer frames than their units need count nothing."""
    lengths = [len(features) for features, _ in batch]
    logits = layers(torch.cat([features for features, _ in batch]).to(device)).float()
    padded = nn.utils.rnn.pad_sequence(F.log_softmax(logits, dim=-1).split(lengths))
    units = torch.cat([units for _, units in batch])
    counts = torch.tensor([len(units) for _, units in batch])
    losses = F.ctc_loss(
        padded, units.to(device), torch.tensor(lengths), counts, blank=vocabulary, reduction="sum", zero_infinity=True
    )
    return losses / len(units)
