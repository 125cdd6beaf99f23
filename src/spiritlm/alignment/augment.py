"""Training audio made worse, so that a recognizer survives a vocoder and other recordings than it learned from.

`augment` depends on the samples and the generator alone. Half of the batches lose phase and detail in time: signs of
their short-time spectra are flipped and magnitudes vary, as vocoders have it. Then each utterance gets a filter that
rises and falls smoothly by some 4 dB over frequency, white noise 8 to 45 dB below it, and in three of ten clipping at 1
to 6 standard deviations.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

FILTER_DB = 4.0  # standard deviation of the filter's gain at its knots
KNOTS = 8  # from 0 to 8,000 Hz
NOISE_DB = (8.0, 45.0)  # signal to noise
CLIPPED = 0.3  # share of utterances
CLIP_AT = (1.0, 6.0)  # standard deviations
VOCODED = 0.5  # share of batches
WINDOWS = (512, 1024)  # samples of a short-time spectrum
FLIPPED = (0.1, 0.5)  # share of signs, of an utterance
WORN = 0.4  # standard deviation of the logarithm of magnitudes


def augment(wav: torch.Tensor, samples: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """float32 [B, N], of which `samples` [B] count and the rest is 0, to the same shape on the same device, mean about
    0 and variance about 1 over the samples that count. All rows draw from `rng` in order."""
    batch, length = wav.shape
    vocoded = rng.random() < VOCODED
    if vocoded and length > max(WINDOWS):
        wav = _vocoded(wav, rng)
    knots = _drawn(rng.normal(0.0, FILTER_DB, (batch, 1, KNOTS)), wav)
    noise = _drawn(rng.standard_normal((batch, length), dtype=np.float32), wav)
    level = _drawn(10 ** (-rng.uniform(*NOISE_DB, (batch, 1)) / 20), wav)
    bound = _drawn(np.where(rng.random((batch, 1)) < CLIPPED, rng.uniform(*CLIP_AT, (batch, 1)), np.inf), wav)

    counts = torch.arange(length, device=wav.device)[None] < samples[:, None].to(wav.device)
    spectrum = torch.fft.rfft(wav, n=_quick_length(length))
    gains = F.interpolate(knots, size=spectrum.shape[1], mode="linear", align_corners=True)[:, 0]
    filtered = torch.fft.irfft(spectrum * 10 ** (gains / 20), n=_quick_length(length))[:, :length]
    heard = _scaled(_scaled(filtered, counts) + level * noise, counts)
    return _scaled(heard.clamp(-bound, bound), counts)


def _vocoded(wav: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """[B, N] to [B, N]."""
    size = int(rng.choice(WINDOWS))
    window = torch.hann_window(size, device=wav.device)
    spectra = torch.stft(wav, size, size // 2, window=window, return_complex=True)
    shares = rng.uniform(*FLIPPED, (len(wav), 1, 1)).astype(np.float32)
    signs = np.where(rng.random(spectra.shape, dtype=np.float32) < shares, np.float32(-1), np.float32(1))
    factors = signs * np.exp(np.float32(WORN) * rng.standard_normal(spectra.shape, dtype=np.float32))
    return torch.istft(spectra * _drawn(factors, wav), size, size // 2, window=window, length=wav.shape[1])


def _drawn(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32, copy=False)).to(like.device)


def _quick_length(length: int) -> int:
    """The next product of a power of two and a number up to 16: others are transformed up to four times slower."""
    unit = 1 << max(0, length.bit_length() - 4)
    return -(-length // unit) * unit


def _scaled(wav: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Variance 1 over the samples that count, 0 elsewhere."""
    wav = wav * counts
    power = wav.square().sum(dim=1, keepdim=True) / counts.sum(dim=1, keepdim=True).clamp(min=1)
    return wav / (power + 1e-7).sqrt()
