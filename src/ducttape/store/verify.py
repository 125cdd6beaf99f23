"""Reading results again, byte by byte, and comparing them with what their records say.

What is found replaces what was remembered of a file, so that after a verification no result with other bytes counts,
whatever its size and time say.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ducttape.plan.tasks import FromFile, RealizedTask
from ducttape.store.digest import DigestCache
from ducttape.store.record import Record
from ducttape.store.state import Store


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not what was recorded: in words what it is, where it lies, and what is wrong with it."""

    what: str
    path: Path
    problem: str


class FreshDigests(DigestCache):
    """Reads every file anew, once; `flush` writes over what was remembered."""

    def _load(self) -> dict[str, tuple[int, int, int, str]]:
        if self._known is None:
            self._known = {}
        return self._known


def damaged_outputs(store: Store, task: RealizedTask, record: Record, fresh: FreshDigests) -> list[Damage]:
    """The outputs of a result that are missing or have other bytes than its record says."""
    found = []
    for output in task.outputs:
        recorded = record.output_digests.get(output.name)
        path = store.layout.output(task, output)
        digest = fresh.path(path)
        if recorded is not None and digest != recorded:
            problem = (
                "is missing" if digest is None else _changed(fresh.size(path), record.output_sizes.get(output.name))
            )
            found.append(Damage(f"output {output.name}", path, problem))
    return found


def damaged_inputs(store: Store, task: RealizedTask, fresh: FreshDigests, seen: set[Path]) -> list[Damage]:
    """The outside files of a task whose bytes changed though their size and time are those remembered.

    Edits that size or time show are left to the survey. Every path in `seen` was looked at before.
    """
    found = []
    for item in task.inputs:
        for source in item.sources:
            if isinstance(source, FromFile) and source.path not in seen:
                seen.add(source.path)
                remembered = store.cache.pattern(source.path)
                if remembered is not None and fresh.pattern(source.path) != remembered:
                    problem = "has other bytes than before, though its size and time are the same"
                    found.append(Damage(f"input {item.name}", source.path, problem))
    return found


def _changed(size: int, recorded: int | None) -> str:
    if recorded is None:
        return "has other bytes than were made"
    if size < recorded:
        return f"is truncated or lost files: {size} bytes, {recorded} were made"
    if size > recorded:
        return f"has more than was made: {size} bytes, {recorded} were made"
    return f"has other bytes than were made, as many as before ({size})"
