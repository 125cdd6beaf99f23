"""Speakers who speak in styles: a style moves pitch, range, rate and volume, and every utterance moves them a little.

The jitter is why pitch cannot be told from the words and the style alone, as in human speech. The voice of an utterance
depends on speaker, style, seed and the utterance's id only.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from spire.errors import UserError
from spire.speech.espeak import Voice, check_voice

HINT = "see configs/spiritlm_voices.json"
_PARAMETERS = ("pitch", "range", "rate", "volume")
_BOUNDS = {"pitch": (0, 99), "range": (0, 99), "rate": (80, 450)}


@dataclass(frozen=True)
class Offsets:
    """`pitch` and `range` on espeak's 0..99 scales, `rate` in words a minute, `volume` in dB."""

    pitch: float = 0.0
    range: float = 0.0
    rate: float = 0.0
    volume: float = 0.0


@dataclass(frozen=True)
class Cast:
    """Speakers and styles by name, and the largest jitter of an utterance."""

    speakers: dict[str, Voice]
    styles: dict[str, Offsets]
    jitter: Offsets

    def voice(self, speaker: str, style: str, utterance: str, seed: int) -> tuple[Voice, float]:
        """The voice of one utterance, and its volume in dB; UserError when speaker or style does not exist."""
        for kind, name, known in (("speaker", speaker, self.speakers), ("style", style, self.styles)):
            if name not in known:
                raise UserError(f"utterance {utterance}: no {kind} {name!r}", f"one of {', '.join(known)}; {HINT}")
        voice, offsets = self.speakers[speaker], self.styles[style]
        rng = random.Random(f"{seed} jitter {utterance}")
        drawn = {name: rng.uniform(-1, 1) * getattr(self.jitter, name) for name in _PARAMETERS}
        moved = {
            name: min(max(round(getattr(voice, name) + getattr(offsets, name) + drawn[name]), low), high)
            for name, (low, high) in _BOUNDS.items()
        }
        return Voice(voice.id, voice.voice, **moved), offsets.volume + drawn["volume"]


def read_cast(path: str | Path) -> Cast:
    """From a JSON file {"speakers": [voice, ...], "styles": {name: offsets}, "jitter": offsets}; UserError names what
    is wrong in it."""
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
        speakers = [Voice(**row) for row in table["speakers"]]
        styles = {name: Offsets(**row) for name, row in table["styles"].items()}
        jitter = Offsets(**table.get("jitter", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{path}: not speakers, styles and jitter: {type(e).__name__}: {e}", HINT) from e
    if not speakers or not styles or len({voice.id for voice in speakers}) < len(speakers):
        raise UserError(f"{path}: needs speakers with ids of their own, and styles", HINT)
    for voice in speakers:
        check_voice(voice.voice)
        for name, (low, high) in _BOUNDS.items():
            value = getattr(voice, name)
            if type(value) is not int or not low <= value <= high:
                raise UserError(f"{path}: speaker {voice.id}: {name} {value!r} is no whole number {low} to {high}")
    for name, offsets in (*styles.items(), ("jitter", jitter)):
        if not all(isinstance(value, int | float) for value in vars(offsets).values()):
            raise UserError(f"{path}: {name}: offsets are numbers", HINT)
    return Cast({voice.id: voice for voice in speakers}, styles, jitter)
