"""One task of the workflow: a `task` block, or a `calls` block with its function's body and packages."""

from __future__ import annotations

from dataclasses import dataclass

from ducttape.syntax.source import Span
from ducttape.syntax.tree import Assignment, Bash, Call, TaskLike


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """The header by kind, in the order written. `index` counts declarations; `function` names what a call calls."""

    name: str
    index: int
    inputs: tuple[Assignment, ...]
    outputs: tuple[Assignment, ...]
    params: tuple[Assignment, ...]
    packages: tuple[Assignment, ...]
    body: Bash
    span: Span
    name_span: Span
    function: str | None = None

    @property
    def variables(self) -> tuple[Assignment, ...]:
        """Inputs, outputs and params."""
        return (*self.inputs, *self.outputs, *self.params)

    def param(self, name: str) -> Assignment | None:
        return next((p for p in self.params if p.name == name), None)


def make_task(block: TaskLike | Call, index: int, function: TaskLike | None = None) -> Task:
    """The task of a `task` block, or of a call whose `function` is given."""
    packages = block.items("package")
    if function is not None:
        own = {p.name for p in function.items("package")}
        packages = (*function.items("package"), *(p for p in packages if p.name not in own))
    return Task(
        name=block.name,
        index=index,
        inputs=block.items("input"),
        outputs=block.items("output"),
        params=block.items("param"),
        packages=packages,
        body=function.body if function is not None else block.body,
        span=block.span,
        name_span=block.name_span,
        function=function.name if function is not None else None,
    )
