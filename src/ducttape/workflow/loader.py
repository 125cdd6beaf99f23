"""From files to a workflow: imports, configs, defines, and everything that static checking can find.

    workflow = load(Path("main.tape"), configs=[Path("mini.tconf")], defines={"seed": "2"})

`load` raises one `TapeError` with all independent problems of a stage: first reading, then names and structure, then
resolution. Nothing is enumerated here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean
from ducttape.syntax.parser import parse_file
from ducttape.syntax.source import Span
from ducttape.syntax.tree import (
    Assignment,
    Block,
    Call,
    File,
    Group,
    Import,
    Plan,
    TaskLike,
    Variables,
)
from ducttape.workflow import checks
from ducttape.workflow.branchpoints import collect
from ducttape.workflow.directives import Directives
from ducttape.workflow.globals import FIRST_CONFIG, TAPE, USER, merge
from ducttape.workflow.graph import pack
from ducttape.workflow.packed import literal_of
from ducttape.workflow.suspects import suspects, unread_defines
from ducttape.workflow.task import Task, make_task
from ducttape.workflow.values import unusable
from ducttape.workflow.workflow import Workflow

DEFAULT_CONFIG = "ducttape_default_config"
USER_FILE = ".ducttape"


def load(
    tape: Path,
    configs: Sequence[Path] = (),
    defines: Mapping[str, str] | None = None,
    user_file: bool = True,
) -> Workflow:
    """The workflow of a tape. Without `configs` the tape's `ducttape_default_config` is used, relative to its folder.

    `defines` win over every other setting of a name, later configs over earlier ones and over the tape's `config`
    block. `~/.ducttape` is added when it is a file, unless `user_file` is false; its `config` block wins over the
    tape's only.
    """
    tape, configs, defines = Path(tape), [Path(c) for c in configs], dict(defines or {})
    reader = _Reader()
    reader.read(tape, TAPE)
    if not configs and not reader.errors:
        default = _default_config(reader, tape, defines)
        if default is not None:
            configs = [default[0]]
            reader.read(default[0], FIRST_CONFIG, asked=default[1])
    else:
        for layer, config in enumerate(configs, start=FIRST_CONFIG):
            reader.read(config, layer)
    home = Path.home() / USER_FILE
    if user_file and home.is_file():
        reader.read(home, USER)
    if reader.errors:
        raise TapeError(reader.errors)
    return _assemble(tape, tuple(configs), reader, defines)


@dataclass(slots=True)
class _Reader:
    """Reads files and what they import. Blocks come out in the order of the text, imported ones at their import."""

    blocks: list[tuple[Block, int]] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    errors: list[Diagnostic] = field(default_factory=list)
    _seen: set[Path] = field(default_factory=set)

    def read(self, path: Path, layer: int, asked: Span | None = None) -> None:
        """Adds a file once, however often it is imported. `layer` ranks its `config` blocks, `asked` is the import."""
        real = path.resolve()
        if real in self._seen:
            return
        self._seen.add(real)
        try:
            if asked is not None and not os.path.isfile(path):
                raise TapeError(Diagnostic(f"there is no file '{path}' to import", asked, hint=_relative_hint(asked)))
            parsed = parse_file(path)
        except TapeError as error:
            self.errors.extend(error.diagnostics)
            return
        self.files.append(parsed)
        for block in parsed.blocks:
            if isinstance(block, Import) and (wrong := unusable(block.path.value)):
                self.errors.append(Diagnostic(wrong, block.path.span))
            elif isinstance(block, Import):
                self.read(path.parent / os.path.expanduser(block.path.value), layer, block.path.span)
            else:
                self.blocks.append((block, layer))


def _relative_hint(asked: Span) -> str:
    return f"the path is relative to the folder of {asked.source.name}"


def _default_config(reader: _Reader, tape: Path, defines: Mapping[str, str]) -> tuple[Path, Span | None] | None:
    """The config that the tape names itself, with the place where it does."""
    if DEFAULT_CONFIG in defines:
        return Path(os.path.expanduser(defines[DEFAULT_CONFIG])), None
    found = {
        item.name: item
        for block, _ in reader.blocks
        if isinstance(block, Variables) and block.name is None
        for item in block.assignments
    }
    literal = literal_of(found.get(DEFAULT_CONFIG), found)
    if literal is None:
        return None
    if wrong := unusable(literal.value):
        raise TapeError(Diagnostic(wrong, literal.span))
    return tape.parent / os.path.expanduser(literal.value), literal.span


def _assemble(tape: Path, configs: tuple[Path, ...], reader: _Reader, defines: Mapping[str, str]) -> Workflow:
    errors: list[Diagnostic] = []
    globals_, notes = merge(reader.blocks, defines, errors)
    blocks = [block for block, _ in reader.blocks]
    kinds = {kind: _unique(blocks, kind, errors) for kind in ("func", "package", "submitter", "versioner", "summary")}
    tasks = _tasks(blocks, kinds["func"], errors)
    items = list(_assignments(blocks, globals_))
    points, contradictions = collect(i.value for i in items)
    directives = Directives(globals_)
    errors += contradictions
    packaged = [i for package in kinds["package"].values() for i in package.items("param")]
    warnings = [*notes, *suspects(i.value for i in items), *unread_defines(defines, [*items, *packaged])]
    context = checks.Context(
        blocks, tasks, kinds["func"], kinds["package"], kinds["submitter"], kinds["versioner"], kinds["summary"],
        globals_, directives,
    )  # fmt: skip
    for found in checks.check(context):
        (errors if found.severity == "error" else warnings).append(found)
    if errors:
        raise TapeError(errors)
    graph = pack(tasks, globals_, points)
    late = checks.check_submitters(context, graph)
    if late:
        raise TapeError(late)
    return Workflow(
        tape=tape,
        configs=configs,
        files=tuple(reader.files),
        tasks=tasks,
        functions=kinds["func"],
        packages=kinds["package"],
        submitters=kinds["submitter"],
        versioners=kinds["versioner"],
        summaries=kinds["summary"],
        plans=tuple(b for b in blocks if isinstance(b, Plan)),
        globals=globals_,
        directives=directives,
        points=points,
        graph=graph,
        warnings=warnings,
    )


def _assignments(blocks: list[Block], globals_: Mapping[str, Assignment]):
    """All assignments with values of their own; those that lost against a config or a define do not count."""
    for block in blocks:
        if isinstance(block, Variables):
            yield from (i for i in block.assignments if globals_.get(i.name) is i)
        elif isinstance(block, Call) or (isinstance(block, TaskLike) and block.kind == "task"):
            for clause in block.clauses:
                yield from clause.items


def _unique(blocks: list[Block], kind: str, errors: list[Diagnostic]) -> dict:
    found: dict[str, TaskLike | Group] = {}
    for block in blocks:
        if isinstance(block, TaskLike | Group) and block.kind == kind:
            if block.name in found:
                errors.append(_twice(kind, block, found[block.name]))
            else:
                found[block.name] = block
    return found


def _twice(kind: str, block, first) -> Diagnostic:
    return Diagnostic(
        f"{kind} '{block.name}' is defined twice",
        block.name_span,
        other=first.name_span,
        other_label="first defined here",
    )


def _tasks(blocks: list[Block], functions: Mapping[str, TaskLike], errors: list[Diagnostic]) -> dict[str, Task]:
    found: dict[str, Task] = {}
    for block in blocks:
        function = None
        if isinstance(block, Call):
            function = functions.get(block.function)
            if function is None:
                hint = did_you_mean(block.function, functions) or f"declare it: func {block.function} > out {{ ... }}"
                errors.append(Diagnostic(f"unknown function '{block.function}'", block.function_span, hint=hint))
                continue
        elif not isinstance(block, TaskLike) or block.kind != "task":
            continue
        if block.name in found:
            errors.append(_twice("task", block, found[block.name]))
        else:
            found[block.name] = make_task(block, len(found), function)
    return found
