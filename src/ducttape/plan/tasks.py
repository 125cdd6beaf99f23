"""Realized tasks: what the planner hands to the store and the runner.

A `Plan` lists every task realization to be made complete, parents before children, in declaration order. It knows
nothing of directories, of what is already done, or of how tasks are run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ducttape.syntax.source import Span


@dataclass(frozen=True, slots=True)
class Realization:
    """A choice of one branch for each visible branch point, sorted by point name; baseline branches are marked.

    `name` is the canonical (directory) name: non-baseline branches as `Point.branch`, joined by the delimiter, or
    `Baseline.baseline`; names longer than 250 characters are replaced by their upper-case hex MD5 (spec 4.3).
    `full_name` has every branch point. Equality is by `name`.
    """

    branches: tuple[tuple[str, str], ...] = field(compare=False)
    name: str
    full_name: str = field(compare=False)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class TaskKey:
    """Identity of a realized task inside one workflow: prints as `task/realization`."""

    task: str
    realization: str

    def __str__(self) -> str:
        return f"{self.task}/{self.realization}"


@dataclass(frozen=True, slots=True)
class FromTask:
    """An input value made by another planned task."""

    key: TaskKey
    output: str


@dataclass(frozen=True, slots=True)
class FromFile:
    """An input value that must exist before anything runs: absolute, `~` expanded, globs left unexpanded."""

    path: Path
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Input:
    """One input variable. Glob grafts and lists give it several `sources`; their paths are joined by one space."""

    name: str
    sources: tuple[FromTask | FromFile, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Output:
    """One output variable; `path` is relative to the task directory unless absolute."""

    name: str
    path: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter with its final text. `dot` params go to the submitter; `span` is where the literal was written."""

    name: str
    value: str
    span: Span = field(compare=False, repr=False)
    dot: bool = False


@dataclass(frozen=True, slots=True)
class RealizedTask:
    """One task with every choice made."""

    key: TaskKey
    realization: Realization
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    params: tuple[Param, ...]
    packages: tuple[str, ...]
    body: str
    span: Span = field(compare=False, repr=False)

    @property
    def parents(self) -> tuple[TaskKey, ...]:
        """Keys of the tasks whose outputs this one reads, once each, in order."""
        found = {s.key: None for i in self.inputs for s in i.sources if isinstance(s, FromTask)}
        return tuple(found)


@dataclass(frozen=True, slots=True)
class PackageDefinition:
    """A package as written: versioner name, the versioner's dot-params, the build's own params, the build body."""

    name: str
    versioner: str
    versioner_params: tuple[Param, ...]
    params: tuple[Param, ...]
    body: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """`tasks` in topological and declaration order; `packages` those that the tasks mention."""

    tasks: dict[TaskKey, RealizedTask]
    packages: dict[str, PackageDefinition]
