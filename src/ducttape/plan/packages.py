"""Packages as the package builder gets them: all params literal, the versioner's apart from the build's."""

from __future__ import annotations

from collections.abc import Iterable

from ducttape.plan.tasks import PackageDefinition, Param
from ducttape.workflow.packed import literal_of
from ducttape.workflow.workflow import Workflow


def package_definitions(workflow: Workflow, names: Iterable[str]) -> dict[str, PackageDefinition]:
    """The definitions of `names` in declaration order. Params were checked when the workflow was loaded."""
    wanted = set(names)
    found = {}
    for name, block in workflow.packages.items():
        if name not in wanted:
            continue
        params = []
        for item in block.items("param"):
            literal = literal_of(item, workflow.globals)
            params.append(Param(item.name, literal.value, literal.span, item.dot))
        found[name] = PackageDefinition(
            name=name,
            versioner=next(p.value for p in params if p.dot and p.name == "versioner"),
            versioner_params=tuple(p for p in params if p.dot and p.name != "versioner"),
            params=tuple(p for p in params if not p.dot),
            body=block.body.text,
            span=block.name_span,
        )
    return found
