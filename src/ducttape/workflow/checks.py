"""Static checks of a merged workflow (spec 11): everything that needs no realization.

`check` yields errors and warnings in the order of the text; `check_submitters` runs on the packed graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ducttape.syntax.diagnostics import Diagnostic, did_you_mean
from ducttape.syntax.tree import (
    Assignment,
    Block,
    Call,
    Group,
    Literal,
    Plan,
    TaskLike,
)
from ducttape.workflow.bodies import check_body
from ducttape.workflow.directives import Directives
from ducttape.workflow.graph import PackedGraph, leaves
from ducttape.workflow.library import ENGINE_SUBMITTERS, library
from ducttape.workflow.packed import Text, lists, literal_of
from ducttape.workflow.task import Task
from ducttape.workflow.values import mentions, unusable

# Params that each versioner of the engine itself cannot do without; the others are in the library.
BUILTIN_VERSIONERS = {"git": ("repo", "ref"), "disk": ("path",), "python": ("script",)}
VERSIONER_ACTIONS = {"checkout": ("dir",), "repo_version": ("version",), "local_version": ("version", "date")}
SPECIAL_VARIABLES = ("COMMANDS", "TASK_VARIABLES", "TASK", "REALIZATION", "CONFIGURATION", "THREAD_ID")


@dataclass(frozen=True, slots=True)
class Context:
    """What the checks look at: the blocks in order and the dictionaries made from them."""

    blocks: list[Block]
    tasks: dict[str, Task]
    functions: dict[str, TaskLike]
    packages: dict[str, TaskLike]
    submitters: dict[str, Group]
    versioners: dict[str, Group]
    summaries: dict[str, Group]
    globals: dict[str, Assignment]
    directives: Directives


def check(context: Context) -> Iterator[Diagnostic]:
    problems = context.directives.check()
    yield from problems
    for block in context.blocks:
        yield from _block(block, context)
    for task in context.tasks.values():
        yield from _task(task, context)
        if not any(p.severity == "error" for p in problems):
            yield from check_body(task, context.directives)


def _block(block: Block, context: Context) -> Iterator[Diagnostic]:
    match block:
        case TaskLike(kind="package"):
            yield from _names(block.clauses)
            yield from _package(block, context)
        case TaskLike(kind="func"):
            yield from _names(block.clauses)
            for item in (*block.items("input"), *block.items("output"), *block.items("param")):
                if item.value is not None:
                    yield Diagnostic(
                        f"function '{block.name}' gives '{item.name}' a value", item.span, hint="name it only"
                    )
        case TaskLike(kind="task") | Call():
            yield from _names(block.clauses)
            if isinstance(block, Call) and block.function in context.functions:
                yield from _call(block, context.functions[block.function])
        case TaskLike() | Group(kind="group") | Group(kind="branchpoint"):
            yield Diagnostic(f"'{block.kind}' blocks are not supported yet", block.name_span)
        case Group(kind="versioner"):
            yield from _versioner(block)
        case Group(kind="submitter"):
            yield from _submitter(block)
        case Group(kind="summary"):
            yield from _summary(block, context)
        case Plan():
            return


def _names(clauses) -> Iterator[Diagnostic]:
    """Inputs, outputs and params of one header share one name space; packages have their own."""
    variables: dict[str, Assignment] = {}
    packages: dict[str, Assignment] = {}
    for clause in clauses:
        seen = packages if clause.kind == "package" else variables
        for item in clause.items:
            if item.name in seen:
                message = f"variable '{item.name}' is defined twice in one header"
                yield Diagnostic(
                    message, item.name_span, other=seen[item.name].name_span, other_label="first defined here"
                )
            else:
                seen[item.name] = item


def _task(task: Task, context: Context) -> Iterator[Diagnostic]:
    for item in task.inputs:
        if item.value is None:
            yield Diagnostic(f"input '{item.name}' of task '{task.name}' has no value", item.name_span)
    for item in task.params:
        if item.value is None:
            yield Diagnostic(f"param '{item.name}' of task '{task.name}' has no value", item.name_span)
    for item in task.outputs:
        point = next(mentions(item.value), None)
        if point is not None:
            yield Diagnostic(
                f"output '{item.name}' of task '{task.name}' has a branch point",
                point.span,
                hint="put the branch point into a param, and name the output =$param",
            )
    own = {v.name: v for v in task.variables}
    for item in task.packages:
        if item.name not in context.packages:
            hint = did_you_mean(item.name, context.packages) or "declare it with: package NAME :: .versioner=... { }"
            yield Diagnostic(f"unknown package '{item.name}'", item.name_span, hint=hint)
        if item.name in own:
            yield Diagnostic(
                f"'{item.name}' is both a package and a variable of task '{task.name}'",
                own[item.name].name_span,
                other=item.name_span,
            )
    yield from _switches(task, context)


def _switches(task: Task, context: Context) -> Iterator[Diagnostic]:
    submitter = next((p for p in task.params if p.dot and p.name == "submitter"), None)
    wanted = (("packages", task.packages[0] if task.packages else None), ("submitters", submitter))
    for feature, item in wanted:
        name = f"ducttape_experimental_{feature}"
        if item is not None and name in context.globals:
            literal = literal_of(context.globals[name], context.globals)
            if literal is not None and literal.value.lower() in ("false", "0", "f", "disable"):
                item_span = context.globals[name].span
                yield Diagnostic(f"task '{task.name}' uses {feature}, which {name} forbids", item.span, other=item_span)
        elif item is not None:
            hint = f"add {name}=true to a global block"
            yield Diagnostic(f"task '{task.name}' uses {feature}, which are not enabled", item.span, hint=hint)


def _call(call: Call, function: TaskLike) -> Iterator[Diagnostic]:
    given = {i.name for kind in ("input", "output", "param") for i in call.items(kind)}
    for kind in ("input", "output", "param"):
        for formal in function.items(kind):
            if formal.name not in given:
                yield Diagnostic(
                    f"call of '{function.name}' does not give its {kind} '{formal.name}'",
                    call.name_span,
                    hint=did_you_mean(formal.name, sorted(given)),
                    other=formal.name_span,
                )


def _package(package: TaskLike, context: Context) -> Iterator[Diagnostic]:
    for kind in ("input", "output", "package"):
        for item in package.items(kind):
            yield Diagnostic(f"package '{package.name}' cannot have {kind}s", item.span)
    params = {p.name: p for p in package.items("param")}
    for item in params.values():
        found = literal_of(item, context.globals)
        if found is None:
            yield Diagnostic(f"param '{item.name}' of package '{package.name}' must be a literal", item.span)
        elif wrong := unusable(found.value):
            yield Diagnostic(wrong, found.span)
    chosen = params.get("versioner")
    if chosen is None or not chosen.dot:
        hint = "add :: .versioner=git, disk, python or one of your own"
        yield Diagnostic(f"package '{package.name}' names no versioner", package.name_span, hint=hint)
        return
    literal = literal_of(chosen, context.globals)
    if literal is None:
        return
    own = context.versioners.get(literal.value)
    if own is None and literal.value in BUILTIN_VERSIONERS:
        needed = [(name, None) for name in BUILTIN_VERSIONERS[literal.value]]
    elif own := own or library("versioner").get(literal.value):
        needed = [(p.name, p.name_span) for p in own.items("param") if p.value is None]
    else:
        hint = did_you_mean(literal.value, [*context.versioners, *BUILTIN_VERSIONERS, *library("versioner")])
        yield Diagnostic(f"unknown versioner '{literal.value}'", literal.span, hint=hint)
        return
    for name, span in needed:
        if name not in params:
            yield Diagnostic(
                f"package '{package.name}' does not give the param '.{name}' of versioner '{literal.value}'",
                package.name_span,
                hint=f"add .{name}=... to its params",
                other=span,
            )


def _versioner(block: Group) -> Iterator[Diagnostic]:
    yield from _only_params(block, "versioner")
    actions = {m.name: m for m in block.members}
    for name, outputs in VERSIONER_ACTIONS.items():
        action = actions.get(name)
        if action is None:
            yield Diagnostic(f"versioner '{block.name}' lacks the action '{name}'", block.name_span)
            continue
        for kind in ("input", "package"):
            for item in action.items(kind):
                yield Diagnostic(f"action '{name}' cannot have {kind}s", item.span)
        given = [o.name for o in action.items("output")]
        if sorted(given) != sorted(outputs):
            wanted = " ".join(outputs)
            yield Diagnostic(
                f"action '{name}' must have exactly the outputs: {wanted}", action.name_span, hint=f"> {wanted}"
            )
    for name, action in actions.items():
        if name not in VERSIONER_ACTIONS:
            hint = did_you_mean(name, VERSIONER_ACTIONS)
            yield Diagnostic(f"unknown action '{name}' of a versioner", action.name_span, hint=hint)


def _submitter(block: Group) -> Iterator[Diagnostic]:
    yield from _only_params(block, "submitter")
    if not any(m.name == "run" for m in block.members):
        yield Diagnostic(f"submitter '{block.name}' lacks the action 'run'", block.name_span)


def _only_params(block: Group, kind: str) -> Iterator[Diagnostic]:
    yield from _names(block.clauses)
    for unwanted in ("input", "output", "package"):
        for item in block.items(unwanted):
            yield Diagnostic(f"{kind} '{block.name}' cannot have {unwanted}s", item.span)
    for item in block.items("param"):
        if item.value is not None and not isinstance(item.value, Literal):
            yield Diagnostic(f"the default of '{item.name}' must be a literal", item.value.span)
    seen: dict[str, TaskLike] = {}
    for member in block.members:
        if member.name in seen:
            first = seen[member.name].name_span
            message = f"action '{member.name}' is defined twice"
            yield Diagnostic(message, member.name_span, other=first, other_label="first defined here")
        seen.setdefault(member.name, member)


def _summary(block: Group, context: Context) -> Iterator[Diagnostic]:
    for member in block.members:
        if member.name not in context.tasks:
            hint = did_you_mean(member.name, context.tasks)
            yield Diagnostic(
                f"summary '{block.name}' is of an unknown task '{member.name}'", member.name_span, hint=hint
            )
        for item in (*member.items("input"), *member.items("param"), *member.items("package")):
            yield Diagnostic("an 'of' block of a summary can have outputs only", item.span)
        for item in member.items("output"):
            if item.value is not None and not isinstance(item.value, Literal):
                yield Diagnostic(f"output '{item.name}' of a summary cannot have a value", item.span)


def check_submitters(context: Context, graph: PackedGraph) -> list[Diagnostic]:
    """Unknown submitters, and dot-params that a submitter declares and a task using it does not give."""
    found: list[Diagnostic] = []
    for packed in graph.tasks.values():
        variable = next((p for p in packed.params if p.item.dot and p.name == "submitter"), None)
        if variable is None:
            continue
        for several in lists(variable.value):
            found.append(
                Diagnostic(f"task '{packed.task.name}' has a list of submitters", several.span, hint="name one")
            )
        names = {leaf.value: leaf.span for leaf in leaves(variable.value) if isinstance(leaf, Text)}
        given = {p.name for p in packed.task.params if p.dot}
        for name, span in names.items():
            own = context.submitters.get(name)
            if own is None and name in ENGINE_SUBMITTERS:
                continue
            own = own or library("submitter").get(name)
            if own is None:
                hint = did_you_mean(name, [*context.submitters, *ENGINE_SUBMITTERS, *library("submitter")])
                diagnostic = Diagnostic(f"unknown submitter '{name}'", span, hint=hint)
                if not any(d.span == span for d in found):
                    found.append(diagnostic)
                continue
            for param in own.items("param"):
                if param.value is None and param.name not in given and param.name not in SPECIAL_VARIABLES:
                    found.append(
                        Diagnostic(
                            f"task '{packed.task.name}' does not give '.{param.name}', which submitter '{name}' needs",
                            packed.task.name_span,
                            hint=f"add :: .{param.name}=... to the task",
                            other=param.name_span,
                        )
                    )
    return found
