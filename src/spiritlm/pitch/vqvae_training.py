"""Training of the pitch quantizer: contours of `f0_files` to a VQ-VAE in the published form (spiritlm 3.3, papers 2.3).

Loss: squared error of f0 (in units of its own deviation over the training contours) and of voicing, and the
commitment of the latents to their codes. The codebook follows by moving averages of the latents that choose each code;
codes that few of them choose are placed anew on latents of the batch, and all start there. Gradients pass straight
through the choice. Values that only interpolate over unvoiced frames count little.

The network learns on f0 over its deviation; the first and last convolutions of the file take that scale into
themselves, so that the file reads plain Hz as the published one does.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml

from spire.errors import UserError
from spire.files import replaced_folder
from spire.training.snapshots import Checkpoints
from spiritlm.learning import Learner, learn
from spiritlm.pitch.f0_files import F0Folder
from spiritlm.pitch.tokenizer import FEATURES, normalized
from spiritlm.pitch.vqvae import PitchVqVae

UNVOICED = 0.1  # weight of f0 where it is only interpolated
CROPS_OF_DEVIATION = 2000  # utterances that the deviation of f0 is taken from


@dataclass(frozen=True)
class Training:
    """Settings of a run. `values`: length of a crop at 200 Hz, a multiple of the network's rate; `mu`: what the moving
    averages keep; `threshold`: latents a batch, averaged so, below which a code is placed anew."""

    steps: int = 20_000
    batch: int = 32
    values: int = 640
    rate: float = 1e-3
    commit: float = 0.02
    mu: float = 0.99
    threshold: float = 1.0
    seed: int = 1
    features: str = FEATURES[0]


def published_sizes(bins: int = 64, width: int = 32, depth: int = 4, emb: int = 128) -> dict:
    """config.yaml's content with the published sizes, or these: 16 values a code."""
    stack = {
        "input_emb_width": 2,
        "output_emb_width": emb,
        "levels": 1,
        "downs_t": 4,
        "strides_t": 2,
        "width": width,
        "depth": depth,
        "m_conv": 1.0,
        "dilation_growth_rate": 3,
    }
    vq = {"l_bins": bins, "emb_width": emb, "mu": 0.99, "levels": 1}
    return {"encoder_params": stack, "decoder_params": dict(stack), "vq_params": vq}


def contour_of(f0: np.ndarray, voicing: np.ndarray, features: str) -> np.ndarray:
    """What the tokenizer would feed to the network: float32 [2, T]."""
    if not voicing.any():
        return np.zeros((2, len(f0)), np.float32)
    if "_interp" not in features:
        f0 = f0 * (voicing > 0)
    if features.startswith("norm_"):
        f0 = normalized(f0, voicing)
    return np.stack([f0, voicing]).astype(np.float32)


class Crops:
    """Pieces of `values` frames of the contours, each frame as likely as any other; shorter utterances are held at
    their last f0, unvoiced."""

    def __init__(self, contours: F0Folder, features: str, values: int):
        self.contours, self.features, self.values = contours, features, values
        self.lengths = np.array([len(item.f0) for item in contours], np.int64)
        if not self.lengths.sum():
            raise UserError("no pitch contours to learn from", hint="track some speech with spiritlm_f0.py")
        self._ends = np.cumsum(self.lengths)

    def batch(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """float32 [size, 2, values]."""
        places = np.searchsorted(self._ends, rng.integers(0, self._ends[-1], size), side="right")
        return np.stack([self._crop(int(i), rng) for i in places])

    def _crop(self, i: int, rng: np.random.Generator) -> np.ndarray:
        item = self.contours[i]
        x = contour_of(item.f0, item.voicing, self.features)
        start = int(rng.integers(0, max(1, x.shape[1] - self.values + 1)))
        x = x[:, start : start + self.values]
        missing = self.values - x.shape[1]
        if missing:
            held = np.stack([np.full(missing, x[0, -1]), np.zeros(missing)])
            x = np.concatenate([x, held.astype(np.float32)], axis=1)
        return x

    def deviation(self, seed: int) -> float:
        """Root mean square of the voiced f0 as the network gets it; 1 where nothing is voiced."""
        rng = np.random.default_rng([seed, 0])
        squares, count = 0.0, 0
        for i in rng.permutation(len(self.contours))[:CROPS_OF_DEVIATION]:
            f0, voicing = contour_of(*self.contours[int(i)].contour, self.features)
            voiced = f0[voicing > 0].astype(np.float64)
            squares, count = squares + float((voiced**2).sum()), count + len(voiced)
        return max(1.0, (squares / count) ** 0.5) if count else 1.0


class EmaCodebook:
    """The codebook of `model` in training: `sums` [bins, emb] and `counts` [bins] are moving averages."""

    def __init__(self, model: PitchVqVae, mu: float, threshold: float):
        self.k, self.mu, self.threshold = model.codebook.k, mu, threshold
        self.sums, self.counts = torch.zeros_like(self.k), torch.zeros(len(self.k), device=self.k.device)

    @torch.no_grad()
    def start(self, latents: torch.Tensor, rng: np.random.Generator) -> None:
        """Codes on latents [n, emb] drawn at random."""
        self.k.copy_(self._drawn(latents, rng))
        self.sums.copy_(self.k)
        self.counts.fill_(1.0)

    @torch.no_grad()
    def update(self, latents: torch.Tensor, codes: torch.Tensor, rng: np.random.Generator) -> int:
        """Move the codes after latents [n, emb] that chose `codes` [n]; returns how many were placed anew."""
        chosen = F.one_hot(codes, len(self.k)).to(latents.dtype)
        self.sums.lerp_(chosen.t() @ latents, 1 - self.mu)
        self.counts.lerp_(chosen.sum(dim=0), 1 - self.mu)
        alive = self.counts >= self.threshold
        moved = self.sums / self.counts.clamp(min=1e-6)[:, None]
        drawn = self._drawn(latents, rng)
        self.k.copy_(torch.where(alive[:, None], moved, drawn))
        # A code that was placed anew stays for as long as an average forgets, whether it is chosen or not.
        dead = ~alive
        self.sums[dead], self.counts[dead] = drawn[dead] * self.threshold, self.threshold
        return int(dead.sum())

    def _drawn(self, latents: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        rows = rng.choice(len(latents), len(self.k), replace=len(latents) < len(self.k))
        return latents.detach()[torch.from_numpy(rows).to(latents.device)]


def train(
    contours: F0Folder,
    config: Mapping,
    settings: Training,
    out: str | Path,
    checkpoints: Checkpoints | None = None,
    device: str = "cpu",
) -> list[dict]:
    """Train a quantizer of the sizes `config` and write its folder (config.yaml, model.pt, training.json); returns the
    learning curve. UserError: no contours, sizes or settings that do not fit."""
    if settings.features not in FEATURES:
        raise UserError(f"features {settings.features!r}", hint=f"one of {', '.join(FEATURES)}")
    torch.manual_seed(settings.seed)
    model = PitchVqVae(config)
    if settings.values % model.shape.rate or settings.values < model.shape.rate:
        raise UserError(f"crops of {settings.values} values", hint=f"a multiple of {model.shape.rate}")
    model.to(device)
    crops = Crops(contours, settings.features, settings.values)
    scale = torch.tensor([crops.deviation(settings.seed), 1.0], device=device)[None, :, None]
    codebook = EmaCodebook(model, settings.mu, settings.threshold)
    learner = Learner({"vqvae": model}, {"sums": codebook.sums, "counts": codebook.counts}, device)

    def loss_of(rng: np.random.Generator, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.from_numpy(crops.batch(rng, settings.batch)).to(device) / scale
        z = model.encoder(x)
        latents = z.detach().transpose(1, 2).flatten(0, 1)
        if step == 1:
            codebook.start(latents, rng)
        codes = model.codebook.codes(z)
        quantized = model.codebook.vectors(codes)
        commitment = F.mse_loss(z, quantized)
        decoded = model.decoder(z + (quantized - z).detach())
        anew = codebook.update(latents, codes.flatten(), rng)
        weight = torch.where(x[:, 1] > 0, 1.0, UNVOICED)
        pitch = (weight * (decoded[:, 0] - x[:, 0]) ** 2).sum() / weight.sum()
        voicing = F.mse_loss(decoded[:, 1], x[:, 1])
        numbers = {"pitch": pitch.item(), "voicing": voicing.item(), "commitment": commitment.item(), "placed": anew}
        return pitch + voicing + settings.commit * commitment, numbers

    curve = learn(learner, loss_of, settings.steps, settings.rate, settings.seed, "pitch", checkpoints=checkpoints)
    _write(out, model, config, settings, float(scale[0, 0, 0]), contours.backend, curve)
    if checkpoints:
        checkpoints.finished(learner)
    return curve


def identity(contours: F0Folder, config: Mapping, settings: Training) -> dict:
    """What a checkpoint must have been made of."""
    ids = hashlib.sha256("\n".join(contours.ids).encode()).hexdigest()
    return {"stage": "pitch", "settings": asdict(settings), "sizes": dict(config), "contours": [contours.backend, ids]}


def _write(
    out: str | Path,
    model: PitchVqVae,
    config: Mapping,
    settings: Training,
    scale: float,
    backend: str,
    curve: list[dict],
) -> None:
    model = copy.deepcopy(model).cpu()
    with torch.no_grad():
        model.encoder.level_blocks[0].model[0][0].weight[:, 0] /= scale
        model.decoder.out.weight[0] *= scale
        model.decoder.out.bias[0] *= scale
    record = {"settings": asdict(settings), "f0_deviation": scale, "f0_backend": backend, "curve": curve}
    content = {"features": settings.features, **config}
    content["vq_params"] = dict(config["vq_params"]) | {"mu": settings.mu}
    with replaced_folder(out) as partial:
        (partial / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        (partial / "training.yaml").write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
        state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
        torch.save({"model": state}, partial / "model.pt")
