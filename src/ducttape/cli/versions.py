"""`versions`: the built packages and the past runs of this base directory, on stdout; `--json` too."""

from __future__ import annotations

import json
import os
import time

from ducttape.cli.session import Session
from ducttape.store.versions import list_versions


def run(options) -> int:
    session = Session(options)
    packages = []
    if session.layout.packages.is_dir():
        for package in sorted(os.scandir(session.layout.packages), key=lambda e: e.name):
            for version in (
                sorted(os.scandir(package.path), key=lambda e: e.stat().st_mtime) if package.is_dir() else ()
            ):
                if version.is_dir() and not version.name.startswith(".") and version.name != "failed":
                    packages.append((package.name, version.name, version.stat().st_mtime))
    runs = [
        {
            "version": v.number,
            "time": v.directory.stat().st_mtime,
            "existing": [line[1] for line in v.manifest if line[0] == "existing"],
            "todo": [line[1] for line in v.manifest if line[0] == "todo"],
        }
        for v in list_versions(session.layout)
    ]
    if options.json:
        built = [{"package": n, "version": v, "time": t} for n, v, t in packages]
        print(json.dumps({"packages": built, "runs": runs}, indent=1))
        return 0
    for name, version, when in packages:
        print(f"package {name} {version} {_date(when)}")
    for item in runs:
        print(f"run {item['version']} {_date(item['time'])} existing={len(item['existing'])} todo={len(item['todo'])}")
    return 0


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
