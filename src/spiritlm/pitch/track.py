"""Pitch contours of a corpus: every utterance of a manifest through FCPE or YAAPT, into the folder of `f0_files`.

The contours of an utterance follow from its audio alone. Audio that is too short for the tracker has a contour of the
length that its samples ask for, unvoiced throughout, so that no utterance is lost on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from spire.audio import load_utterance
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest
from spire.progress import Progress
from spiritlm.pitch.f0_files import RATE, TrackedF0, write_f0

BACKENDS = ("fcpe", "pyaapt")
LEAST = 1280  # samples: the tokenizer has no units for less
Tracker = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def tracker(backend: str, device: str = "cpu", fcpe_weights: str | Path | None = None) -> Tracker:
    """float32 [N] at 16 kHz to f0 and voicing at 200 Hz, float32 [T] each; f0 interpolated. UserError: no such
    backend, or what it needs is not installed."""
    if backend == "fcpe":
        from spiritlm.pitch.fcpe import Fcpe

        return Fcpe(fcpe_weights, device)
    if backend == "pyaapt":
        from spiritlm.pitch.yaapt import yaapt

        return yaapt
    raise UserError(f"f0 backend {backend!r}", hint=f"one of {', '.join(BACKENDS)}")


def chosen(utterances: Sequence[Utterance], seconds: float, seed: int) -> list[Utterance]:
    """Utterances drawn until they last `seconds` together (0: all), in the manifest's order."""
    if not seconds:
        return list(utterances)
    kept, held = [], 0.0
    for i in np.random.default_rng(seed).permutation(len(utterances)):
        if held >= seconds:
            break
        kept.append(i)
        held += utterances[i].duration
    return [utterances[i] for i in sorted(kept)]


def track(
    manifest: str | Path,
    out: str | Path,
    backend: str,
    seconds: float = 0.0,
    seed: int = 1,
    part: int = 1,
    parts: int = 1,
    device: str = "cpu",
    fcpe_weights: str | Path | None = None,
) -> int:
    """Track the utterances of a manifest, or of its part `part` of `parts`, into the folder `out`; returns how many.
    UserError: unreadable audio, no utterance, an unknown backend."""
    utterances = chosen(read_manifest(manifest), seconds, seed)
    if not utterances:
        raise UserError(f"{manifest}: holds no utterance", hint="make the speech first")
    first, last = (len(utterances) * end // parts for end in (part - 1, part))
    return write_f0(out, _tracked(utterances[first:last], tracker(backend, device, fcpe_weights)), backend)


def _tracked(utterances: Sequence[Utterance], find: Tracker) -> Iterator[TrackedF0]:
    with Progress("pitch", total=sum(u.duration for u in utterances), unit="s of audio") as progress:
        for utterance in utterances:
            wav = load_utterance(utterance)
            if len(wav) < LEAST:
                f0 = voicing = np.zeros(int(len(wav) * RATE) // 16_000, np.float32)
            else:
                f0, voicing = find(wav)
                if not voicing.any():
                    f0 = np.zeros_like(f0)
            yield TrackedF0(utterance.id, utterance.speaker, f0, voicing)
            progress.advance(utterance.duration)
