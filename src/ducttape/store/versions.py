"""The history of runs: `BASE/.versions/N/`, one numbered folder for every confirmed run.

`workflow.tape` holds all source files, each after a `### path ###` line; `pid.txt` is `host:pid`; `manifest.txt`
lists, tab separated, `package NAME VERSION`, `existing TASK/REAL/N` and `todo TASK/REAL/N [packages]`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ducttape.plan.tasks import RealizedTask
from ducttape.store.layout import VERSION, Layout, numbered


@dataclass(frozen=True, slots=True)
class Version:
    """One past run."""

    number: int
    directory: Path
    manifest: tuple[tuple[str, ...], ...]


def list_versions(layout: Layout) -> list[Version]:
    """All runs, oldest first."""
    found = []
    for number in numbered(layout.versions):
        directory = layout.versions / str(number)
        try:
            lines = (directory / "manifest.txt").read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        found.append(Version(number, directory, tuple(tuple(line.split("\t")) for line in lines)))
    return found


def new_version(
    layout: Layout,
    sources: Mapping[str, str],
    packages: Mapping[str, str],
    existing: Iterable[RealizedTask],
    todo: Iterable[RealizedTask],
) -> int:
    """Write the next version folder and return its number; `sources` maps file names to their texts."""
    layout.versions.mkdir(parents=True, exist_ok=True)
    number = max(numbered(layout.versions), default=0) + 1
    while True:
        try:
            (layout.versions / str(number)).mkdir()
            break
        except FileExistsError:
            number += 1
    lines = [f"package\t{name}\t{version}" for name, version in packages.items()]
    lines += [f"existing\t{t.key}/{_version_of(layout, t)}" for t in existing]
    lines += [f"todo\t{t.key}/{number}" + ("\t" + " ".join(t.packages) if t.packages else "") for t in todo]
    folder = layout.versions / str(number)
    tape = "".join(f"### {name} ###\n{text}\n" for name, text in sources.items())
    (folder / "workflow.tape").write_text(tape, encoding="utf-8", errors="surrogateescape")
    (folder / "pid.txt").write_text(f"{socket.gethostname()}:{os.getpid()}\n", encoding="utf-8")
    (folder / "manifest.txt").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return number


def _version_of(layout: Layout, task: RealizedTask) -> str:
    try:
        return (layout.directory(task.key) / VERSION).read_text(encoding="utf-8").strip() or "0"
    except OSError:
        return "0"
