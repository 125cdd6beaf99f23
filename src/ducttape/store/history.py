"""Every finished result of a task, in its place or in the attic, with the run that made it; changes nothing.

A result is a directory with a record that can be read. Runs are numbered as in `BASE/.versions`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ducttape.plan.tasks import TaskKey
from ducttape.store.layout import VERSION, Layout, component, numbered
from ducttape.store.record import Record
from ducttape.store.versions import Version


@dataclass(frozen=True, slots=True)
class Made:
    """One result. `version` is the run that made it, 0 when that is not known; `present` is false in the attic."""

    key: TaskKey
    directory: Path
    version: int
    record: Record
    present: bool

    def __str__(self) -> str:
        run = f"run {self.version}" if self.version else "an unknown run"
        return f"{self.key} ({run}{'' if self.present else ', in the attic'})"


def results(layout: Layout, key: TaskKey) -> list[Made]:
    """All results of a task: those in its place first, then those in the attic, each the newest first."""
    found = [_made(key, directory, True) for directory in layout.made(key)]
    found += [_made(key, directory, False) for directory in _in_attic(layout, key)]
    return [made for made in found if made is not None]


def with_output(layout: Layout, key: TaskKey, output: str, digest: str) -> Made | None:
    """The newest result of a task whose output had this digest."""
    return next((m for m in results(layout, key) if m.record.output_digests.get(output) == digest), None)


def at_run(layout: Layout, key: TaskKey, version: int) -> Made | None:
    """The result of a task that stood after run `version`: the newest one made by it or by an earlier run."""
    older = [made for made in results(layout, key) if made.version <= version]
    return max(older, key=lambda made: (made.version, made.present, made.record.end or 0.0), default=None)


def planned(version: Version) -> dict[TaskKey, str]:
    """What a past run had in its plan, and whether it was `existing` or `todo`."""
    found = {}
    for line in version.manifest:
        if line[0] in ("existing", "todo") and len(line) > 1:
            name, _, _ = line[1].rpartition("/")
            task, _, realization = name.partition("/")
            found[TaskKey(task, realization)] = line[0]
    return found


def files_of(version: Version) -> dict[str, str]:
    """The source files of a past run, name to text."""
    try:
        text = (version.directory / "workflow.tape").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return {}
    parts = re.split(r"^### (.+) ###\n", text, flags=re.MULTILINE)
    return {name: body.removesuffix("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def run_number(directory: Path) -> int:
    """The run that made a task directory; 0 when it does not say."""
    try:
        text = (directory / VERSION).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return 0
    return int(text) if text.isascii() and text.isdigit() else 0


def _made(key: TaskKey, directory: Path, present: bool) -> Made | None:
    record = Record.read(directory)
    # In the attic a second `Rate.0` is called `Rate.0.2`, as the first `Rate.0.2` is; a full name is a link.
    if record is None or (record.task, record.realization) != (key.task, key.realization):
        return None
    return Made(key, directory, run_number(directory), record, present)


def _in_attic(layout: Layout, key: TaskKey) -> list[Path]:
    name = component(key.realization)
    found = []
    for version in reversed(numbered(layout.attic)):
        folder = layout.attic / str(version) / component(key.task)
        try:
            names = [e.name for e in os.scandir(folder)]
        except OSError:
            continue
        again = {n: int(n[len(name) + 1 :]) for n in names if re.fullmatch(re.escape(name) + r"\.[1-9][0-9]*", n)}
        found += [folder / n for n in sorted(again, key=again.get, reverse=True)]
        found += [folder / name] if name in names else []
    return found
