"""A loaded workflow: all files merged, all names resolved and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ducttape.syntax.diagnostics import Diagnostic
from ducttape.syntax.tree import Assignment, File, Group, Plan, TaskLike
from ducttape.workflow.branchpoints import BranchPoints
from ducttape.workflow.directives import Directives
from ducttape.workflow.graph import PackedGraph
from ducttape.workflow.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class Workflow:
    """What `load` returns. Dictionaries are in declaration order: the tape, its imports where they stand, the configs.

    `tape` and `configs` are as given by the caller (`configs` also has a default config that was loaded); `files` are
    all parsed files. `globals` holds, for each name, the assignment that won. `warnings` were found on the way.
    """

    tape: Path
    configs: tuple[Path, ...]
    files: tuple[File, ...]
    tasks: dict[str, Task]
    functions: dict[str, TaskLike]
    packages: dict[str, TaskLike]
    submitters: dict[str, Group]
    versioners: dict[str, Group]
    summaries: dict[str, Group]
    plans: tuple[Plan, ...]
    globals: dict[str, Assignment]
    directives: Directives
    points: BranchPoints
    graph: PackedGraph
    warnings: list[Diagnostic] = field(default_factory=list)

    @property
    def configuration(self) -> str:
        """The `CONFIGURATION` of task environments: names of the configs without their endings, joined by `+`."""
        names = []
        for config in self.configs:
            name = config.name
            for ending in (".tconf", ".conf"):
                name = name.removesuffix(ending)
            names.append(name)
        return "+".join(names)
