"""What the modes share: the loaded tape, its plan and the store, each made at first use.

Room order: this is the only place where a command line meets the loader, the planner, the store and the packages.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

from ducttape.cli.terminal import Paint, error_text, say
from ducttape.plan.tasks import Plan, RealizedTask, TaskKey
from ducttape.store.digest import DigestCache
from ducttape.store.layout import Layout
from ducttape.store.state import Store
from ducttape.syntax.diagnostics import Diagnostic, TapeError


def settings(**given) -> SimpleNamespace:
    """Options as the command line would give them without any option, changed by `given`."""
    default = {
        "tape": "",
        "config_file": [],
        "define": [],
        "plans": [],
        "output": None,
        "jobs": 1,
        "yes": True,
        "dry_run": False,
        "stale": "rerun",
        "fail_fast": False,
        "retries": 0,
        "detach": False,
        "log_json": None,
        "traversal": None,
        "no_color": True,
        "no_live": True,
        "json": False,
        "mode": "exec",
        "globs": [],
    }
    return SimpleNamespace(**{**default, **given})


def defines_of(options) -> dict[str, str]:
    """The globals that `-D NAME=VALUE` sets; raises TapeError for one of another form."""
    defines = {}
    for text in options.define:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise TapeError(Diagnostic(f"-D {text}: expected NAME=VALUE", hint=f"for example -D {name or 'steps'}=100"))
        defines[name] = value
    return defines


class Session:
    """One tape with its options: `tape`, `config_file`, `define`, `plans`, `output`.

    A caller that has them already may give the workflow and the plan.
    """

    def __init__(self, options, workflow=None, plan: Plan | None = None):
        self.options = options
        if workflow is not None:
            self.workflow = workflow
        if plan is not None:
            self.plan = plan

    @cached_property
    def workflow(self):
        from ducttape.workflow.loader import load

        workflow = load(Path(self.options.tape), [Path(c) for c in self.options.config_file], defines_of(self.options))
        for warning in workflow.warnings:
            self.warn(warning)
        return workflow

    @cached_property
    def plan(self) -> Plan:
        from ducttape.plan.planner import make_plan

        return make_plan(self.workflow, list(self.options.plans), warn=self.warn)

    def warn(self, warning: Diagnostic) -> None:
        """Say it, on stderr."""
        say(error_text(warning.render(), Paint(sys.stderr, not self.options.no_color)))

    def selected(self, required: bool = False) -> list[RealizedTask]:
        """The planned tasks that the command line's globs name (all without globs); raises TapeError for none."""
        from ducttape.plan.select import select_tasks

        globs = self.options.globs
        if required and not globs:
            raise TapeError(
                Diagnostic(
                    f"{self.options.mode} needs to know which tasks",
                    hint=f"ducttape {self.options.tape} {self.options.mode} 'TASK' 'REALIZATION' ('*' for all)",
                )
            )
        if self.layout.versioned and self.options.mode != "exec":
            # Which version of a task counts depends on what is asked for. (`exec` surveys what the globs leave.)
            self.store.survey()
        return select_tasks(self.plan, globs[0] if globs else "*", list(globs[1:]) or ["*"])

    @cached_property
    def layout(self) -> Layout:
        base = self.options.output or self.workflow.directives.output or "."
        directives = self.workflow.directives
        flat, versioned = directives.structure == "flat", directives.versioned_tasks
        return Layout(Path(os.path.abspath(os.path.expanduser(base))), flat, versioned)

    @cached_property
    def cache(self) -> DigestCache:
        return DigestCache(self.layout.base, self.layout.digests)

    @cached_property
    def packages(self):
        from ducttape.run.packages import Packages

        update = self.workflow.directives.auto_update_packages
        planning = bool(getattr(self.options, "dry_run", False))
        return Packages(self.plan, self.layout, self.cache, update, self.workflow.versioners, planning)

    @cached_property
    def submitters(self):
        from ducttape.run.submitters import Submitters

        return Submitters(self.workflow.submitters)

    @cached_property
    def store(self) -> Store:
        return Store(self.layout, self.plan, self.packages.versions, self.cache, self.packages.change)

    def sources(self) -> dict[str, str]:
        """All source files of the workflow, name to text."""
        return {file.source.name: file.source.text for file in self.workflow.files}

    def with_descendants(self, tasks: list[RealizedTask]) -> list[RealizedTask]:
        """The tasks and all planned tasks that follow from them, in plan order."""
        chosen: set[TaskKey] = {t.key for t in tasks}
        for key, task in self.plan.tasks.items():
            if any(parent in chosen for parent in task.parents):
                chosen.add(key)
        return [t for key, t in self.plan.tasks.items() if key in chosen]

    def with_ancestors(self, tasks: list[RealizedTask]) -> Plan:
        """The plan cut down to the tasks and all that they need."""
        chosen: set[TaskKey] = {t.key for t in tasks}
        for key, task in reversed(self.plan.tasks.items()):
            if key in chosen:
                chosen.update(task.parents)
        return Plan({key: t for key, t in self.plan.tasks.items() if key in chosen}, self.plan.packages)

    def show(self, task: RealizedTask) -> str:
        """The task directory relative to the current folder where that is shorter."""
        path = str(self.layout.directory(task.key))
        relative = os.path.relpath(path)
        return relative if len(relative) < len(path) else path
