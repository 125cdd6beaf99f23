"""Log-mel front ends of w2v-BERT 2.0 (Kaldi filter banks) and Whisper, in numpy, equal to those of transformers.

Both cut 16 kHz speech into windows of 400 samples every 160 (100 a second). Spectra are taken in float64 and rounded
to complex64, as there; memory beyond the result stays below about 100 MB for audio of any length.
"""

from __future__ import annotations

import functools

import numpy as np

RATE = 16_000
WINDOW = 400
HOP = 160
_BLOCK = 4096  # windows transformed at once

KALDI_MELS = 80
KALDI_FFT = 512
KALDI_FLOOR = 1.1920928955078125e-07  # float32's epsilon
PREEMPHASIS = 0.97

WHISPER_FLOOR = 1e-10
WHISPER_RANGE = 8.0  # decades below the loudest bin that are kept


def fbank_count(samples: int) -> int:
    """Windows that fit wholly into so many samples."""
    return (samples - WINDOW) // HOP + 1 if samples >= WINDOW else 0


def fbank(wav: np.ndarray) -> np.ndarray:
    """float32 [N] in -1..1 to float32 [fbank_count(N), 80] natural logarithms of mel energies, as Kaldi computes them
    on 16-bit values: offset removed and preemphasis per window, Povey window, triangles in mel from 20 Hz to 8 kHz."""
    wav = np.ascontiguousarray(wav, dtype=np.float32) * np.float32(32768)
    count = fbank_count(len(wav))
    energies = np.empty((count, KALDI_MELS), np.float32)
    window = np.hanning(WINDOW) ** 0.85
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        frames = _windows(wav, start, stop)
        frames = frames - frames.mean(axis=1, keepdims=True)
        emphasized = frames * (1 - PREEMPHASIS)
        emphasized[:, 1:] = frames[:, 1:] - PREEMPHASIS * frames[:, :-1]
        mels = _power(emphasized * window, KALDI_FFT) @ _kaldi_filters()
        energies[start:stop] = np.log(np.maximum(mels, KALDI_FLOOR))
    return energies


def stacked_fbank(wav: np.ndarray, eps: float = 1e-7) -> np.ndarray:
    """w2v-BERT's input: float32 [N] to float32 [fbank_count(N) // 2, 160], 50 frames a second.

    Each mel bin gets zero mean and unit variance over the utterance, `(x - mean) / sqrt(var + eps)` with the sample
    variance (n - 1); then two windows make one frame. A window left over counts in the mean but makes no frame.
    """
    energies = fbank(wav)
    frames = len(energies) // 2
    if not frames:
        return np.zeros((0, 2 * KALDI_MELS), np.float32)
    # In float32 along each bin, as transformers does: a steady tone has so little variance that its rounding shows.
    bins = np.ascontiguousarray(energies.T)
    mean, variance = bins.mean(axis=1), bins.var(axis=1, ddof=1)
    normal = (energies[: 2 * frames] - mean) / np.sqrt(variance + np.float32(eps))
    return normal.reshape(frames, 2 * KALDI_MELS)


def whisper_logmel(wav: np.ndarray, mels: int, samples: int) -> np.ndarray:
    """Whisper's input: float32 [N], N <= `samples`, to float32 [mels, samples / 160].

    The audio is filled up with silence to `samples` (30 s for published models). Values are decimal logarithms of the
    mel energies, cut off eight decades below the loudest, then (x + 4) / 4.
    """
    if len(wav) > samples:
        raise ValueError(f"{len(wav)} samples do not fit into {samples}")
    half = WINDOW // 2
    padded = np.zeros(samples + WINDOW)
    padded[half : half + len(wav)] = wav
    padded[:half] = padded[half + 1 : 2 * half + 1][::-1]
    padded[half + samples :] = padded[samples - 1 : samples + half - 1][::-1]
    count = samples // HOP
    # Behind the audio lies silence, whose logarithm is known, except where the mirrored end reaches back into audio.
    sounding = count if len(wav) + WINDOW > samples else min(count, -(-(len(wav) + half) // HOP))
    logs = np.full((count, mels), np.log10(WHISPER_FLOOR))
    window = np.hanning(WINDOW + 1)[:-1]
    filters = _slaney_filters(mels)
    for start in range(0, sounding, _BLOCK):
        stop = min(start + _BLOCK, sounding)
        energies = _power(_windows(padded, start, stop) * window, WINDOW) @ filters
        logs[start:stop] = np.log10(np.maximum(energies, WHISPER_FLOOR))
    logs = np.maximum(logs, logs.max() - WHISPER_RANGE)
    return np.ascontiguousarray(((logs + 4.0) / 4.0).T, dtype=np.float32)


def _windows(wav: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Windows start..stop as float64 [stop - start, 400]."""
    part = wav[start * HOP : (stop - 1) * HOP + WINDOW]
    return np.lib.stride_tricks.sliding_window_view(part, WINDOW)[::HOP].astype(np.float64)


def _power(frames: np.ndarray, size: int) -> np.ndarray:
    """float64 [T, 400] to the power spectrum [T, size / 2 + 1]."""
    spectrum = np.fft.rfft(frames, n=size).astype(np.complex64)
    return spectrum.real.astype(np.float64) ** 2 + spectrum.imag.astype(np.float64) ** 2


def _triangles(bins: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """[bins, edges - 2]: triangle k rises from edge k to edge k + 1 and falls to edge k + 2."""
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling))


@functools.cache
def _kaldi_filters() -> np.ndarray:
    """[257, 80]: equally spaced and straight in 1127 ln(1 + f / 700)."""
    lowest, highest = 1127.0 * np.log1p(np.array([20.0, RATE / 2]) / 700.0)
    bins = 1127.0 * np.log1p(np.arange(KALDI_FFT // 2 + 1) * (RATE / KALDI_FFT) / 700.0)
    return _triangles(bins, np.linspace(lowest, highest, KALDI_MELS + 2))


@functools.cache
def _slaney_filters(mels: int) -> np.ndarray:
    """[201, mels]: Slaney's scale (15 mel at 1 kHz, linear below, logarithmic above), triangles in Hz of equal area."""
    step = np.log(6.4) / 27.0
    scale = np.linspace(0.0, 15.0 + np.log(RATE / 2 / 1000.0) / step, mels + 2)
    edges = np.where(scale < 15.0, 200.0 * scale / 3.0, 1000.0 * np.exp(step * np.maximum(scale - 15.0, 0.0)))
    bins = np.linspace(0.0, RATE / 2, WINDOW // 2 + 1)
    return _triangles(bins, edges) * (2.0 / (edges[2:] - edges[:-2]))
