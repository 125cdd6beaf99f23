"""Submitters: what runs the body of a task, chosen by its `.submitter`, `shell` unless it says otherwise.

The `run` action of a submitter is a bash script that gets the body in COMMANDS, the environment of the task, its
dot-params and the defaults of its own params; its exit status is the task's. A submitter of the tape wins over one of
`ducttape/library/submitters.tape`. The plain `shell` needs no script: the engine runs the body itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ducttape.plan.tasks import RealizedTask
from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean
from ducttape.syntax.source import Span
from ducttape.syntax.tree import Group
from ducttape.workflow.checks import SPECIAL_VARIABLES
from ducttape.workflow.library import library

DEFAULT = "shell"
# Their bodies use the cores of this machine, so `.cpus` counts against -j.
_LOCAL = ("shell", "cuda_shell")
# Not scripts that wait for one job, but parts of the engine that send many at once and find them again.
CLUSTERS = ("slurm",)


@dataclass(frozen=True, slots=True)
class Submitter:
    """`run` is a bash script; `defaults` has the values of optional params, `needed` the places of the others."""

    name: str
    run: str
    defaults: dict[str, str]
    needed: dict[str, Span]


class Submitters:
    """Those of a workflow (`own`) and those that come with the engine."""

    def __init__(self, own: Mapping[str, Group] | None = None):
        self._own = dict(own or {})
        self._known: dict[str, Submitter] = {}

    def of(self, task: RealizedTask) -> Submitter | None:
        """The submitter of a task, None for the plain `shell` and for clusters.

        `TapeError` when it is unknown or lacks a param.
        """
        name, span = chosen(task)
        if (name == DEFAULT or name in CLUSTERS) and name not in self._own:
            return None
        if name not in self._known:
            self._known[name] = self._read(name, task, span)
        found = self._known[name]
        for needed, place in found.needed.items():
            if not any(p.dot and p.name == needed for p in task.params):
                problem = f"task {task.key.task}: submitter '{name}' needs .{needed}"
                raise TapeError(Diagnostic(problem, task.span, hint=f"add :: .{needed}=... to the task", other=place))
        return found

    def cluster(self, task: RealizedTask) -> str | None:
        """The cluster that a task goes to; None when this machine runs it, or a submitter that is a script."""
        name, _ = chosen(task)
        return name if name in CLUSTERS and name not in self._own else None

    def _read(self, name: str, task: RealizedTask, span: Span | None) -> Submitter:
        group = self._own.get(name) or library("submitter").get(name)
        if group is None:
            hint = did_you_mean(name, [*self._own, *library("submitter")])
            raise TapeError(Diagnostic(f"task {task.key.task}: unknown submitter '{name}'", span, hint=hint))
        params = [p for p in group.items("param") if p.name not in SPECIAL_VARIABLES]
        return Submitter(
            name=name,
            run=next(m.body.text for m in group.members if m.name == "run"),
            defaults={p.name: p.value.value for p in params if p.value is not None},
            needed={p.name: p.name_span for p in params if p.value is None},
        )


def chosen(task: RealizedTask) -> tuple[str, Span | None]:
    """The name of a task's submitter, and where it is written."""
    for param in task.params:
        if param.dot and param.name == "submitter":
            return param.value, param.span
    return DEFAULT, None


def is_ours(task: RealizedTask) -> bool:
    """Whether the engine itself gives the dot-params of a task their meaning."""
    name, _ = chosen(task)
    return name in _LOCAL or name in CLUSTERS


def is_local(task: RealizedTask) -> bool:
    """Whether the body uses this machine's cores; jobs elsewhere take one slot each, whatever they ask for."""
    return chosen(task)[0] in _LOCAL
