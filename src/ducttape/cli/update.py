"""`update [PACKAGE ...]`: ask the versioners of all packages of the tape, or of those named, for the newest versions
and build those that are not built, after a question.
"""

from __future__ import annotations

from ducttape.cli.session import Session
from ducttape.cli.terminal import confirm, say
from ducttape.plan.packages import package_definitions
from ducttape.plan.tasks import Plan
from ducttape.run.packages import Packages
from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean


def run(options) -> int:
    session = Session(options)
    declared = session.workflow.packages
    for name in options.globs:
        if name not in declared:
            raise TapeError(Diagnostic(f"unknown package '{name}'", hint=did_you_mean(name, declared)))
    definitions = package_definitions(session.workflow, options.globs or declared)
    packages = Packages(Plan({}, definitions), session.layout, session.cache, True, session.workflow.versioners)
    todo = [p for p in packages.all.values() if not p.built]
    for name, package in packages.all.items():
        if package.built:
            packages.use(name)
    if not todo:
        count = len(packages.all)
        say(f"nothing to do: {count} package{'s are' if count != 1 else ' is'} built")
        return 0
    for package in todo:
        say(f"BUILD: {package.definition.name} {package.version[:12]}")
    if not confirm(f"Build {len(todo)} package{'s' if len(todo) != 1 else ''}?", options.yes):
        say("doing nothing")
        return 0
    for package in todo:
        packages.build(package.definition.name)
    return 0
