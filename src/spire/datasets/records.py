"""One utterance of a corpus as its reader hands it out, and the parts in which a corpus is read.

A part is what is fetched, converted and resumed as a whole: a file of the hub, or a stretch of a table. The parts of a
corpus and their order follow from its description and revision alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spire.errors import UserError

ROWS = 10_000  # of a table in a part


@dataclass(frozen=True, slots=True)
class Record:
    """`audio` are the bytes of an audio file, or `path` says where it lies; `start` and `duration` are seconds in it,
    `duration` None for up to its end. `id` is empty where the corpus has none. A record with a `problem` has no use."""

    id: str
    text: str = ""
    speaker: str = ""
    translations: dict[str, str] = field(default_factory=dict)
    audio: bytes | None = None
    path: Path | None = None
    start: float = 0.0
    duration: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class Part:
    """`name` says what it is, `digest` identifies its content ("" where it is a folder of the user), `size` in bytes or
    rows weighs it against other parts; `records` reads it, with a folder for what has to be fetched."""

    name: str
    size: int
    digest: str
    records: Callable[[Path], Iterator[Record]]


def inside(root: Path, name: str, table: Path | str) -> Path:
    """root / name; UserError when a table's name leads out of the folder."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not name:
        raise UserError(f"{table}: {name!r} leads out of {root}", hint="get the table again from its source")
    return root / path


def parts_of_rows(name: str, count: int, records: Callable[[int, int], Iterator[Record]]) -> list[Part]:
    """Parts of a table of `count` rows; `records(first, last)` reads rows first..last-1."""
    parts = []
    for first in range(0, count, ROWS):
        last = min(first + ROWS, count)
        # Bound now: the loop's variables are other rows by the time a part is read.
        read = lambda folder, a=first, b=last: records(a, b)  # noqa: E731
        parts.append(Part(f"{name} rows {first + 1}-{last}", last - first, "", read))
    return parts
