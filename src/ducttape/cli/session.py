"""What the modes share: the loaded tape, its plan and the store, each made at first use.

Room order: this is the only place where a command line meets the loader, the planner, the store and the packages.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from ducttape.plan.tasks import Plan, RealizedTask, TaskKey
from ducttape.store.digest import DigestCache
from ducttape.store.layout import Layout
from ducttape.store.state import Store
from ducttape.syntax.diagnostics import Diagnostic, TapeError

_TRUE, _FALSE = ("true", "t", "1", "enable", "yes"), ("false", "f", "0", "disable", "no")


class Session:
    """One tape with its options: `tape`, `config_file`, `define`, `plans`, `output`."""

    def __init__(self, options):
        self.options = options

    @cached_property
    def workflow(self):
        from ducttape.workflow.loader import load

        defines = {}
        for text in self.options.define:
            name, separator, value = text.partition("=")
            if not separator or not name.isidentifier():
                raise TapeError(Diagnostic(f"-D {text}: expected NAME=VALUE", hint=f"for example -D {name or 'steps'}=100"))
            defines[name] = value
        return load(Path(self.options.tape), [Path(c) for c in self.options.config_file], defines)

    @cached_property
    def plan(self) -> Plan:
        from ducttape.plan.select import make_plan

        return make_plan(self.workflow, list(self.options.plans))

    def selected(self, required: bool = False) -> list[RealizedTask]:
        """The planned tasks that the command line's globs name (all without globs); none is an error."""
        from ducttape.plan.select import select_tasks

        globs = self.options.globs
        if required and not globs:
            raise TapeError(
                Diagnostic(
                    f"{self.options.mode} needs to know which tasks",
                    hint=f"ducttape {self.options.tape} {self.options.mode} 'TASK' 'REALIZATION' ('*' for all)",
                )
            )
        found = select_tasks(self.plan, globs[0] if globs else "*", list(globs[1:]) or ["*"])
        tasks = [t if isinstance(t, RealizedTask) else self.plan.tasks[t] for t in found]
        if not tasks:
            raise TapeError(
                Diagnostic(f"no planned task matches {' '.join(globs)}", hint=f"ducttape {self.options.tape} list shows all")
            )
        return tasks

    def directive(self, name: str, default: str = "") -> str:
        """The text of a `ducttape_*` global."""
        return self.workflow.directives.get(name, default)

    def switch(self, name: str) -> bool:
        text = self.directive(name, "false").lower()
        if text not in (*_TRUE, *_FALSE):
            raise TapeError(Diagnostic(f"{name}: '{text}' is neither true nor false", hint="write true or false"))
        return text in _TRUE

    @cached_property
    def layout(self) -> Layout:
        base = self.options.output or self.directive("ducttape_output") or "."
        return Layout(Path(os.path.abspath(os.path.expanduser(base))), self.directive("ducttape_structure") == "flat")

    @property
    def configuration(self) -> str:
        """The base name of the last config file without its usual ending, or empty."""
        if not self.options.config_file:
            return ""
        name = os.path.basename(self.options.config_file[-1])
        return name.removesuffix(".tconf").removesuffix(".conf")

    @cached_property
    def cache(self) -> DigestCache:
        return DigestCache(self.layout.base, self.layout.digests)

    @cached_property
    def packages(self):
        from ducttape.run.packages import Packages

        return Packages(self.plan, self.layout, self.cache, self.switch("ducttape_auto_update_packages"))

    @cached_property
    def store(self) -> Store:
        return Store(self.layout, self.plan, self.packages.versions, self.cache, self.packages.change)

    def sources(self) -> dict[str, str]:
        """All source files of the workflow, name to text."""
        return {str(source.path or source.name): source.text for source in self.workflow.sources}

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
