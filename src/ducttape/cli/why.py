"""`why PATH`: how a file was made, back to the files that no task made, from the records alone.

PATH is a file or folder inside a task directory (of the attic, too). Where a source has been made anew since, it
says so.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ducttape.cli.session import Session
from ducttape.plan.tasks import TaskKey
from ducttape.run.progress import duration
from ducttape.store.layout import RECORD
from ducttape.store.record import Record
from ducttape.syntax.diagnostics import Diagnostic, TapeError


def run(options) -> int:
    if len(options.globs) != 1:
        raise TapeError(Diagnostic("why needs one path", hint=f"ducttape {options.tape} why PATH/TO/AN/OUTPUT"))
    session = Session(options)
    path = Path(os.path.abspath(options.globs[0]))
    directory, record = _owner(path)
    if record is None:
        what = f"{path} was not made by a task with a record" if path.exists() else f"no such file: {path}"
        raise TapeError(Diagnostic(what, hint=f"task directories lie under {session.layout.base}"))
    if options.json:
        print(json.dumps(_chain(session, directory, record, {}), indent=1))
        return 0
    print(path)
    _print(session, directory, record, 1, set())
    return 0


def _owner(path: Path) -> tuple[Path, Record | None]:
    for folder in (path, path.resolve(), *path.parents, *path.resolve().parents):
        if (folder / RECORD).is_file():
            return folder, Record.read(folder)
    return path, None


def _parent(session: Session, name: str) -> tuple[Path, Record | None]:
    task, _, realization = name.partition("/")
    directory = session.layout.directory(TaskKey(task, realization))
    return directory, Record.read(directory)


def _print(session: Session, directory: Path, record: Record, depth: int, seen: set[Path]) -> None:
    pad = "  " * depth
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.end)) if record.end else "at an unknown time"
    cost = f", {duration(record.cpu_seconds)} of CPU time" if record.cpu_seconds is not None else ""
    print(f"{pad}made by {record.task}/{record.full_name} on {record.host}, {when}{cost}")
    if directory in seen:
        print(f"{pad}  (shown above)")
        return
    seen.add(directory)
    for note in record.notes:
        print(f"{pad}  note: {note}")
    for name, value in record.identity.params.items():
        print(f"{pad}  param {name} = {json.dumps(value, ensure_ascii=False)}")
    for name, version in record.identity.packages.items():
        print(f"{pad}  package {name} at {version[:12]}")
    for line in record.identity.commands:
        print(f"{pad}  $ {line}")
    for name, sources in record.sources.items():
        for source, digest in zip(sources, record.identity.inputs.get(name, []), strict=False):
            if "file" in source:
                gone = "" if os.path.lexists(source["file"]) else ", gone since"
                print(f"{pad}  input {name} = {source['file']} (from outside, blake3 {digest[:12]}{gone})")
                continue
            parent_directory, parent = _parent(session, source["task"])
            print(f"{pad}  input {name} = {source['output']} of {source['task']} (blake3 {digest[:12]})")
            if parent is None:
                print(f"{pad}    its record is gone")
                continue
            if parent.output_digests.get(source["output"]) != digest:
                print(f"{pad}    made anew since, with another content; below is the present one")
            _print(session, parent_directory, parent, depth + 2, seen)


def _chain(session: Session, directory: Path, record: Record, seen: dict[str, dict]) -> dict:
    """Every record of the chain once, by `task/realization`, the asked one first."""
    name = f"{record.task}/{record.realization}"
    if name not in seen:
        seen[name] = json.loads((directory / RECORD).read_text(encoding="utf-8"))
        for sources in record.sources.values():
            for source in sources:
                if "task" in source:
                    parent_directory, parent = _parent(session, source["task"])
                    if parent is not None:
                        _chain(session, parent_directory, parent, seen)
    return seen
