"""What differs between two results of a task, followed back through their inputs to the first cause.

Works on records alone, of present results and of those in the attic; only the values of outputs are read from files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ducttape.plan.tasks import TaskKey
from ducttape.store import values
from ducttape.store.history import Made, with_output
from ducttape.store.layout import Layout
from ducttape.store.record import Identity
from ducttape.store.sizes import size_of


@dataclass(slots=True)
class InputChange:
    """One input whose content differs: where the two contents come from, and why they differ when tasks made them.

    `cause` is None for files from outside; `gone` is true when the record of one of the makers is no longer there.
    """

    name: str
    old: str
    new: str
    cause: Comparison | None = None
    gone: bool = False


@dataclass(slots=True)
class OutputChange:
    """One output that differs: bytes where they are known, the values in it that changed, and the files of a folder."""

    name: str
    old_size: int | None
    new_size: int | None
    values: dict[str, tuple] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Comparison:
    """`own` are differences of the step itself: commands, params, packages, names of outputs."""

    old: Made
    new: Made
    own: list[str]
    inputs: list[InputChange]
    outputs: list[OutputChange]
    equal_outputs: int

    @property
    def is_empty(self) -> bool:
        return not (self.own or self.inputs or self.outputs)


PackageChange = Callable[[str, str, str], str]


class Comparer:
    """Compares results under one base directory; every pair is looked at once."""

    def __init__(self, layout: Layout, package_change: PackageChange | None = None, digest=None):
        self._layout, self._package_change, self._digest = layout, package_change, digest
        self._done: dict[tuple[Path, Path], Comparison] = {}

    def compare(self, old: Made, new: Made) -> Comparison:
        pair = (old.directory, new.directory)
        if pair not in self._done:
            self._done[pair] = self._compare(old, new)
        return self._done[pair]

    def _compare(self, old: Made, new: Made) -> Comparison:
        before, after = old.record.identity, new.record.identity
        # Inputs are told apart below, with their causes.
        bare = Identity(after.body, after.params, after.packages, before.inputs, after.outputs)
        own = before.differences(bare, package_change=self._package_change)
        inputs = []
        for name in dict.fromkeys([*after.inputs, *before.inputs]):
            inputs += self._input(name, old, new)
        outputs, equal = [], 0
        digests = old.record.output_digests, new.record.output_digests
        for name in dict.fromkeys([*digests[1], *digests[0]]):
            if digests[0].get(name) == digests[1].get(name):
                equal += 1
            else:
                outputs.append(self._output(name, old, new))
        return Comparison(old, new, own, inputs, outputs, equal)

    def _input(self, name: str, old: Made, new: Made) -> list[InputChange]:
        before, after = (m.record.identity.inputs.get(name) for m in (old, new))
        if before == after:
            return []
        sources = [m.record.sources.get(name, []) for m in (old, new)]
        if before is None or after is None or len(before) != len(after):
            return [InputChange(name, *(_together(s, d) for s, d in zip(sources, (before, after), strict=True)))]
        found = []
        for was, now, first, second in zip(before, after, *sources, strict=False):
            if was == now:
                continue
            change = InputChange(name, _source(first), _source(second))
            if "task" in first and "task" in second:
                makers = self._maker(first, was), self._maker(second, now)
                change.gone = None in makers
                change.cause = None if change.gone else self.compare(*makers)
            found.append(change)
        return found

    def _maker(self, source: dict[str, str], digest: str) -> Made | None:
        task, _, realization = source["task"].partition("/")
        return with_output(self._layout, TaskKey(task, realization), source["output"], digest)

    def _output(self, name: str, old: Made, new: Made) -> OutputChange:
        paths = [_output_path(made, name) for made in (old, new)]
        sizes = [size_of(path) if path is not None and path.exists() else None for path in paths]
        change = OutputChange(name, *sizes)
        if None not in sizes:
            change.values = values.differing(*map(values.values_of, paths))
            if all(path.is_dir() for path in paths):
                change.files = self._files(*paths)
        return change

    def _files(self, old: Path, new: Path) -> list[str]:
        """The names of files that differ between two directories."""
        found = [_files_below(top) for top in (old, new)]
        digest = self._digest or (lambda path: path.read_bytes())
        return [
            name
            for name in sorted(found[0] | found[1])
            if name not in found[0] or name not in found[1] or digest(old / name) != digest(new / name)
        ]


def _files_below(top: Path) -> set[str]:
    found = set()
    for folder, _, names in os.walk(top):
        inside = os.path.relpath(folder, top)
        found |= {os.path.normpath(os.path.join(inside, name)) for name in names}
    # An output may be the task directory itself.
    return {name for name in found if not name.startswith("ducttape_")}


def _output_path(made: Made, name: str) -> Path | None:
    """Where an output of a result lies; None when it is outside of the task directory, where it has no history."""
    path = made.record.identity.outputs.get(name)
    return None if path is None or path == "absolute" else made.directory / path


def _source(source: dict[str, str]) -> str:
    return source["file"] if "file" in source else f"{source['output']} of {source['task']}"


def _together(sources: list[dict[str, str]], digests: list[str] | None) -> str:
    if digests is None:
        return "none"
    shown = ", ".join(_source(source) for source in sources[:3])
    return shown + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")
