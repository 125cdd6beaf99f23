"""espeak-ng in process: `speak` gives the same samples for the same text and voice, whatever was said before.

espeak-ng keeps state between utterances that neither espeak_Initialize nor espeak_Terminate resets: the same sentence
said first and tenth differs. So every call loads the library afresh and unloads it again (about 0.3 ms). Variants that
set `breath` differ from run to run even so (with the contents of fresh memory: MALLOC_PERTURB_ changes them): refused.
"""

from __future__ import annotations

import _ctypes
import ctypes
import os
import re
import threading
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as package_version
from pathlib import Path

import numpy as np

from spire.errors import UserError

_SYNCHRONOUS = 2
_PHONEME_EVENTS = 0x0001
_DONT_EXIT = 0x8000  # without it the library ends the process when its data is missing
_CHARS_UTF8 = 1
_EVENT_END_OF_LIST = 0
_EVENT_PHONEME = 7
_RATE, _PITCH, _RANGE = 1, 3, 4

# Stress marks and the like before a phone's name: the same phone for every purpose here.
_STRESS = re.compile(r"^[',%=|]+")

PAUSE = "_"

_lock = threading.Lock()


@dataclass(frozen=True)
class Voice:
    """`voice` is accent+variant ("en-us+m1"), `rate` words a minute, `pitch` and `range` espeak's 0..99 scales."""

    id: str
    voice: str
    pitch: int = 50
    range: int = 50
    rate: int = 170


@dataclass(frozen=True)
class Speech:
    """`samples` int16 [T] at `rate`; `phones` (symbol, start s, end s) cover it from 0 to its end, in order."""

    samples: np.ndarray
    rate: int
    phones: tuple[tuple[str, float, float], ...]


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _paths() -> tuple[str, str]:
    try:
        import espeakng_loader
    except ImportError as e:
        raise UserError("espeakng-loader is not installed", hint="pip install espeakng-loader==0.2.4") from e
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


@cache
def engine_version() -> str:
    """Names everything that decides about the bytes: wrapper, library and resampler."""
    library, _ = _paths()
    with _lock:
        lib = ctypes.CDLL(library)
        lib.espeak_Info.restype = ctypes.c_char_p
        number = lib.espeak_Info(None).decode()
        _unload(lib, library)
    return f"espeakng-loader {package_version('espeakng-loader')}, espeak-ng {number}, soxr {package_version('soxr')}"


@cache
def check_voice(name: str) -> None:
    """UserError when the accent or the variant does not exist or does not give the same bytes twice.

    espeak-ng itself answers an unknown variant with the accent's plain voice, so that two voices would be one.
    """
    accent, _, variant = name.partition("+")
    data = Path(_paths()[1])
    accents = {p.name.lower() for p in (data / "lang").rglob("en*") if p.is_file()}
    if accent not in accents:
        raise UserError(f"voice {name!r}: no English accent {accent!r}", hint=f"one of {', '.join(sorted(accents))}")
    if not variant:
        return
    file = data / "voices" / "!v" / variant
    if not re.fullmatch(r"[A-Za-z0-9]+", variant) or not file.is_file():
        raise UserError(f"voice {name!r}: no variant {variant!r}", hint="m1..m8, f1, f4 or a name such as Annie")
    if re.search(rb"^\s*breath\b", file.read_bytes(), re.MULTILINE):
        raise UserError(
            f"voice {name!r}: variant {variant!r} uses `breath`, which differs from run to run in espeak-ng",
            hint="take a variant without it: m1..m8, f1, f4, Annie, linda, ...",
        )


def _unload(lib: ctypes.CDLL, path: str) -> None:
    _ctypes.dlclose(lib._handle)
    try:
        ctypes.CDLL(path, mode=os.RTLD_NOLOAD)
    except OSError:
        return
    raise RuntimeError(f"{path} stays loaded: something else in this process uses it, so the order would matter")


def speak(text: str, voice: Voice) -> Speech:
    """Synthesize `text`. The result depends on the two arguments and `engine_version()` alone.

    UserError for an unknown or unreproducible voice and for text that gives no audio.
    """
    check_voice(voice.voice)
    library, data = _paths()
    audio: list[bytes] = []
    marks: list[tuple[str, int]] = []

    @_Callback
    def collect(samples, count, events):
        if samples and count > 0:
            audio.append(ctypes.string_at(samples, 2 * count))
        i = 0
        while events[i].type != _EVENT_END_OF_LIST:
            if events[i].type == _EVENT_PHONEME:
                marks.append((events[i].id.string.decode("utf-8", "replace"), events[i].sample))
            i += 1
        return 0

    with _lock:
        lib = ctypes.CDLL(library)
        try:
            rate = lib.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _PHONEME_EVENTS | _DONT_EXIT)
            if rate <= 0:
                raise UserError(f"espeak-ng cannot start: no data at {data}", hint="install espeakng-loader again")
            lib.espeak_SetSynthCallback(collect)
            if lib.espeak_SetVoiceByName(voice.voice.encode()) != 0:
                raise UserError(f"espeak-ng does not know the voice {voice.voice!r}")
            for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.range)):
                lib.espeak_SetParameter(parameter, value, 0)
            encoded = text.encode("utf-8") + b"\0"
            lib.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 1, 0, _CHARS_UTF8, None, None)
            lib.espeak_Synchronize()
            lib.espeak_Terminate()
        finally:
            _unload(lib, library)
    samples = np.frombuffer(b"".join(audio), dtype="<i2")
    if not len(samples) or all(name.startswith(PAUSE) for name, _ in marks):
        raise UserError(f"espeak-ng says nothing for the text {text!r}", hint="the text needs at least one word")
    return Speech(samples, rate, _phones(marks, len(samples), rate))


def _phones(marks: list[tuple[str, int]], total: int, rate: int) -> tuple[tuple[str, float, float], ...]:
    """Phones from (symbol, first sample): each ends where the next begins, the last at the end of the audio."""
    phones = []
    bounds = [min(first, total) for _, first in marks] + [total]
    if bounds[0] > 0:
        marks, bounds = [(PAUSE, 0), *marks], [0, *bounds]
    for (name, _), first, last in zip(marks, bounds, bounds[1:], strict=False):
        if last > first:
            symbol = PAUSE if name.startswith(PAUSE) else _STRESS.sub("", name)
            phones.append((symbol, round(first / rate, 4), round(last / rate, 4)))
    return tuple(phones)
