"""Log-mel spectra of 16 kHz speech: the filter bank that training and scores share, and the spectra of the scores.

Triangles equally spaced on Slaney's scale, each of area 1 in Hz, as HiFi-GAN's loss has them. Needs numpy only.
"""

from __future__ import annotations

import functools

import numpy as np

RATE = 16_000
FFT = WINDOW = 1024  # samples: 64 ms
HOP = 160  # samples: 10 ms
MELS = 80
FLOOR = 1e-3  # of a mel magnitude: 75 dB below a sine of full scale; what is quieter is not heard and does not count


@functools.cache
def mel_filters(
    bins: int = MELS, fft: int = FFT, low: float = 0.0, high: float = RATE / 2, rate: int = RATE
) -> np.ndarray:
    """float32 [bins, fft / 2 + 1]: filter k rises from edge k to edge k + 1 and falls to edge k + 2; edges in Hz are
    equally spaced on a scale that is linear below 1 kHz (15 mel) and logarithmic above."""
    edges = _hertz(np.linspace(_slaney(low), _slaney(high), bins + 2))[:, None]
    frequencies = np.arange(fft // 2 + 1) * (rate / fft)
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return (np.clip(np.minimum(rising, falling), 0, None) * (2 / (edges[2:] - edges[:-2]))).astype(np.float32)


def log_mel(wav: np.ndarray) -> np.ndarray:
    """float32 [N] to float32 [N // 160 + 1, 80]: 20 log10 of mel magnitudes (dB), a frame every 10 ms around its
    middle, mirrored at the ends; nothing below -60 dB. An empty waveform has no frame."""
    if not len(wav):
        return np.zeros((0, MELS), np.float32)
    padded = np.pad(np.asarray(wav, np.float32), WINDOW // 2, mode="reflect" if len(wav) > WINDOW // 2 else "edge")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
    magnitudes = np.abs(np.fft.rfft(frames * window, axis=1)).astype(np.float32) @ mel_filters().T
    return 20 * np.log10(np.maximum(magnitudes, np.float32(FLOOR)))


def _slaney(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + np.log(hertz / 1000) * 27 / np.log(6.4)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
