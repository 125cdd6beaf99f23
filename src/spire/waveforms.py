"""Speech in whatever form a program holds it, as what encoders take: float32 [N] at 16 kHz, one channel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spire.audio import MAX_SECONDS, MIN_RATE, RATE, read_audio, read_audio_bytes, resample
from spire.errors import UserError


def as_waveform(wav: object, sampling_rate: int = RATE) -> np.ndarray:
    """float32 [N] at 16 kHz.

    wav: the path of an audio file; its bytes, or an open binary file; an array, list or tensor of samples at
    `sampling_rate`, one channel or several ([channels, N] or [N, channels]; the shorter side is taken for the channels,
    which are averaged); or what the `datasets` library gives: a mapping with `array` and `sampling_rate` or with
    `bytes` and `path`, or a torchcodec decoder. Integers are scaled by their range, as a sound file's. UserError:
    unreadable, not finite, of another shape or rate.
    """
    if isinstance(wav, str | Path):
        return read_audio(wav)
    if isinstance(wav, bytes | bytearray | memoryview):
        return read_audio_bytes(bytes(wav), "audio bytes")
    if isinstance(wav, Mapping):
        return _from_mapping(wav)
    if callable(getattr(wav, "read", None)):
        content = wav.read()
        if not isinstance(content, bytes):  # of a text file, or a decoder that has a rate of its own
            raise UserError(f"{type(wav).__name__} does not read bytes", hint="open the file in binary mode")
        return read_audio_bytes(content, "audio bytes")
    if hasattr(wav, "get_all_samples"):
        decoded = wav.get_all_samples()
        return _from_samples(decoded.data, decoded.sample_rate)
    return _from_samples(wav, sampling_rate)


def _from_mapping(wav: Mapping) -> np.ndarray:
    if wav.get("array") is not None:
        return _from_samples(wav["array"], wav.get("sampling_rate") or RATE)
    if wav.get("bytes") is not None:
        return read_audio_bytes(wav["bytes"], wav.get("path") or "audio bytes")
    if wav.get("path"):
        return read_audio(wav["path"])
    raise UserError(f"a mapping with {sorted(map(str, wav))} holds no audio", hint="array and sampling_rate, or bytes")


def _from_samples(wav: object, rate: int) -> np.ndarray:
    if hasattr(wav, "detach"):  # a torch tensor, wherever it lies
        wav = wav.detach().cpu()
        wav = wav.float().numpy() if wav.is_floating_point() else wav.numpy()
    try:
        samples = np.asarray(wav)
    except ValueError as e:
        raise UserError(f"not samples: {e}", hint="give one waveform; label_many takes several") from e
    kind = samples.dtype.kind
    if kind not in "fiu" or samples.ndim not in (1, 2):
        found = f"{samples.dtype} {list(samples.shape)}"
        raise UserError(f"{found} is no waveform", hint="give numbers [N], [channels, N] or [N, channels]")
    if not (isinstance(rate, int | np.integer) and rate >= MIN_RATE) or isinstance(rate, bool):
        raise UserError(f"sampling rate {rate!r}", hint=f"samples a second, at least {MIN_RATE}")
    if kind == "i":
        samples = samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
    elif kind == "u":
        middle = (float(np.iinfo(samples.dtype).max) + 1) / 2
        samples = ((samples.astype(np.float64) - middle) / middle).astype(np.float32)
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim == 2:
        samples = samples.mean(axis=int(samples.shape[0] > samples.shape[1]), dtype=np.float32)
    if not np.isfinite(samples).all():
        raise UserError("a sample is not a finite number", hint="check how the waveform was made")
    if len(samples) > MAX_SECONDS * int(rate):
        raise UserError(f"{len(samples) / int(rate) / 3600:.1f} hours in one piece", hint="label it in parts")
    return resample(samples, int(rate))
