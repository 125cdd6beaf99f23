"""Lines of a units file: the units of one utterance in one of the forms that SPIRE writes (spec 6).

    pua        one private-use character a unit, without separators
    indices    decimal numbers with one space between them
    extra_id   <extra_id_N> pieces without separators

An empty line is an utterance without units, in every form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from spire.errors import UserError
from spire.units.text import MAX_UNIT, PUA_FIRST, deduplicate, from_extra_ids, from_pua, to_extra_ids, to_pua

FORMS = ("pua", "indices", "extra_id")
_UNIT = f"[{chr(PUA_FIRST)}-{chr(PUA_FIRST + MAX_UNIT)}]"
_REPEATED = re.compile(f"({_UNIT})\\1+")
_ANY_UNIT = re.compile(_UNIT)


@dataclass(frozen=True)
class LineForm:
    """How labels become a line: `form` is one of FORMS; `deduplicated` drops a unit equal to the one before it."""

    form: str = "pua"
    deduplicated: bool = True

    def units(self, labels: Sequence[int] | np.ndarray) -> list[int]:
        """The units of a line: labels without padding (-1), without repeats if so wanted."""
        if self.deduplicated:
            return deduplicate(labels)
        array = np.asarray(labels, np.int64)
        return array[array >= 0].tolist()

    def line(self, units: Iterable[int]) -> str:
        """Units as text without a line end; ValueError for a unit outside 0..65533."""
        if self.form == "pua":
            return to_pua(units)
        if self.form == "extra_id":
            return to_extra_ids(units)
        return " ".join([str(int(unit)) for unit in units])


def parse_line(line: str, form: str) -> list[int]:
    """The units of a line; UserError naming what is none."""
    if form == "pua":
        return from_pua(line)
    if form == "extra_id":
        return from_extra_ids(line)
    units = []
    for word in line.split():
        if not (word.isascii() and word.isdecimal()) or int(word) > MAX_UNIT:
            raise UserError(f"{word[:20]!r} is not a unit number", hint=f"numbers from 0 to {MAX_UNIT}, with spaces")
        units.append(int(word))
    return units


def deduplicate_line(line: str, form: str) -> str:
    """The line without a unit that equals the one before it.

    In the form `pua` whatever is not a unit (a prompt around the units, say) stays as it is, doubled letters and digits
    included (spec 13, defect 16). UserError for a line of the form `pua` that holds text and no unit at all, and in the
    other forms for a line that holds anything but units.
    """
    if form != "pua":
        return LineForm(form).line(deduplicate(parse_line(line, form)))
    if line and not _ANY_UNIT.search(line):
        raise UserError(f"{line[:40]!r} holds no private-use character", hint="numbers need --form indices")
    return _REPEATED.sub(r"\1", line)
