"""Audio files in and out: a reader gets mono float32 at one rate, or a UserError that names the file and the reason."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import soundfile
import soxr

from spire.errors import UserError
from spire.files import replaced_file
from spire.manifest import Utterance

RATE = 16_000  # samples a second of everything behind the reader

# A manifest's duration may be rounded; a file that ends this much earlier (seconds) is still the file that was meant.
END_TOLERANCE = 0.02


def resample(samples: np.ndarray, rate: int, target: int = RATE) -> np.ndarray:
    """float32 [T] at `rate` to float32 [T * target / rate], soxr's high quality."""
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    if rate == target or not len(samples):
        return samples
    return soxr.resample(samples, rate, target, quality="HQ")


def read_audio(path: str | Path, start: float = 0.0, duration: float | None = None, rate: int = RATE) -> np.ndarray:
    """Samples of any file libsndfile reads (wav, flac, ogg, mp3, ...) as float32 [T] at `rate`, channels averaged.

    `start` and `duration` are seconds in the file; without `duration`, up to its end. UserError: the file is missing,
    unreadable, corrupt, shorter than its header or the caller says, empty, or not finite.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such audio file", hint="audio paths are relative to the manifest's folder")
    try:
        with soundfile.SoundFile(str(path)) as file:
            native = file.samplerate
            first = round(start * native)
            count = file.frames - first
            if duration is not None:
                wanted = round(duration * native)
                if wanted > count + END_TOLERANCE * native:
                    raise UserError(
                        f"{path}: {start:g} s + {duration:g} s asked for, "
                        f"but the file ends at {file.frames / native:.3f} s",
                        hint="the manifest belongs to another version of this file; make it again",
                    )
                count = min(count, wanted)
            if count <= 0:
                raise UserError(f"{path}: no audio in it ({file.frames} samples)", hint="remove it from the manifest")
            if first:
                file.seek(first)
            samples = file.read(count, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as e:
        # RuntimeError: what soundfile raises when a corrupt stream cannot be sought.
        reason = str(e).rstrip(".").split(": ")[-1]
        size = path.stat().st_size if path.is_file() else 0
        reason = "the file is empty" if path.is_file() and not size else reason
        raise UserError(f"{path}: cannot be read as audio: {reason}", hint="fetch or make the file again") from e
    if len(samples) < count:
        raise UserError(
            f"{path}: corrupt or cut off: {len(samples)} of {count} samples could be decoded",
            hint="fetch or make the file again",
        )
    mono = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise UserError(f"{path}: holds samples that are not finite numbers", hint="fetch or make the file again")
    return resample(mono, native, rate)


def load_utterance(utterance: Utterance, rate: int = RATE) -> np.ndarray:
    """float32 [T] of one manifest line."""
    return read_audio(utterance.audio_path, utterance.start, utterance.duration, rate)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """float32 in -1..1 to int16, rounded and clipped."""
    return np.clip(np.rint(np.asarray(samples, dtype=np.float64) * 32768.0), -32768, 32767).astype("<i2")


def write_wav(path: str | Path, samples: np.ndarray, rate: int = RATE) -> None:
    """Mono int16 WAV (44-byte header: the same samples give the same bytes everywhere); whole or not at all."""
    with replaced_file(path) as partial, wave.open(str(partial), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(to_int16(samples).tobytes())
