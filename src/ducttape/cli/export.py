"""`export --crate DIR|FILE.zip [TASK [REALIZATION ...]]`: a Workflow Run RO-Crate of all results, or of those named
with all that they were made from: the tape, what ran with which values, when and on which host, inputs, outputs, logs.

Results that are stale are left out, or taken in and said to be stale with `--stale=keep`. Every copy is compared with
its record. The crate appears whole or not at all, and is never written over another one.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from ducttape.cli.session import Session, defines_of
from ducttape.cli.terminal import say
from ducttape.run.packages import is_built
from ducttape.store.crate import Run, Study, make_crate
from ducttape.store.crate_graph import Files
from ducttape.store.layout import Layout, component
from ducttape.store.situation import situations
from ducttape.store.sizes import size_of, size_text
from ducttape.store.state import Status
from ducttape.syntax.diagnostics import Diagnostic, TapeError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_NO_LICENSE = "not specified: ask the authors"


def run(options) -> int:
    if not options.crate:
        hint = f"ducttape {options.tape} export --crate DIR (or FILE.zip)"
        raise TapeError(Diagnostic("export needs to know where to", hint=hint))
    target = Path(os.path.abspath(os.path.expanduser(options.crate)))
    if os.path.lexists(target):
        raise TapeError(Diagnostic(f"{target} exists", hint="name a new folder or zip file, or move it away"))
    limit = _size(options.max_size)
    session = Session(options)
    if options.globs:
        session.plan = session.with_ancestors(session.selected())
    runs, missing = _runs(session)
    if not any(run.record for run in runs):
        hint = f"ducttape {options.tape} makes them; --stale=keep takes stale ones as they are"
        raise TapeError(Diagnostic("no complete result to export", hint=hint))
    study = Study(
        name=os.path.basename(options.tape),
        folder=Path(os.path.abspath(options.tape)).parent,
        sources=_sources(session),
        runs=runs,
        author=options.author or _login(),
        license=options.license or _NO_LICENSE,
        defines=defines_of(options),
        packages=_packages(session.layout, runs),
    )
    left_out, size = _write(study, target, limit)
    if missing:
        say(f"warning: {missing} tasks are not complete and not in it")
        say("hint: --stale=keep takes in what is stale")
    for name in left_out[:10]:
        say(f"left out, larger than {size_text(limit)}: {name}")
    if len(left_out) > 10:
        say(f"and {len(left_out) - 10} more")
    if left_out:
        say("hint: --max-size 10G takes larger ones in")
    complete = sum(run.record is not None for run in runs)
    say(f"wrote {target}: {complete} results, {size_text(size)}")
    return 0


def _write(study: Study, target: Path, limit: int) -> tuple[list[str], int]:
    """Make the crate beside its place and move it there; what was left out, and its size."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        folder = draft / "crate"
        folder.mkdir()
        left_out = make_crate(study, Files(folder, limit))
        made = folder
        if target.suffix == ".zip":
            made = draft / "crate.zip"
            _zip(folder, made)
        size = size_of(made)
        os.rename(made, target)
    finally:
        shutil.rmtree(draft)
    return left_out, size


def _zip(folder: Path, target: Path) -> None:
    """All files of a folder in a zip file that depends on nothing but their names and bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            inside = str(path.relative_to(folder)) + ("/" if path.is_dir() else "")
            try:
                inside.encode("utf-8")
            except UnicodeEncodeError as e:
                problem = f"no zip file can hold the name {os.fsencode(inside)!r}"
                raise TapeError(Diagnostic(problem, hint="export to a folder")) from e
            entry = zipfile.ZipInfo(inside)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o40755 << 16 | 0x10) if path.is_dir() else 0o100644 << 16
            if path.is_dir():
                archive.writestr(entry, b"")
                continue
            entry.file_size = path.stat().st_size
            with open(path, "rb") as source, archive.open(entry, "w") as to:
                shutil.copyfileobj(source, to, 1 << 20)


def _runs(session: Session) -> tuple[list[Run], int]:
    """What ran, parents first, and how many planned tasks did not or are to run again."""
    runs, missing = [], 0
    for key, here in situations(session.store):
        task, directory = session.plan.tasks[key], session.layout.directory(key)
        state = here.state
        kept = session.options.stale == "keep" and state.status in (Status.STALE, Status.WAITING)
        if state.record is not None and (state.done or kept):
            runs.append(Run(task, directory, state.record, "; ".join(state.reasons)))
        elif here.label == "failed":
            runs.append(Run(task, directory, None, here.reason, here.since, here.ended))
        else:
            missing += 1
    return runs, missing


def _sources(session: Session) -> dict[str, str]:
    """The tape first, then its imports and configs."""
    tape = os.path.realpath(session.options.tape)
    names = session.sources()
    return dict(sorted(names.items(), key=lambda item: os.path.realpath(item[0]) != tape))


def _packages(layout: Layout, runs: list[Run]) -> dict[tuple[str, str], Path]:
    """The built versions of packages that results were made with and that are still there."""
    found = {}
    for run in runs:
        for name, version in run.record.identity.packages.items() if run.record else ():
            directory = layout.packages / component(name) / component(version)
            if is_built(directory):
                found[name, version] = directory
    return found


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A user id without a name, as in some containers.
        return f"user {os.getuid()}"


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.strip().upper())
    if match is None:
        raise TapeError(Diagnostic(f"--max-size {text}: not a size", hint="for example 500M or 10G"))
    return int(float(match[1]) * _UNITS[match[2]])
