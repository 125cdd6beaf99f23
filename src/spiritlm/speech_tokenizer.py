"""SpiRit-LM's speech tokenizers: audio to units and strings, and units or strings back to audio.

    from spiritlm.speech_tokenizer import spiritlm_base, spiritlm_expressive
    t = spiritlm_base()
    t.encode_units("audio.wav")      # {"audio": "/.../audio.wav", "hubert": "99 49 ..."}
    t.encode_string("audio.wav")     # "[Hu99][Hu49]..."
    t.decode("[Hu99][Hu49]", speaker_id=2)

Base has phonetic units (25 Hz); Expressive has pitch (12.5 Hz) and style (1 Hz) too. Audio is cut every 1,600,000
samples (100 s), a rest below 1280 samples is left out, and the units of the pieces are put one after the other
(spiritlm 1). Units of an audio depend on it alone, whatever else is encoded with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from spire.audio import RATE
from spire.errors import UserError
from spire.waveforms import as_waveform
from spiritlm import checkpoints
from spiritlm.devices import device_named
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.phonetic.quantizer import Quantizer, open_quantizer
from spiritlm.pitch.tokenizer import PitchTokenizer
from spiritlm.style import StyleTokenizer
from spiritlm.unit_strings import string_to_units, text_of, units_to_string
from spiritlm.vocoder.vocoder import DEFAULT_SPEAKER, Vocoder

CHUNK, LEAST = 1_600_000, 1280  # samples
Audio = object  # whatever spire.waveforms.as_waveform takes


class SpeechTokenizer:
    """A tokenizer of its parts; without `pitch` and `style` it is a Base one. `vocoder` may be None to encode only.
    `default_speaker` and `default_style` are those of `decode`; `seed` draws the style of strings that have pitch but
    no style."""

    def __init__(
        self,
        hubert: Hubert25,
        quantizer: Quantizer,
        vocoder: Vocoder | None = None,
        pitch: PitchTokenizer | None = None,
        style: StyleTokenizer | None = None,
        default_speaker: int = DEFAULT_SPEAKER,
        default_style: int | None = None,
        seed: int = 0,
    ):
        if hubert.dim != quantizer.dim:
            hint = "give the quantizer of this encoder"
            raise UserError(f"the quantizer takes {quantizer.dim} dimensions, HuBERT has {hubert.dim}", hint)
        self.hubert, self.quantizer, self.vocoder = hubert, quantizer, vocoder
        self.pitch, self.style = pitch, style
        self.default_speaker, self.default_style, self.seed = default_speaker, default_style, seed

    @property
    def expressive(self) -> bool:
        return self.pitch is not None and self.style is not None

    def encode_units(self, audio: Audio, sampling_rate: int = RATE) -> dict[str, str]:
        """Units of the streams, each a text of ids, before any removal of repeats; for a path also "audio", the
        absolute path.

        audio: a path, the bytes of an audio file, an open binary file, or samples (array, list, tensor; one channel or
        several, which are averaged) at `sampling_rate`. Audio below 80 ms has empty streams, with a warning. UserError:
        unreadable, not finite.
        """
        return self.encode_many([audio], sampling_rate)[0]

    def encode_many(self, audios: Sequence[Audio], sampling_rate: int = RATE) -> list[dict[str, str]]:
        """`encode_units` of each; short ones are computed together where that is faster."""
        wavs = [as_waveform(audio, sampling_rate) for audio in audios]
        pieces = [_pieces(wav) for wav in wavs]
        phonetic = self._phonetic_units(piece for of_one in pieces for piece in of_one)
        styles = self._style_units(piece for of_one in pieces for piece in of_one)
        results = []
        for audio, of_one in zip(audios, pieces, strict=True):
            units = {"audio": str(Path(audio).absolute())} if isinstance(audio, str | Path) else {}
            if not of_one:
                warnings.warn(f"audio below {LEAST} samples (80 ms) has no units", stacklevel=3)
            units["hubert"] = _joined(next(phonetic) for _ in of_one)
            if self.pitch is not None:
                units["pitch"] = _joined(map(self.pitch.units, of_one))
            if self.style is not None:
                units["style"] = _joined(next(styles) for _ in of_one)
            results.append(units)
        return results

    def _phonetic_units(self, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The phonetic units of each piece."""
        for together in _hundreds_of_seconds(pieces):
            yield from map(self.quantizer.units, self.hubert.features(together))

    def _style_units(self, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The style units of each piece."""
        for together in _hundreds_of_seconds(pieces):
            yield from self.style.units_of_many(together)

    def encode_stream(self, blocks: Iterable[np.ndarray]) -> Iterator[dict[str, str]]:
        """The units of audio that comes in blocks of samples at 16 kHz of any lengths, for every 100 s of it as soon as
        they are there: put one after the other they are those of `encode_units` of the whole."""
        waiting = np.zeros(0, np.float32)
        for block in blocks:
            waiting = np.concatenate([waiting, as_waveform(block)])
            while len(waiting) >= CHUNK:
                yield self.encode_units(waiting[:CHUNK])
                waiting = waiting[CHUNK:]
        if len(waiting) >= LEAST:
            yield self.encode_units(waiting)

    def encode_string(self, audio: Audio, sampling_rate: int = RATE) -> str:
        """The string that the language model reads; arguments and errors of `encode_units`."""
        return self.units_to_string(self.encode_units(audio, sampling_rate))

    def units_to_string(self, units: Mapping[str, str]) -> str:
        """The string of a units dictionary, with the streams that this tokenizer has."""
        return units_to_string(units, has_pitch=self.pitch is not None, has_style=self.style is not None)

    def decode(
        self,
        code: str | Mapping[str, str],
        speaker_id: int | None = None,
        dur_pred: bool = True,
        style_id: int | None = None,
        duplicate_hubert_for_multiple_pitch: bool = True,
    ) -> np.ndarray:
        """A string or a units dictionary to samples, float32 [N] at 16 kHz.

        Units of a string last as long as the vocoder predicts; those of `encode_units` of the Expressive tokenizer keep
        their own timing, while those of the Base one need `dur_pred=False` for it. A Base vocoder ignores pitch and
        style. UserError: no vocoder, a unit or speaker that does not exist, pitch or style missing.
        """
        pieces = self.decode_stream(code, speaker_id, dur_pred, style_id, duplicate_hubert_for_multiple_pitch)
        return np.concatenate([np.zeros(0, np.float32), *pieces])

    def decode_stream(
        self,
        code: str | Mapping[str, str],
        speaker_id: int | None = None,
        dur_pred: bool = True,
        style_id: int | None = None,
        duplicate_hubert_for_multiple_pitch: bool = True,
    ) -> Iterator[np.ndarray]:
        """The samples of `decode` in pieces of up to 20 s, each as soon as it is computed."""
        if self.vocoder is None:
            raise UserError("this tokenizer has no vocoder", hint="open it with vocoder=True")
        if isinstance(code, str):
            code = string_to_units(code, duplicate_hubert_for_multiple_pitch, self.seed)
        yield from self.vocoder.stream(
            {name: value for name, value in code.items() if name != "audio"},
            speaker_id=self.default_speaker if speaker_id is None else speaker_id,
            dur_pred=dur_pred,
            style_id=self.default_style if style_id is None else style_id,
            not_dedup_code=True,
        )

    __call__ = encode_string


def spiritlm_base(
    default_speaker: int = DEFAULT_SPEAKER,
    default_style: int | None = None,
    device: str = "auto",
    folder: str | Path | None = None,
    vocoder: bool = True,
    wrap_blanks: bool = True,
    seed: int = 0,
    dtype: str = "float32",
) -> SpeechTokenizer:
    """The Base tokenizer: phonetic units only. folder: the checkpoints, by default `spiritlm.checkpoints`'s place;
    device: cpu, cuda, cuda:1, or auto. A new object each time. UserError: a checkpoint is missing or broken.

    dtype "bfloat16": HuBERT, the style classifier's encoder and the vocoder multiply rounded numbers, which is faster
    on GPUs and on processors with such products (AVX512_BF16, AMX), but changes some units
    (benchmarks/results/spiritlm-*.md). Pitch stays float32.
    """
    device = device_named(device)
    hubert, quantizer = _phonetic(folder, device, wrap_blanks, dtype)
    voice = Vocoder(checkpoints.checkpoint(checkpoints.VOCODER_BASE, folder), device, dtype) if vocoder else None
    return SpeechTokenizer(
        hubert, quantizer, voice, default_speaker=default_speaker, default_style=default_style, seed=seed
    )


def spiritlm_expressive(
    default_speaker: int = DEFAULT_SPEAKER,
    f0_backend: str = "fcpe",
    device: str = "auto",
    folder: str | Path | None = None,
    vocoder: bool = True,
    wrap_blanks: bool = True,
    seed: int = 0,
    fcpe_weights: str | Path | None = None,
    dtype: str = "float32",
) -> SpeechTokenizer:
    """The Expressive tokenizer: phonetic, pitch and style units. f0_backend: fcpe or pyaapt; others as for Base."""
    device = device_named(device)
    pitch = checkpoints.checkpoint(checkpoints.PITCH, folder)
    style = checkpoints.checkpoint(checkpoints.STYLE, folder)
    hubert, quantizer = _phonetic(folder, device, wrap_blanks, dtype)
    voice = Vocoder(checkpoints.checkpoint(checkpoints.VOCODER_EXPRESSIVE, folder), device, dtype) if vocoder else None
    return SpeechTokenizer(
        hubert,
        quantizer,
        voice,
        PitchTokenizer(pitch, f0_backend, device, fcpe_weights),
        StyleTokenizer(style, device, dtype),
        default_speaker=default_speaker,
        seed=seed,
    )


def _phonetic(folder: str | Path | None, device: str, wrap: bool, dtype: str) -> tuple[Hubert25, Quantizer]:
    hubert = checkpoints.checkpoint(checkpoints.HUBERT, folder)
    quantizer = open_quantizer(checkpoints.checkpoint(checkpoints.QUANTIZER, folder), wrap, device)
    return Hubert25(hubert, device=device, dtype=dtype), quantizer


def _pieces(wav: np.ndarray) -> list[np.ndarray]:
    pieces = [wav[start : start + CHUNK] for start in range(0, len(wav), CHUNK)]
    return [piece for piece in pieces if len(piece) >= LEAST]


def _hundreds_of_seconds(pieces: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Successive pieces of at most 100 s together, so that no more features are held at once."""
    waiting: list[np.ndarray] = []
    for piece in pieces:
        if waiting and sum(map(len, waiting)) + len(piece) > CHUNK:
            yield waiting
            waiting = []
        waiting.append(piece)
    if waiting:
        yield waiting


def _joined(parts) -> str:
    return " ".join(text_of(part) for part in parts)
