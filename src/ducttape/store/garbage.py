"""What under a base directory nothing needs any more, by kind; finds, and deletes nothing.

    attic      results that were replaced
    attempts   what is left of attempts at tasks that are complete
    packages   versions that neither the tape nor any result that stays refers to
    results    results that no plan of the tape reaches, unless another tape or config that is still there made them

Never offered: the place of a planned task, what a result that stays links to, what a live controller or a job may use,
and directories that no run of the engine listed.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ducttape.plan.tasks import FromFile, Plan, RealizedTask, TaskKey
from ducttape.store.history import files_of, planned
from ducttape.store.jobs import submitted
from ducttape.store.layout import OWN_FILES, RECORD, Layout, component, numbered
from ducttape.store.locks import Owner, read_owner
from ducttape.store.record import Record
from ducttape.store.sizes import size_of
from ducttape.store.versions import list_versions

KINDS = ("attic", "attempts", "packages", "results")


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing that can go. `cpu_seconds` is what making it took, None when that is not known; `key` is the task whose
    lock guards it.
    """

    kind: str
    path: Path
    why: str
    size: int
    cpu_seconds: float | None = None
    key: TaskKey | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """One thing that looks as if it could go, and why it stays."""

    kind: str
    path: Path
    why: str


class Collector:
    """`plan` holds every task of every plan of the tape, `packages` the present version of every package, by name;
    `sources` are the files that the tape and its configs were read from.
    """

    def __init__(self, layout: Layout, plan: Plan, packages: dict[str, str], sources: Collection[Path]):
        self._layout, self._plan, self._packages = layout, plan, packages
        self._sources = {os.path.realpath(path) for path in sources}
        self._jobs = submitted(layout)
        self._planned_places = {layout.place(key) for key in plan.tasks}

    def find(self, kinds: Collection[str]) -> tuple[list[Garbage], list[Kept]]:
        """What can go and what stays for a reason; big things first within a kind."""
        found: list[Garbage] = []
        kept: list[Kept] = []

        def take(things: Iterator[Garbage | Kept]) -> None:
            things = list(things)
            linked = self._linked({thing.path for thing in [*found, *things] if isinstance(thing, Garbage)})
            for thing in things:
                if isinstance(thing, Kept):
                    kept.append(thing)
                elif thing.path in linked:
                    kept.append(Kept(thing.kind, thing.path, linked[thing.path]))
                else:
                    found.append(thing)

        looks = {"attic": self._attic, "attempts": self._attempts, "results": self._results}
        take(thing for kind, look in looks.items() if kind in kinds for thing in look())
        if "packages" in kinds:
            # Which of them are in use depends on what else stays.
            take(self._old_packages({garbage.path for garbage in found}))
        order = {kind: i for i, kind in enumerate(KINDS)}
        return sorted(found, key=lambda g: (order[g.kind], -g.size, str(g.path))), kept

    # --- the four kinds -----------------------------------------------------------------------------------------

    def _attic(self) -> Iterator[Garbage | Kept]:
        for version in numbered(self._layout.attic):
            for folder in _folders(self._layout.attic / str(version)):
                for directory in _folders(folder):
                    yield self._garbage("attic", directory, "replaced", None)
        if self._layout.versioned:
            for key in self._plan.tasks:
                chosen = self._layout.directory(key)
                if Record.read(chosen) is None:
                    continue
                busy = self._busy(key)
                for directory in self._layout.made(key):
                    if directory != chosen and busy:
                        yield Kept("attic", directory, busy)
                    elif directory != chosen:
                        yield self._garbage("attic", directory, "not what the tape asks for", key)

    def _attempts(self) -> Iterator[Garbage | Kept]:
        for key in self._plan.tasks:
            attempts = self._layout.attempts(key)
            if not attempts.is_dir():
                continue
            why = self._busy(key)
            if why is None and Record.read(self._layout.directory(key)) is None:
                why = "the task is not complete and may go on from it"
            if why:
                yield Kept("attempts", attempts, why)
            else:
                yield self._garbage("attempts", attempts, "the task is complete", key)

    def _results(self) -> Iterator[Garbage | Kept]:
        runs = list_versions(self._layout)
        last = {key: version for version in runs for key in planned(version)}
        by_place = {self._layout.place(key): key for key in last}
        others: dict[int, str | None] = {}
        for place in self._task_places():
            if place in self._planned_places:
                continue
            key = by_place.get(place)
            if key is None:
                yield Kept("results", place, "no run of this folder lists it")
                continue
            version = last[key]
            if version.number not in others:
                others[version.number] = self._other_source(files_of(version))
            why = self._busy(key)
            if why is None and (other := others[version.number]):
                why = f"run {version.number} made it for {other}"
            if why:
                yield Kept("results", place, why)
            else:
                yield self._garbage("results", place, f"no plan reaches it; last planned by run {version.number}", key)
                if (attempts := self._layout.attempts(key)).is_dir():
                    yield self._garbage("results", attempts, "attempts at it", key)

    def _old_packages(self, gone: Collection[Path]) -> Iterator[Garbage | Kept]:
        busy = self.anyone()
        named = self._versions_in_use(gone)
        for folder in _folders(self._layout.packages):
            try:
                head = (folder / "HEAD").read_text(encoding="utf-8").split("\n")[0].strip()
            except OSError:
                head = ""
            current = {component(v) for name, v in self._packages.items() if component(name) == folder.name}
            for directory in _folders(folder):
                if directory.name == head or directory.name in current:
                    continue
                if (folder.name, directory.name) in named:
                    continue
                if busy:
                    yield Kept("packages", directory, busy)
                else:
                    why = "a build that failed" if directory.name == "failed" else "no result refers to it"
                    yield self._garbage("packages", directory, why, None)

    # --- what is in use -----------------------------------------------------------------------------------------

    def _busy(self, key: TaskKey) -> str | None:
        if key in self._jobs:
            return f"{self._jobs[key].name} works on it"
        owner = read_owner(self._layout.lock(key))
        return f"{owner} works on it" if owner is not None and not owner.is_gone() else None

    def anyone(self) -> str | None:
        """Which other controller or job of this base directory may be alive: then no package is safe to delete."""
        if jobs := submitted(self._layout):
            return f"{len(jobs)} jobs are on a cluster"
        try:
            owners = [read_owner(Path(e.path)) for e in os.scandir(self._layout.locks) if e.name != "takeover"]
        except OSError:
            return None
        me = Owner.here()
        alive = [owner for owner in owners if owner is not None and owner != me and not owner.is_gone()]
        return f"{alive[0]} is running" if alive else None

    def _versions_in_use(self, gone: Collection[Path]) -> set[tuple[str, str]]:
        """(folder, version) of every package that a result which stays, also of the attic, was made with."""
        places = [place for place in self._task_places() if place not in gone]
        directories = [d for place in places for d in ([place] if (place / RECORD).exists() else _folders(place))]
        for version in numbered(self._layout.attic):
            for folder in _folders(self._layout.attic / str(version)):
                directories += [d for d in _folders(folder) if d not in gone]
        named = set()
        for directory in directories:
            record = Record.read(directory)
            if record is not None:
                named |= {(component(n), component(v)) for n, v in record.identity.packages.items()}
        return named

    def _linked(self, gone: set[Path]) -> dict[Path, str]:
        """Of the things that would go those that something which stays leads into, each with what does."""
        targets = {os.path.realpath(path): path for path in gone}
        found: dict[Path, str] = {}
        if not targets:
            return found
        leads = [(f"task {task.key.task} reads it", path) for task in self._plan.tasks.values() for path in _read(task)]
        for place in self._task_places():
            if place not in gone:
                leads += [(f"{link} links to it", str(link)) for link in _links(place, gone)]
        for why, lead in leads:
            at = os.path.realpath(lead)
            while at not in targets and len(at) > 1:
                at = os.path.dirname(at)
            if at in targets:
                found.setdefault(targets[at], why)
        return found

    # --- directories --------------------------------------------------------------------------------------------

    def _task_places(self) -> list[Path]:
        """The places of all tasks under the base directory, planned or not: folders that the engine's files are in."""
        found = []
        for folder in _folders(self._layout.base):
            if folder.name.startswith("."):
                continue
            for place in [folder] if self._layout.flat else _folders(folder):
                if place.name.endswith(".attempts"):
                    continue
                inside = [place / str(n) for n in numbered(place)] if self._layout.versioned else [place]
                if any((directory / name).exists() for directory in inside for name in OWN_FILES):
                    found.append(place)
        return found

    def _other_source(self, files: dict[str, str]) -> str | None:
        """The first source file of a past run that still exists and that the tape now is not read from."""
        for name in files:
            path = os.path.realpath(os.path.expanduser(name))
            if path not in self._sources and os.path.exists(path):
                return name
        return None

    def _garbage(self, kind: str, path: Path, why: str, key: TaskKey | None) -> Garbage:
        directories = [path, *(path / str(number) for number in numbered(path))]
        costs = [r.cpu_seconds for d in directories if (r := Record.read(d)) is not None and r.cpu_seconds is not None]
        return Garbage(kind, path, why, size_of(path), sum(costs) if costs else None, key)


def _folders(folder: Path) -> list[Path]:
    """The directories in a folder, by name; links are none."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []
    return [Path(e.path) for e in sorted(entries, key=lambda e: e.name) if e.is_dir(follow_symlinks=False)]


def _read(task: RealizedTask) -> Iterator[str]:
    """The absolute paths that a task reads and that no planned task makes: inputs from outside, and params."""
    for item in task.inputs:
        for source in item.sources:
            if isinstance(source, FromFile):
                yield from glob.glob(str(source.path)) or [str(source.path)]
    yield from (param.value for param in task.params if param.value.startswith("/") and "\0" not in param.value)


def _links(top: Path, without: Collection[Path]) -> Iterator[Path]:
    for folder, folders, names in os.walk(top):
        here = Path(folder)
        yield from (here / name for name in [*folders, *names] if (here / name).is_symlink())
        folders[:] = [name for name in folders if here / name not in without]
