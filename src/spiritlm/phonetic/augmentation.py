"""Changes of a recording that leave its words alone: noise, reverberation, time stretch, pitch shift.

The four of Gat et al. 2023, whose units should not depend on them. Samples are float32 [N] at 16 kHz; what comes out
depends on samples and generator alone. All are computed here: no recorded noise or room is needed.
"""

from __future__ import annotations

import numpy as np

from spire.audio import RATE, resample

KINDS = ("noise", "reverberation", "stretch", "pitch")
_FFT, _HOP = 512, 128


def augment(wav: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """`wav` changed by one of KINDS, of a strength that is drawn; waveforms below one window stay as they are."""
    if len(wav) < _FFT:
        return np.asarray(wav, np.float32)
    change = {"noise": _noisy, "reverberation": _reverberant, "stretch": _stretched, "pitch": _shifted}[kind]
    return change(np.asarray(wav, np.float32), rng)


def _noisy(wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise between white and brown, 5 to 15 dB below the speech."""
    decibels, colour = rng.uniform(5, 15), rng.uniform(0, 1)
    spectrum = np.fft.rfft(rng.standard_normal(len(wav)))
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1) ** colour, len(wav))
    level = np.sqrt(np.mean(wav**2) / max(np.mean(noise**2), 1e-12)) * 10 ** (-decibels / 20)
    return (wav + level * noise).astype(np.float32)


def _reverberant(wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A room of noise that falls by 60 dB in 0.15 to 0.6 s, behind the direct sound."""
    seconds, share = rng.uniform(0.15, 0.6), rng.uniform(0.2, 0.6)
    length = int(seconds * RATE)
    tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    response = share * tail / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    size = 1 << (len(wav) + length - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(wav, size) * np.fft.rfft(response, size), size)[: len(wav)]
    return (wet * np.sqrt(np.mean(wav**2) / max(np.mean(wet**2), 1e-12))).astype(np.float32)


def _stretched(wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0.8 to 1.25 times as long, at the same pitch."""
    return stretch(wav, float(np.exp(rng.uniform(-1, 1) * np.log(1.25))))


def _shifted(wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up or down by as much as four semitones, as long as before; formants move with the pitch."""
    ratio = 2 ** (rng.uniform(-4, 4) / 12)
    return resample(stretch(wav, ratio), round(RATE * ratio))


def stretch(wav: np.ndarray, ratio: float) -> np.ndarray:
    """float32 [N] to [round(N * ratio)] at the same pitch, by a phase vocoder."""
    padded = np.pad(wav, (_FFT // 2, _FFT // 2 + _HOP))
    window = np.hanning(_FFT + 1)[:-1].astype(np.float32)
    frames = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP] * window)
    places = np.arange(0, len(frames) - 1, 1 / ratio)
    left = places.astype(int)
    share = (places - left)[:, None]
    size = np.abs(frames)
    size = (1 - share) * size[left] + share * size[left + 1]
    expected = 2 * np.pi * _HOP * np.arange(_FFT // 2 + 1) / _FFT
    turned = np.angle(frames[left + 1]) - np.angle(frames[left]) - expected
    turned = expected + turned - 2 * np.pi * np.round(turned / (2 * np.pi))
    phase = np.angle(frames[0]) + np.concatenate([np.zeros((1, len(expected))), np.cumsum(turned[:-1], axis=0)])
    pieces = np.fft.irfft(size * np.exp(1j * phase), _FFT) * window
    length = _FFT + _HOP * (len(pieces) - 1)
    out, weight = np.zeros(length), np.zeros(length)
    # Frames that are four hops apart do not overlap: four sums of blocks in place of one for each frame.
    for first in range(_FFT // _HOP):
        block = pieces[first :: _FFT // _HOP]
        if len(block):
            start = first * _HOP
            out[start : start + block.size] += block.reshape(-1)
            weight[start : start + block.size] += np.tile(window**2, len(block))
    wanted = round(len(wav) * ratio)
    result = np.zeros(wanted, np.float32)
    middle = (out / np.maximum(weight, 1e-3))[_FFT // 2 : _FFT // 2 + wanted]
    result[: len(middle)] = middle
    return result
