"""`gc [KIND ...]`: what nothing needs any more, with its size and what making it again would cost in CPU time.

Kinds: attic (replaced results), attempts (of finished tasks), packages (versions that no result refers to), results
(that no plan reaches). Only lists; `--delete` deletes, after a question. `--json` for programs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

from ducttape.cli.session import Session
from ducttape.cli.terminal import confirm, say, table
from ducttape.plan.planner import plan_all
from ducttape.run.progress import duration
from ducttape.store.attic import remove
from ducttape.store.garbage import KINDS, Collector, Garbage, Kept
from ducttape.store.layout import RECORD, Layout, numbered
from ducttape.store.locks import Locks
from ducttape.store.sizes import size_text
from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean


def run(options) -> int:
    for kind in options.globs:
        if kind not in KINDS:
            hint = did_you_mean(kind, KINDS) or f"kinds are {', '.join(KINDS)}"
            raise TapeError(Diagnostic(f"gc knows no '{kind}'", hint=hint))
    if options.plans:
        # What another plan needs would look as if nothing did.
        raise TapeError(Diagnostic("gc looks at all plans of a tape", hint="leave -p out"))
    session = Session(options)
    session.plan = plan_all(session.workflow, session.warn)
    if session.layout.versioned:
        session.store.survey()
    files = [Path(file.source.path or file.source.name) for file in session.workflow.files]
    collector = Collector(session.layout, session.plan, session.packages.versions, files)
    found, kept = collector.find(options.globs or KINDS)
    if options.json:
        print(json.dumps({"can_go": [_row(g) for g in found], "kept": [_kept_row(k) for k in kept]}, indent=1))
    else:
        _print(found, kept)
    if not found:
        say("nothing to do: everything is needed")
        return 0
    say(f"{len(found)} things, {_total(found)}")
    if not options.delete:
        say("nothing was deleted")
        say(f"hint: ducttape {options.tape} gc --delete (with the same options) deletes them")
        return 0
    if not confirm(f"Delete {len(found)} things for good?", options.yes):
        say("doing nothing")
        return 0
    return _delete(session.layout, found, collector)


def _print(found: list[Garbage], kept: list[Kept]) -> None:
    rows = [
        [
            garbage.kind,
            size_text(garbage.size),
            duration(garbage.cpu_seconds) if garbage.cpu_seconds is not None else "--",
            _shown(garbage.path),
            f"({garbage.why})",
        ]
        for garbage in found
    ]
    if rows:
        print("\n".join(table([["kind", "size", "cpu", "path", ""], *rows], right=frozenset({1, 2}))))
    for thing in kept:
        print(f"kept: {_shown(thing.path)} ({thing.why})")


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def _total(found: list[Garbage]) -> str:
    known = [g.cpu_seconds for g in found if g.cpu_seconds is not None]
    text = size_text(sum(g.size for g in found))
    return f"{text}; making them again would take {duration(sum(known))} of CPU time" if known else text


def _delete(layout: Layout, found: list[Garbage], collector: Collector) -> int:
    locks = Locks(layout.locks)
    kept = freed = 0
    try:
        for garbage in found:
            lock = layout.lock(garbage.key) if garbage.key else None
            if lock is not None and (owner := locks.acquire(lock)):
                say(f"KEEP: {_shown(garbage.path)}: locked by {owner}")
                kept += 1
                continue
            # A run may have begun since the question.
            if garbage.kind == "packages" and (busy := collector.anyone()):
                say(f"KEEP: {_shown(garbage.path)}: {busy}")
                kept += 1
                continue
            _remove(garbage, layout.versioned)
            if garbage.kind == "results":
                _remove_links(garbage.path)
            freed += garbage.size
            if lock is not None:
                locks.release(lock)
            _remove_empty(garbage.path.parent, layout.base)
    finally:
        locks.release_all()
    say(f"deleted {len(found) - kept} things, {size_text(freed)}")
    return 1 if kept else 0


def _remove(garbage: Garbage, versioned: bool) -> None:
    path = garbage.path
    if (path / RECORD).exists():
        # Its record goes first, so that nothing half-deleted looks whole.
        remove(path)
    elif garbage.kind != "results" or path.name.endswith(".attempts"):
        shutil.rmtree(path)
    else:
        _remove_place(path, versioned)


def _remove_place(path: Path, versioned: bool) -> None:
    """Remove the place of a task without a record of its own: failed, or with a directory for each version."""
    versions = [path / str(number) for number in numbered(path)] if versioned else []
    for directory in versions:
        remove(directory)
    if versions and not any(path.iterdir()):
        path.rmdir()
    else:
        remove(path)


def _remove_links(path: Path) -> None:
    """Remove the links for people that led to a place which is gone."""
    for link in path.parent.iterdir():
        if link.is_symlink() and os.readlink(link) == path.name:
            link.unlink()


def _remove_empty(folder: Path, base: Path) -> None:
    """Remove a folder that became empty, and those above it, below `base`."""
    with contextlib.suppress(OSError):
        while folder != base and base in folder.parents:
            folder.rmdir()
            folder = folder.parent


def _row(garbage: Garbage) -> dict:
    return {
        "kind": garbage.kind,
        "path": str(garbage.path),
        "why": garbage.why,
        "bytes": garbage.size,
        "cpu_seconds": garbage.cpu_seconds,
    }


def _kept_row(kept: Kept) -> dict:
    return {"kind": kept.kind, "path": str(kept.path), "why": kept.why}
