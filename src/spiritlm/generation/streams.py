"""Utterances with their units: a manifest and the streams made from it, joined line by line.

Streams are JSONL in the order of the manifest: {"id", "hubert": "99 49 ...", "pitch": ..., "style": ...}, the units
dictionaries of the API (spiritlm 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spire.errors import UserError
from spire.manifest import Utterance, read_manifest
from spire.textfiles import read_jsonl
from spiritlm.unit_strings import HUBERT_RATE, PITCH_RATE, STYLE_RATE, ids_of, text_of, units_to_string

_RATES = {"hubert": HUBERT_RATE, "pitch": PITCH_RATE, "style": STYLE_RATE}


@dataclass(frozen=True)
class Spoken:
    """An utterance and its units."""

    utterance: Utterance
    units: Mapping[str, str]

    @property
    def id(self) -> str:
        return self.utterance.id

    def string(self, expressive: bool, share: tuple[float, float] = (0.0, 1.0)) -> str:
        """The string of the units between two shares of the utterance's time; UserError: no pitch or style."""
        units = self.units if share == (0.0, 1.0) else between(self.units, *share)
        return units_to_string(units, has_pitch=expressive, has_style=expressive)


def read_spoken(manifest: str | Path, streams: str | Path) -> list[Spoken]:
    """All utterances of a manifest with their units. UserError: numbers or ids of the lines differ."""
    utterances, rows = read_manifest(manifest), read_jsonl(Path(streams))
    if len(rows) != len(utterances):
        raise UserError(
            f"{streams} has {len(rows)} lines, {manifest} {len(utterances)}", hint="encode this manifest again"
        )
    for number, (utterance, row) in enumerate(zip(utterances, rows, strict=True), start=1):
        if row.get("id") != utterance.id or not isinstance(row.get("hubert"), str):
            raise UserError(f"{streams}:{number}: not the units of {utterance.id}", hint="encode this manifest again")
    kept = ("hubert", "pitch", "style")
    return [
        Spoken(u, {name: row[name] for name in kept if name in row}) for u, row in zip(utterances, rows, strict=True)
    ]


def spoken_by_audio(
    manifest: str | Path,
    sources: Sequence[tuple[str | Path, str | Path]],
    wanted: Callable[[str], bool] = lambda name: True,
) -> dict[str, Spoken]:
    """The utterances of a manifest by id, with the units of the same audio in other manifests and their streams: what
    is encoded once need not be again. `wanted`: which ids are needed. UserError: one of these whose audio is in none.
    """
    known = {_audio(s.utterance): s.units for one in sources for s in read_spoken(*one)}
    found = {}
    for utterance in filter(lambda u: wanted(u.id), read_manifest(manifest)):
        if _audio(utterance) not in known:
            hint = "give the manifest that was encoded, with its streams"
            raise UserError(f"{manifest}: {utterance.id}: no units of {utterance.audio_path}", hint)
        found[utterance.id] = Spoken(utterance, known[_audio(utterance)])
    return found


def _audio(utterance: Utterance) -> tuple[Path, float]:
    return utterance.audio_path.resolve(), utterance.start


def between(units: Mapping[str, str], first: float, last: float) -> dict[str, str]:
    """The units between two shares, 0 to 1, of the time that the phonetic units take.

    A unit belongs to the side that it begins on; of pitch and style the unit that goes on at the cut is repeated, so
    that every part has some.
    """
    hubert = ids_of(units["hubert"], "hubert")
    seconds = len(hubert) / HUBERT_RATE
    found = {}
    for name, rate in _RATES.items():
        if name not in units:
            continue
        ids = ids_of(units[name], name)
        start, end = (round(share * seconds * rate, 6) for share in (first, last))
        begin = math.ceil(start) if name == "hubert" else math.floor(start)
        stop = len(ids) if last >= 1 else math.ceil(end)
        found[name] = text_of(ids[begin:stop])
    return found
