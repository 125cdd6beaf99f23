"""Unit strings to audio by a vocoder's folder, as the API's `decode` does it, without opening the encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spire.audio import RATE
from spiritlm.unit_strings import ids_of, string_to_units
from spiritlm.vocoder.vocoder import DEFAULT_SPEAKER, Vocoder

SILENCE = RATE // 10  # samples that stand for speech without any unit


class Voice:
    """A vocoder and who speaks."""

    def __init__(self, folder: str | Path, speaker: int = DEFAULT_SPEAKER, device: str = "cpu"):
        self._vocoder = Vocoder(folder, device)
        self.speaker = speaker
        tables = self._vocoder.tables
        names = {"hubert": "dict", "pitch": "f0_dict", "style": "style_dict"}
        self._counts = {name: tables[table].num_embeddings for name, table in names.items() if table in tables}

    @property
    def expressive(self) -> bool:
        return self._vocoder.expressive

    def say(self, string: str) -> np.ndarray:
        """float32 [N] at 16 kHz of a string of units; 100 ms of silence where it has no phonetic unit.

        What a model wrote is heard in any case: units that the vocoder has not (the blank class, say) are left out, and
        an expressive one takes pitch 0 and style 0 where the string has none at all.
        """
        streams = string_to_units(string, True)
        if "[St" not in string:
            streams.pop("style", None)
        rows = {name: ids_of(streams[name]) for name in streams}
        wanted = ("hubert", "pitch", "style") if self.expressive else ("hubert",)
        rows = {name: rows.get(name, [0] * len(rows["hubert"])) for name in wanted}
        known = [unit < self._counts["hubert"] for unit in rows["hubert"]]
        if not any(known):
            return np.zeros(SILENCE, np.float32)
        units = {
            name: [min(unit, self._counts[name] - 1) for unit, keep in zip(ids, known, strict=True) if keep]
            for name, ids in rows.items()
        }
        return self._vocoder.decode(units, speaker_id=self.speaker, dur_pred=True, not_dedup_code=True)

    def split(self, before: str, after: str) -> tuple[np.ndarray, int]:
        """Both strings as one piece of speech, and the sample where the second begins: the share of phonetic units."""
        samples = self.say(before + after)
        heard, more = (string.count("[Hu") for string in (before, after))
        return samples, round(len(samples) * heard / max(1, heard + more))
