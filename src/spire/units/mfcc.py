"""Mel cepstra whose frames line up with HuBERT's: frame i covers samples 320 i .. 320 i + 400 at 16 kHz (50 a second).

An utterance of N >= 400 samples has floor((N - 80) / 320) frames, a shorter one none. Features are float32, depend on
their own utterance only, and need numpy only (no torch, no scipy).
"""

from __future__ import annotations

import functools

import numpy as np

WINDOW = 400  # samples: 25 ms
HOP = 320  # samples: 20 ms
FFT = 512
MELS = 40
CEPSTRA = 13
PREEMPHASIS = 0.97
LOWEST_HZ, HIGHEST_HZ = 20.0, 7600.0
# Below any recorded noise of 16-bit audio: keeps the logarithm of digital silence finite.
POWER_FLOOR = 1e-8
CONTEXT = 3  # frames on each side in `context_features`


def frame_count(samples: int) -> int:
    """Frames of an utterance of `samples` samples, for these features and for HuBERT's convolutions alike."""
    return (samples - 80) // HOP if samples >= WINDOW else 0


@functools.cache
def _mel_matrix() -> np.ndarray:
    """[FFT / 2 + 1, MELS] float32: triangles equally spaced in mel, each reaching to its neighbours' centres."""

    def mel(hz):
        return 1127.0 * np.log1p(np.asarray(hz) / 700.0)

    edges = np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), MELS + 2)
    bins = mel(np.arange(FFT // 2 + 1) * (16_000 / FFT))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


@functools.cache
def _dct_matrix() -> np.ndarray:
    """[MELS, CEPSTRA] float32, orthonormal DCT-II."""
    k, n = np.arange(CEPSTRA), np.arange(MELS)[:, None]
    matrix = np.cos(np.pi * k * (n + 0.5) / MELS) * np.sqrt(2.0 / MELS)
    matrix[:, 0] /= np.sqrt(2.0)
    return matrix.astype(np.float32)


@functools.cache
def _window() -> np.ndarray:
    return np.hamming(WINDOW).astype(np.float32)


def cepstra(wav: np.ndarray) -> np.ndarray:
    """float32 [N] to [T, 13] float32 static cepstra, without any normalization."""
    frames = frame_count(len(wav))
    if not frames:
        return np.zeros((0, CEPSTRA), np.float32)
    wav = np.ascontiguousarray(wav, dtype=np.float32)
    emphasized = wav.copy()
    emphasized[1:] -= np.float32(PREEMPHASIS) * wav[:-1]
    view = np.lib.stride_tricks.sliding_window_view(emphasized, WINDOW)[::HOP][:frames]
    spectrum = np.fft.rfft(view * _window(), n=FFT)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return np.log(np.maximum(power @ _mel_matrix(), np.float32(POWER_FLOOR))) @ _dct_matrix()


def normalize(features: np.ndarray) -> np.ndarray:
    """Per dimension zero mean and unit variance over the utterance [T, D]; a constant dimension becomes zero."""
    if not len(features):
        return features
    mean = features.mean(axis=0, dtype=np.float64)
    std = features.std(axis=0, dtype=np.float64)
    return ((features - mean) / np.maximum(std, 1e-5)).astype(np.float32)


def delta(features: np.ndarray, width: int = 2) -> np.ndarray:
    """Regression slope over +-`width` frames, edges repeated: [T, D] to [T, D]."""
    if not len(features):
        return features
    padded = np.pad(features, ((width, width), (0, 0)), mode="edge")
    t, steps = len(features), range(1, width + 1)
    slope = sum(k * (padded[width + k : width + k + t] - padded[width - k : width - k + t]) for k in steps)
    return (slope / (2.0 * sum(k * k for k in steps))).astype(np.float32)


def mfcc_features(wav: np.ndarray) -> np.ndarray:
    """float32 [N] to [T, 39]: cepstra, slopes and slopes of slopes, each normalized over the utterance."""
    static = cepstra(wav)
    first = delta(static)
    return normalize(np.concatenate((static, first, delta(first)), axis=1))


def context_features(wav: np.ndarray) -> np.ndarray:
    """float32 [N] to [T, 91]: normalized cepstra of each frame with three neighbours on each side, edges repeated."""
    static = normalize(cepstra(wav))
    if not len(static):
        return np.zeros((0, CEPSTRA * (2 * CONTEXT + 1)), np.float32)
    padded = np.pad(static, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
    t = len(static)
    return np.concatenate([padded[k : k + t] for k in range(2 * CONTEXT + 1)], axis=1)
