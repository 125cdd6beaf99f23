"""Utterances joined with their units, line by line.

Guarantee: line i of the units belongs to line i of the manifest, or there is an error that names both counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spire.errors import UserError
from spire.manifest import Utterance, read_manifest
from spire.textfiles import read_lines


@dataclass(frozen=True)
class Pair:
    """An utterance and its units (private-use characters; empty: unreadable or too short audio)."""

    utterance: Utterance
    units: str

    @property
    def text(self) -> str:
        return one_line(self.utterance.text)

    def translation(self, target: str) -> str:
        """The translation into `target`, or an empty string."""
        return one_line(self.utterance.translations.get(target) or "")


def one_line(text: str) -> str:
    """Text with every run of white space as one space: a line break inside a sentence would end its prompt early."""
    return " ".join(text.split())


def read_pairs(manifest: str | Path, units: str | Path) -> list[Pair]:
    """All pairs in file order, empty ones included. Raises UserError when the files have different lengths."""
    utterances, lines = read_manifest(manifest), [line.strip() for line in read_lines(units)]
    if len(utterances) != len(lines):
        raise UserError(
            f"{manifest} has {len(utterances)} utterances, but {units} has {len(lines)} lines of units",
            hint="label this manifest again with units_label.py: line i of the units must belong to utterance i",
        )
    return [Pair(u, line) for u, line in zip(utterances, lines, strict=True)]


def usable(pairs: list[Pair]) -> tuple[list[Pair], dict[str, int]]:
    """(pairs that have units and a transcript, how many were dropped for lack of each)."""
    kept = [p for p in pairs if p.units and p.text]
    without_units = sum(not p.units for p in pairs)
    return kept, {"no units": without_units, "no transcript": len(pairs) - len(kept) - without_units}


def report(counts: dict[str, int]) -> str:
    """`a 3, b 4` for messages; empty counts are left out."""
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)
