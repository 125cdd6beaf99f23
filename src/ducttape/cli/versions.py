"""`versions [N ...]`: the built packages, and the past runs of this base directory with what each found and what it
made, on stdout; `--json` too. Numbers choose runs.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ducttape.cli.session import Session
from ducttape.run.packages import is_built
from ducttape.store.history import files_of
from ducttape.store.locks import read_owner
from ducttape.store.versions import list_versions
from ducttape.syntax.diagnostics import Diagnostic, TapeError


def run(options) -> int:
    session = Session(options)
    packages = [] if options.globs else _packages(session.layout.packages)
    alive = _alive(session.layout.locks)
    runs = [
        {
            "version": v.number,
            "time": v.directory.stat().st_mtime,
            "by": _controller(v.directory),
            "running": _controller(v.directory) in alive,
            "files": list(files_of(v)),
            "packages": {line[1]: line[2] for line in v.manifest if line[0] == "package" and len(line) > 2},
            "existing": [line[1] for line in v.manifest if line[0] == "existing"],
            "todo": [line[1] for line in v.manifest if line[0] == "todo"],
        }
        for v in list_versions(session.layout)
    ]
    if options.globs:
        known = {str(item["version"]): item for item in runs}
        for number in options.globs:
            if number not in known:
                hint = f"there are {len(runs)} runs under {session.layout.base}"
                raise TapeError(Diagnostic(f"there is no run '{number}'", hint=hint))
        runs = [known[number] for number in dict.fromkeys(options.globs)]
    if options.json:
        print(json.dumps({"packages": packages, "runs": runs}, indent=1))
        return 0
    for item in packages:
        used = " in use" if item["in_use"] else ""
        print(f"package {item['package']} {item['version']} {_date(item['time'])}{used}")
    for item in runs:
        by = f" by {item['by']}" + (", running," if item["running"] else "") if item["by"] else ""
        counts = f"existing={len(item['existing'])} todo={len(item['todo'])}"
        print(f"run {item['version']} {_date(item['time'])}{by} {counts}")
        for name, version in item["packages"].items():
            print(f"  package {name} {version}")
        for what in ("existing", "todo"):
            for task in item[what]:
                print(f"  {what} {task}")
    return 0


def _controller(directory: Path) -> str | None:
    """`host:pid` of the program that made a run."""
    try:
        return (directory / "pid.txt").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _alive(folder: Path) -> set[str]:
    """`host:pid` of the controllers that may be alive."""
    try:
        owners = [read_owner(Path(e.path)) for e in os.scandir(folder)]
    except OSError:
        return set()
    return {str(owner) for owner in owners if owner is not None and not owner.is_gone()}


def _packages(folder: Path) -> list[dict]:
    """Every built version of every package, by name, the oldest first."""
    found = []
    for package in sorted(os.scandir(folder), key=lambda e: e.name) if folder.is_dir() else ():
        if not package.is_dir():
            continue
        try:
            head = Path(package.path, "HEAD").read_text(encoding="utf-8").strip()
        except OSError:
            head = ""
        for version in sorted(os.scandir(package.path), key=lambda e: e.stat().st_mtime):
            if version.is_dir() and version.name != "failed" and is_built(Path(version.path)):
                when, used = version.stat().st_mtime, version.name == head
                found.append({"package": package.name, "version": version.name, "time": when, "in_use": used})
    return found


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
