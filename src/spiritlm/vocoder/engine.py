"""One process trains a vocoder: generator, discriminators and the predictor of durations, on a CPU or a GPU.

Guarantees: weights depend on the batches, the settings, the number of threads and the kind of processor only; a state
that was saved and loaded again goes on bit for bit. Generator and discriminators take their gradients at the same
point, so that one pass of real and one of generated speech through the discriminators serves both (HiFi-GAN's program
updates the discriminators first and passes the generated speech twice).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F

from spire.errors import UserError
from spire.training.cpu import choose_dtype, keep_freed_memory
from spire.training.data import TEXT_LOSS
from spire.training.engine import KINDS, Losses
from spire.training.optimizer import FlatAdamW
from spire.training.settings import Settings
from spiritlm.vocoder.discriminators import Discriminators
from spiritlm.vocoder.losses import (
    MelDistance,
    PeriodicityDistance,
    ShiftedDistance,
    SpectralDistance,
    WaveformDistance,
    adversarial_loss,
    discriminator_loss,
    feature_distance,
)
from spiritlm.vocoder.pulses import PulseTargets
from spiritlm.vocoder.recipe import Recipe
from spiritlm.vocoder.segments import SegmentBatch, Segments
from spiritlm.vocoder.trained import TrainedVocoder

STATE = "state.safetensors"


class VocoderEngine:
    """See `spire.training.engine.Engine`. The loss that the loop watches is the mel distance, unweighted.

    `sounding` is the update from which on waveforms are made: before it, the spectrum that the recipe's envelope reads
    is all that is learned (and watched). `joined` is the update from which on the discriminators take part;
    `discriminator_rate` their learning rate as a share of the generator's; `decay` multiplies both after every pass
    over the training set.
    """

    def __init__(
        self,
        recipe: Recipe,
        expressive: bool,
        speakers: int,
        styles: int,
        settings: Settings,
        device: str = "cpu",
        joined: int = 0,
        discriminator_rate: float = 1.0,
        decay: float = 1.0,
        sounding: int = 0,
    ):
        torch.set_num_threads(settings.threads)
        keep_freed_memory()
        torch.manual_seed(settings.seed)
        self.recipe, self.expressive, self.settings, self.joined = recipe, expressive, settings, joined
        self.discriminator_rate, self.decay, self.sounding = discriminator_rate, decay, sounding
        self.device = torch.device(device)
        self.dtype, self.reason = choose_dtype(settings.precision)
        self.precision = "bf16" if self.dtype == torch.bfloat16 else "fp32"
        self.model = TrainedVocoder(recipe, expressive, speakers, styles).to(self.device)
        self.discriminators = Discriminators(recipe.discriminators).to(self.device)
        window, floor = recipe.losses.mel_window, recipe.losses.mel_floor
        self.mel = MelDistance(window, window // 4, floor=floor).to(self.device)
        first = recipe.released_config(expressive, speakers, styles)["upsample_rates"][: recipe.losses.envelope_stages]
        hop = recipe.shape(expressive).code_hop_size // math.prod(first)
        self.envelope = MelDistance(hop=hop, floor=floor).to(self.device)
        self.spectral = SpectralDistance(recipe.losses.spectral_windows).to(self.device)
        self.shifted = ShiftedDistance().to(self.device)
        self.periodicity = PeriodicityDistance().to(self.device)
        self.pulses, self.waveform = PulseTargets().to(self.device), WaveformDistance().to(self.device)
        with self.device:  # the optimizers' buffers lie where the weights lie
            self.optimizers = [
                FlatAdamW(list(part.parameters()), settings.beta1, settings.beta2, weight_decay=settings.weight_decay)
                for part in (self.model, self.discriminators)
            ]
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.is_main = True
        self.epoch = 0

    def forward_backward(self, batch: SegmentBatch) -> Losses:
        self.epoch = batch.epoch
        wav, rows, runs, lengths = self._tensors(batch)
        weights, step = self.recipe.losses, self.optimizers[0].steps
        with self._autocast():
            found, spectrum = self._computed(rows, step >= self.sounding)
        durations = self.model.duration_loss(runs, lengths)
        total, parts = weights.durations * durations, {"durations": durations}
        if spectrum is not None:
            parts["envelope"] = F.l1_loss(spectrum, self.envelope.log_mel(wav))
            total = total + weights.envelope * parts["envelope"]
        if found is None:
            total.backward()
            return _losses(parts, "envelope")
        if weights.pulses:
            wav, voiced = self.pulses(wav)
            parts["pulses"] = self.waveform(found, wav, voiced)
            total = total + weights.pulses * parts["pulses"]
        mel = parts["mel"] = self.mel(found, wav)
        total = total + weights.mel * mel
        if weights.spectral:
            parts["spectral"] = self.spectral(found, wav)
            total = total + weights.spectral * parts["spectral"]
        if weights.shifted:
            parts["shifted"] = self.shifted(found, wav)
            total = total + weights.shifted * parts["shifted"]
        if weights.periodicity:
            parts["periodicity"] = self.periodicity(found, wav)
            total = total + weights.periodicity * parts["periodicity"]
        if step < self.joined:
            total.backward()
            return _losses(parts)
        with self._autocast():
            real, generated = self.discriminators(wav), self.discriminators(found)
        parts["discriminators"] = discriminator_loss(real, generated)
        parts["discriminators"].backward(inputs=list(self.discriminators.parameters()), retain_graph=True)
        parts["adversarial"] = adversarial_loss(generated)
        parts["features"] = feature_distance(real, generated)
        deceiving = weights.adversarial * parts["adversarial"] + weights.features * parts["features"]
        (towards,) = torch.autograd.grad(deceiving, found)  # without gradients of the discriminators' weights
        torch.autograd.backward([total, found], [None, towards])
        return _losses(parts)

    def _computed(self, rows: Mapping[str, torch.Tensor], waveform: bool):
        """(samples or None, spectrum or None)."""
        if self.model.envelope is None:
            return self.model(rows), None
        return self.model.both(rows, waveform)

    def step(self, lr: float, clip: float) -> float:
        lr *= self.decay**self.epoch
        # Before they join, the discriminators have no gradients and must not move.
        if self.optimizers[0].steps >= self.joined:
            norm = self.optimizers[1].step(lr * self.discriminator_rate, clip)
            if not norm < float("inf"):
                return norm
        return self.optimizers[0].step(lr, clip)

    @torch.no_grad()
    def evaluate(self, batch: SegmentBatch) -> Losses:
        wav, rows, _, _ = self._tensors(batch)
        with self._autocast():
            found = self.model(rows)
        if self.recipe.losses.pulses:
            wav, _ = self.pulses(wav)
        return _losses({"mel": self.mel(found, wav)})

    def any(self, flag: bool) -> bool:
        return flag

    def identity(self) -> dict:
        return {
            "engine": "vocoder",
            "precision": self.precision,
            "device": self.device.type,
            "joined": self.joined,
            "discriminator_rate": self.discriminator_rate,
            "decay": self.decay,
            "sounding": self.sounding,
        }

    def save(self, folder: Path) -> list[str]:
        from safetensors.torch import save_file

        found = self._state()
        save_file(found, folder / STATE, metadata={"updates": " ".join(str(o.steps) for o in self.optimizers)})
        return [STATE]

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        from safetensors import safe_open

        wanted = self._state()
        with safe_open(folder / STATE, framework="pt") as file:
            names = set(file.keys())
            for name, into in wanted.items():
                if name not in names or file.get_slice(name).get_shape() != list(into.shape):
                    raise UserError(f"{folder / STATE}: {name} does not fit this vocoder", hint="start anew")
                if not name.startswith("random."):
                    into.copy_(file.get_tensor(name))
            for optimizer, steps in zip(self.optimizers, file.metadata()["updates"].split(), strict=True):
                optimizer.steps = int(steps)
                optimizer.grads.zero_()
            torch.set_rng_state(file.get_tensor("random.cpu"))
            if "random.cuda" in wanted:
                torch.cuda.set_rng_state(file.get_tensor("random.cuda"), self.device)

    def _state(self) -> dict[str, torch.Tensor]:
        """All that goes into a checkpoint: the tensors themselves, so that a checkpoint can be copied into them."""
        found = {"random.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            found["random.cuda"] = torch.cuda.get_rng_state(self.device)
        for name, part, optimizer in zip("gd", (self.model, self.discriminators), self.optimizers, strict=True):
            found |= {f"{name}.{key}": getattr(optimizer, key) for key in ("values", "first", "second")}
            found |= {f"{name}.buffer.{key}": value for key, value in part.named_buffers()}
        return found

    def _tensors(self, batch: SegmentBatch):
        def placed(array):
            return torch.from_numpy(array).to(self.device, non_blocking=True)

        rows = {name: placed(values) for name, values in batch.rows.items()}
        return placed(batch.wav), rows, placed(batch.runs), placed(batch.lengths)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def _losses(parts: Mapping[str, torch.Tensor], watched: str = "mel") -> Losses:
    """Each as one item of its block, whose means the loop logs, and the one that it watches."""
    sums = torch.zeros(KINDS * len(Segments.blocks), dtype=torch.float64)
    counts = torch.zeros(KINDS * len(Segments.blocks), dtype=torch.int64)
    for name, value in parts.items():
        place = Segments.blocks.index(name) * KINDS + TEXT_LOSS
        sums[place], counts[place] = value.detach().double(), 1
    return Losses(parts[watched].detach(), sums, counts)
