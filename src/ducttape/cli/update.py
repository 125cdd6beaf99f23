"""`update`: ask every versioner for the newest version and build what is not built, after a question."""

from __future__ import annotations

from ducttape.cli.session import Session
from ducttape.cli.terminal import confirm, say
from ducttape.run.packages import Packages


def run(options) -> int:
    session = Session(options)
    packages = Packages(session.plan, session.layout, session.cache, auto_update=True)
    todo = [p for p in packages.all.values() if not p.built]
    if not todo:
        say(f"nothing to do: {len(packages.all)} packages are built")
        return 0
    for package in todo:
        say(f"BUILD: {package.definition.name} {package.version[:12]}")
    if not confirm(f"Build {len(todo)} package{'s' if len(todo) != 1 else ''}?", options.yes):
        say("doing nothing")
        return 0
    for package in todo:
        packages.build(package.definition.name)
    return 0
