"""What `check` says of a workflow beyond its errors: what is declared for nothing, and what bodies hardly mean.

    for diagnostic in lint(load(Path("main.tape"))): print(diagnostic.render())

All plans are planned and nothing is run. Warnings that directives ask for come with the workflow and are not repeated.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from types import SimpleNamespace

from ducttape.plan.planner import plan_all
from ducttape.plan.tasks import FromFile, Plan, RealizedTask
from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.source import Span
from ducttape.syntax.tree import Assignment, Block, Call, Group, Literal, TaskLike, Variables
from ducttape.workflow.bodies import check_body
from ducttape.workflow.directives import PREFIX
from ducttape.workflow.graph import leaves
from ducttape.workflow.packed import Text, literal_of
from ducttape.workflow.suspects import globals_read
from ducttape.workflow.workflow import Workflow


def lint(workflow: Workflow) -> list[Diagnostic]:
    """Errors of planning and all warnings, each place once, those that the loader found first."""
    found = list(workflow.warnings)
    plan = None
    try:
        plan = plan_all(workflow, warn=found.append)
    except TapeError as error:
        found += error.diagnostics
    found += _bodies(workflow)
    found += _unused_globals(workflow)
    found += _unused_blocks(workflow)
    if plan is not None:
        found += _unreached(workflow, plan)
        found += _never_varied(workflow, plan)
        found += _shared_outputs(plan)
        found += _missing_inputs(plan)
    # The body of a function is checked once for each call of it.
    return list({_identity(diagnostic): diagnostic for diagnostic in reversed(found)}.values())[::-1]


def _identity(diagnostic: Diagnostic) -> object:
    span = diagnostic.span
    return diagnostic.message if span is None else (span.source.name, span.start, span.end, diagnostic.severity)


def _warning(message: str, span: Span, hint: str | None = None) -> Diagnostic:
    return Diagnostic(message, span, hint=hint, severity="warning")


def _bodies(workflow: Workflow) -> Iterator[Diagnostic]:
    """Undeclared and unused variables of bodies, where the directives keep silent."""
    levels = SimpleNamespace(
        undeclared_vars="warn" if workflow.directives.undeclared_vars == "ignore" else "ignore",
        unused_vars="warn" if workflow.directives.unused_vars == "ignore" else "ignore",
    )
    for task in workflow.tasks.values():
        yield from check_body(task, levels)


def _blocks(workflow: Workflow) -> Iterator[Block]:
    for file in workflow.files:
        yield from file.blocks


def _assignments(workflow: Workflow) -> Iterator[Assignment]:
    for block in _blocks(workflow):
        if isinstance(block, Variables):
            yield from (item for item in block.assignments if workflow.globals.get(item.name) is item)
        elif isinstance(block, TaskLike | Call | Group):
            yield from (item for clause in block.clauses for item in clause.items)


def _unused_globals(workflow: Workflow) -> Iterator[Diagnostic]:
    read = {name for item in _assignments(workflow) for name in globals_read(item.value, item.name)}
    for name, item in workflow.globals.items():
        # A define of that kind is warned of when the workflow is loaded.
        if name not in read and not name.startswith(PREFIX) and item.span.source.name != "-D":
            yield _warning(f"nothing reads the global '{name}'", item.name_span)


def _unused_blocks(workflow: Workflow) -> Iterator[Diagnostic]:
    """Functions, packages, versioners and submitters that nothing uses."""
    tasks = workflow.tasks.values()
    used = {
        "func": {task.function for task in tasks},
        "package": {item.name for task in tasks for item in task.packages},
        "versioner": set(_chosen(workflow.packages.values(), "versioner", workflow)),
        "submitter": set(_submitters(workflow)),
    }
    doing = {
        "func": "no task calls the function",
        "package": "no task uses the package",
        "versioner": "no package uses the versioner",
        "submitter": "no task uses the submitter",
    }
    for block in _blocks(workflow):
        if isinstance(block, TaskLike | Group) and block.kind in used and block.name not in used[block.kind]:
            yield _warning(f"{doing[block.kind]} '{block.name}'", block.name_span)


def _chosen(blocks: Iterable[TaskLike], name: str, workflow: Workflow) -> Iterator[str]:
    for block in blocks:
        for item in block.items("param"):
            literal: Literal | None = literal_of(item, workflow.globals)
            if item.dot and item.name == name and literal is not None:
                yield literal.value


def _submitters(workflow: Workflow) -> Iterator[str]:
    for packed in workflow.graph.tasks.values():
        for param in packed.params:
            if param.item.dot and param.name == "submitter":
                yield from (leaf.value for leaf in leaves(param.value) if isinstance(leaf, Text))


def _unreached(workflow: Workflow, plan: Plan) -> Iterator[Diagnostic]:
    planned = {key.task for key in plan.tasks}
    for name, task in workflow.tasks.items():
        if name not in planned:
            yield _warning(f"no plan reaches task '{name}'", task.name_span, hint=f"add to a plan: reach {name}")


def _never_varied(workflow: Workflow, plan: Plan) -> Iterator[Diagnostic]:
    """Branch points of which the plans use the baseline only. Without a plan everything varies."""
    if not workflow.plans:
        return
    varied = {
        point for task in plan.tasks.values() for point, branch in task.realization.branches
        if branch != workflow.points.by_name[point].baseline
    }  # fmt: skip
    seen = {point for task in plan.tasks.values() for point, _ in task.realization.branches}
    for point in workflow.points:
        if point.name in seen and point.name not in varied and len(point.branches) > 1:
            yield _warning(
                f"no plan uses another branch of '{point.name}' than its baseline '{point.baseline}'",
                point.span,
                hint=f"add to a plan: via ({point.name}: *)",
            )


def _shared_outputs(plan: Plan) -> Iterator[Diagnostic]:
    """Absolute outputs that several realized tasks write."""
    owners: dict[str, RealizedTask] = {}
    for task in plan.tasks.values():
        for output in task.outputs:
            if not os.path.isabs(output.path):
                continue
            first = owners.setdefault(output.path, task)
            if first is not task:
                yield _warning(
                    f"{first.key} and {task.key} write the same file '{output.path}'",
                    output.span,
                    hint="a relative name gives each realization a file of its own",
                )


def _missing_inputs(plan: Plan) -> Iterator[Diagnostic]:
    """Files that tasks read and that are not there now."""
    there: dict[str, bool] = {}
    for task in plan.tasks.values():
        for item in task.inputs:
            for source in item.sources:
                if not isinstance(source, FromFile):
                    continue
                path = str(source.path)
                if path not in there:
                    there[path] = os.path.exists(path) or (glob.has_magic(path) and bool(glob.glob(path)))
                    if not there[path]:
                        message = f"input '{item.name}' of task '{task.key.task}' does not exist: {path}"
                        yield _warning(message, source.span)
