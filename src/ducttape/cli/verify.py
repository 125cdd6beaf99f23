"""`verify [TASK [REALIZATION ...]]`: read all results again and compare them with their records; exit code 1 when
something is missing or has other bytes.

What was remembered of the files is replaced, so damaged results are made again by the next run. Without globs the
copies of packages are compared with their lists of files too. `--json` for programs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ducttape.cli.session import Session
from ducttape.cli.terminal import Paint, say
from ducttape.plan.tasks import TaskKey
from ducttape.run.packages import files_in
from ducttape.store.layout import INVALIDATED, RECORD
from ducttape.store.locks import read_owner
from ducttape.store.record import Record
from ducttape.store.sizes import size_of, size_text
from ducttape.store.verify import Damage, FreshDigests, damaged_inputs, damaged_outputs


def run(options) -> int:
    session = Session(options)
    layout, store = session.layout, session.store
    fresh = FreshDigests(layout.base, layout.digests)
    found: dict[TaskKey, list[Damage]] = {}
    sources: list[Damage] = []
    results = size = skipped = 0
    seen: set[Path] = set()
    for task in session.selected():
        directory = layout.directory(task.key)
        record = Record.read(directory)
        if (directory / INVALIDATED).exists():
            continue
        if record is None:
            if (directory / RECORD).exists():
                found[task.key] = [Damage("its record", directory / RECORD, "cannot be read")]
            continue
        owner = read_owner(layout.lock(task.key))
        if owner is not None and not owner.is_gone():
            skipped += 1
            continue
        results += 1
        size += sum(size_of(layout.output(task, output)) for output in task.outputs)
        sources += damaged_inputs(store, task, fresh, seen)
        if damages := damaged_outputs(store, task, record, fresh):
            found[task.key] = damages
    packages = [] if options.globs else _packages(session, fresh)
    fresh.flush()
    if options.json:
        rows = [_row(damage, key) for key, damages in found.items() for damage in damages]
        print(json.dumps(rows + [_row(damage) for damage in sources + packages], indent=1, ensure_ascii=False))
    else:
        paint = Paint(sys.stdout, not options.no_color)
        for key, damages in found.items():
            for damage in damages:
                print(f"{paint('damaged', 'failed')} {key}: {damage.what} {damage.problem}\n    {damage.path}")
        for damage in sources + packages:
            print(f"{paint('damaged', 'failed')} {damage.what} {damage.problem}\n    {damage.path}")
    say(f"{results} results read, {size_text(size)}" + (f"; {skipped} are being made" if skipped else ""))
    _advise(session, found, sources, packages)
    return 1 if found or sources or packages else 0


def _advise(session: Session, found: dict, sources: list[Damage], packages: list[Damage]) -> None:
    if found:
        tasks = [session.plan.tasks[key] for key in found]
        after = len(session.with_descendants(tasks)) - len(tasks)
        follow = f"; {after} more follow from them and run again only if these come out different" if after else ""
        say(f"{len(found)} results are damaged and will not be used{follow}")
        say(f"hint: ducttape {session.options.tape} (with the same options) makes them again")
    if sources:
        say("hint: fetch the damaged inputs again; results made from them stay complete when the old bytes are back")
    if packages:
        say("hint: delete the damaged folders of packages; the next run that needs them makes them again")


def _packages(session: Session, fresh: FreshDigests) -> list[Damage]:
    """Copies of packages in use whose files are not those of their version. A build may change files, so only those
    without build commands can be told.
    """
    found = []
    for name, package in session.packages.all.items():
        files = files_in(session.layout, name, package.directory.name)
        if not package.built or files is None or package.definition.body.strip():
            continue
        for inside, recorded in files.items():
            path = package.directory / inside
            digest = fresh.path(path)
            if digest != recorded.removeprefix("x"):
                problem = "is missing" if digest is None else "has other bytes than its version says"
                found.append(Damage(f"package {name}: {inside}", path, problem))
    return found


def _row(damage: Damage, key: TaskKey | None = None) -> dict:
    where = {"task": key.task, "realization": key.realization} if key else {}
    return {**where, "what": damage.what, "problem": damage.problem, "path": str(damage.path)}
