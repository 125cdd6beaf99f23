"""Audio files in and out: a reader gets mono float32 at one rate, or a UserError that names the file and the reason."""

from __future__ import annotations

import io
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

MAX_SECONDS = 12 * 3600  # of one piece: 2.8 GB of samples. A few bytes of FLAC can stand for any length of silence.
MIN_RATE = 1000  # Hz: below it a small file becomes a huge one when it is resampled
BLOCK_SECONDS = 600


def resample(samples: np.ndarray, rate: int, target: int = RATE) -> np.ndarray:
    """float32 [T] at `rate` to float32 [T * target / rate], soxr's high quality."""
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    if rate == target or not len(samples):
        return samples
    return soxr.resample(samples, rate, target, quality="HQ")


def read_audio(path: str | Path, start: float = 0.0, duration: float | None = None, rate: int = RATE) -> np.ndarray:
    """Samples of any file libsndfile reads (wav, flac, ogg, mp3, ...) as float32 [T] at `rate`, channels averaged.

    `start` and `duration` are seconds in the file; without `duration`, up to its end. UserError: the file is missing,
    unreadable, corrupt, shorter than its header or the caller says, longer than 12 hours, empty, or not finite.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such audio file", hint="audio paths are relative to the manifest's folder")
    size = path.stat().st_size if path.is_file() else None
    return _read(str(path), str(path), size, start, duration, rate)


def read_audio_bytes(
    data: bytes, name: str, start: float = 0.0, duration: float | None = None, rate: int = RATE
) -> np.ndarray:
    """`read_audio` of a file's content; `name` stands for it in messages."""
    return _read(io.BytesIO(data), name, len(data), start, duration, rate)


def audio_seconds(source: str | Path | bytes, name: str = "") -> float:
    """Length in seconds by the file's header, without decoding; UserError when there is none."""
    try:
        info = soundfile.info(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except (soundfile.SoundFileError, RuntimeError) as e:
        raise _unreadable(name or str(source), e) from e
    return info.frames / info.samplerate


def _read(source, name: str, size: int | None, start: float, duration: float | None, rate: int) -> np.ndarray:
    blocks: list[np.ndarray] = []
    try:
        with soundfile.SoundFile(source) as file:
            native = file.samplerate
            first = round(start * native)
            count = file.frames - first
            if duration is not None:
                wanted = round(duration * native)
                if wanted > count + END_TOLERANCE * native:
                    raise UserError(
                        f"{name}: {start:g} s + {duration:g} s asked for, "
                        f"but the file ends at {file.frames / native:.3f} s",
                        hint="the manifest belongs to another version of this file; make it again",
                    )
                count = min(count, wanted)
            if count <= 0:
                raise UserError(f"{name}: no audio in it ({file.frames} samples)", hint="remove it from the manifest")
            if native < MIN_RATE:
                raise UserError(f"{name}: {native} samples a second", hint=f"speech has at least {MIN_RATE}")
            if count > MAX_SECONDS * native:
                found = f"{count / native / 3600:.1f} hours of audio in one piece"
                raise UserError(f"{name}: {found}", hint="give it in parts: a manifest's start and duration")
            guessed = file.format == "MP3" and not _is_counted(source)
            if first:
                file.seek(first)
            missing = count
            # In blocks, because a header may promise more than memory holds.
            while missing:
                block = file.read(min(missing, BLOCK_SECONDS * native), dtype="float32", always_2d=True)
                if not len(block):
                    break
                missing -= len(block)
                blocks.append(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32))
    except (soundfile.SoundFileError, RuntimeError, MemoryError) as e:
        # RuntimeError: what soundfile raises when a corrupt stream cannot be sought.
        raise _unreadable(name, e, size) from e
    if missing and not (guessed and blocks):
        raise UserError(
            f"{name}: corrupt or cut off: {count - missing} of {count} samples could be decoded",
            hint="fetch or make the file again",
        )
    mono = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    if not np.isfinite(mono).all():
        raise UserError(f"{name}: holds samples that are not finite numbers", hint="fetch or make the file again")
    return resample(mono, native, rate)


def _is_counted(source: str | io.BytesIO) -> bool:
    """Whether an MP3 file says how long it is. Without that, its length is guessed from its size and first bit rate."""

    def part(start: int, size: int) -> bytes:
        if isinstance(source, io.BytesIO):
            return bytes(source.getbuffer()[start : start + size])
        with open(source, "rb") as file:
            file.seek(start)
            return file.read(size)

    tag, first = part(0, 10), 0
    if tag[:3] == b"ID3" and len(tag) == 10:  # its length: four bytes of seven bits
        first = 10 + sum((byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    return any(mark in part(first, 4096) for mark in (b"Xing", b"Info", b"VBRI"))


def _unreadable(name: str, error: Exception, size: int | None = None) -> UserError:
    reason = str(error).rstrip(".").split(": ")[-1] or type(error).__name__
    reason = "the file is empty" if size == 0 else reason
    return UserError(f"{name}: cannot be read as audio: {reason}", hint="fetch or make the file again")


def load_utterance(utterance: Utterance, rate: int = RATE) -> np.ndarray:
    """float32 [T] of one manifest line, whose audio may be a file or a stretch of an archive."""
    offset, size = utterance.stretch
    if size is None:
        return read_audio(utterance.audio_path, utterance.start, utterance.duration, rate)
    data = read_stretch(utterance.audio_path, offset, size)
    return read_audio_bytes(data, f"{utterance.audio_path}: {utterance.id}", utterance.start, utterance.duration, rate)


def read_stretch(path: str | Path, offset: int, size: int) -> bytes:
    """`size` bytes of a file from `offset` on; UserError when it has not as many."""
    try:
        with open(path, "rb") as archive:
            archive.seek(offset)
            content = archive.read(size)
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}", hint="fetch the archive again") from e
    if len(content) < size:
        raise UserError(f"{path}: ends before byte {offset + size}", hint="fetch the archive again")
    return content


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
