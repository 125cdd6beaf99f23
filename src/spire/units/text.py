"""Discrete speech units as text: unit i is the one private-use character chr(0xF0000 + i), or the piece `<extra_id_i>`.

Conversions are exact inverses; ids outside 0..65533 are refused (the two code points after them are not characters).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from spire.errors import UserError

PUA_FIRST = 0xF0000
MAX_UNIT = 65_533
_EXTRA_ID = re.compile(r"<extra_id_(\d{1,5})>")


def to_pua(ids: Iterable[int]) -> str:
    """Unit ids to private-use characters without separators; ValueError for an id outside 0..65533."""
    ids = [int(i) for i in ids]
    if ids and (min(ids) < 0 or max(ids) > MAX_UNIT):
        raise ValueError(f"unit ids must lie in 0..{MAX_UNIT}, found {min(ids)}..{max(ids)}")
    return "".join([chr(PUA_FIRST + i) for i in ids])


def from_pua(text: str) -> list[int]:
    """Private-use characters to unit ids; UserError naming the first character that is not a unit."""
    ids = [ord(c) - PUA_FIRST for c in text]
    for position, i in enumerate(ids):
        if not 0 <= i <= MAX_UNIT:
            raise UserError(
                f"character {position + 1} (U+{ord(text[position]):04X}) is not a speech unit",
                hint="a units line holds private-use characters only, without spaces",
            )
    return ids


def to_extra_ids(ids: Iterable[int]) -> str:
    """Unit ids as `<extra_id_i>` pieces without separators."""
    return "".join([f"<extra_id_{int(i)}>" for i in ids])


def from_extra_ids(text: str) -> list[int]:
    """`<extra_id_i>` pieces to unit ids; UserError when anything else stands between them."""
    if _EXTRA_ID.sub("", text):
        raise UserError(f"{text[:40]!r} holds more than <extra_id_N> pieces", hint="separators are not allowed")
    return [int(i) for i in _EXTRA_ID.findall(text)]


def deduplicate(ids: Sequence[int] | np.ndarray) -> list[int]:
    """Keep an id only where it differs from the one before it; padding labels (-1) are dropped first."""
    array = np.asarray(ids, dtype=np.int64)
    array = array[array >= 0]
    if not len(array):
        return []
    return array[np.concatenate(([True], array[1:] != array[:-1]))].tolist()
