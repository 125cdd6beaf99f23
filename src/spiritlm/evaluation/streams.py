"""Units dictionaries by utterance: JSONL {"id", "hubert"[, "pitch", "style"]}, as spiritlm_encode.py writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spire.errors import UserError
from spire.textfiles import read_jsonl

NAMES = ("hubert", "pitch", "style")


def read_streams(paths: Iterable[Path]) -> dict[str, dict[str, str]]:
    """Units dictionaries by id, of all files. UserError: a line without id or units, an id twice."""
    found: dict[str, dict[str, str]] = {}
    for path in paths:
        for number, row in enumerate(read_jsonl(path), start=1):
            units = {name: row[name] for name in NAMES if name in row}
            if not isinstance(row.get("id"), str) or not all(isinstance(v, str) for v in units.values()) or not units:
                raise UserError(f"{path}: utterance {number} has no id or no units", "encode with spiritlm_encode.py")
            if row["id"] in found:
                raise UserError(f"{path}: utterance {row['id']!r} occurs twice")
            found[row["id"]] = units
    return found
