"""Units of every utterance of a manifest: a line {"id", "hubert"[, "pitch"][, "style"]} each, in its order.

Values are those of `SpeechTokenizer.encode_units`, repeats included. A line depends on its utterance alone, so parts,
batches and decoding processes change nothing. An utterance that cannot be read, or is below 80 ms, has empty streams
and a "reason".
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from spire.audio import RATE
from spire.datasets.loader import Decoded
from spire.errors import UserError
from spire.manifest import Utterance
from spiritlm.alignment.part import Lines
from spiritlm.phonetic.waveforms import waveforms
from spiritlm.pitch.f0_files import F0Folder, TrackedF0
from spiritlm.pitch.tokenizer import PitchTokenizer, normalized
from spiritlm.speech_tokenizer import CHUNK, LEAST, SpeechTokenizer
from spiritlm.unit_strings import text_of

AT_ONCE = 32  # utterances
SECONDS = 100  # of them together


class TrackedPitch:
    """Pitch units out of contours that were tracked before: those that `tokenizer` gives. Audio without a contour, and
    audio above 100 s, which the tokenizer tracks in pieces, is tracked now."""

    def __init__(self, tokenizer: PitchTokenizer, contours: F0Folder):
        self._tokenizer, self._contours = tokenizer, contours
        self._rows = {name: row for row, name in enumerate(contours.ids)}

    def units(self, utterance: str, wav: np.ndarray) -> np.ndarray:
        """int32 [T // 16]; UserError when the contour is one of other audio."""
        if utterance not in self._rows or len(wav) > CHUNK:
            pieces = [wav[start : start + CHUNK] for start in range(0, len(wav), CHUNK)]
            return np.concatenate([self._tokenizer.units(piece) for piece in pieces if len(piece) >= LEAST])
        tracked = self._contours[self._rows[utterance]]
        if abs(len(tracked.f0) - len(wav) // 80) > 1:
            found = f"{len(tracked.f0)} values, its audio has {len(wav)} samples"
            raise UserError(f"the pitch contour of {utterance!r} has {found}", hint="track this manifest again")
        x = torch.from_numpy(self._contour(tracked)).to(self._tokenizer.device)
        with torch.inference_mode():
            return self._tokenizer.model.encode(x[None])[0].int().cpu().numpy()

    def _contour(self, tracked: TrackedF0) -> np.ndarray:
        f0, voicing = tracked.contour
        if not voicing.any():
            f0 = np.zeros_like(f0)
        else:
            f0 = f0 if self._tokenizer.interpolate else f0 * (voicing != 0)
            f0 = normalized(f0, voicing) if self._tokenizer.normalize else f0
        return np.stack([f0, voicing]).astype(np.float32)


def encoded_lines(tokenizer: SpeechTokenizer, tracked: TrackedPitch | None = None, workers: int = 0) -> Lines:
    """Lines for `spiritlm.alignment.part.run_part`. With `tracked`, pitch units come from contours, and `tokenizer` has
    no pitch of its own; `workers` processes decode audio ahead."""

    def lines(utterances: Iterable[Utterance]) -> Iterator[tuple[str, int]]:
        with closing(waveforms(utterances, workers)) as source:
            for group in _groups(source):
                yield from _lines(group, tokenizer, tracked)

    return lines


def _groups(source: Iterable[Decoded]) -> Iterator[list[Decoded]]:
    group: list[Decoded] = []
    held = 0
    for utterance in source:
        group.append(utterance)
        held += len(utterance.samples)
        if len(group) == AT_ONCE or held >= SECONDS * RATE:
            yield group
            group, held = [], 0
    if group:
        yield group


def _lines(group: list[Decoded], tokenizer: SpeechTokenizer, tracked: TrackedPitch | None) -> Iterator[tuple[str, int]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short audio: the line says so
        found = tokenizer.encode_many([utterance.samples for utterance in group])
    for utterance, units in zip(group, found, strict=True):
        wav, row = utterance.samples, {"id": utterance.item.id, **units}
        reason = utterance.reason or ("" if len(wav) >= LEAST else f"too short: {len(wav)} samples")
        if tracked is not None:
            pitch = text_of(tracked.units(utterance.item.id, wav)) if not reason else ""
            row = {"id": row.pop("id"), "hubert": row.pop("hubert"), "pitch": pitch, **row}
        if reason:
            row["reason"] = reason
        yield json.dumps(row, ensure_ascii=False) + "\n", int(bool(reason))


def digest(path: str | Path) -> str:
    """16 hexadecimal digits of a file's bytes, or of the names and bytes of a folder's files."""
    path = Path(path)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        with open(file, "rb") as stream:
            total.update(f"{file.relative_to(path)}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()[:16]
