"""Trees back to text: `parse(print_file(tree)) == tree` for every tree that `parse` returns.

Values keep the way they were quoted where that still fits; layout and comments outside of bash bodies are not kept.
"""

from __future__ import annotations

from ducttape.syntax import sequences
from ducttape.syntax.scanner import UNQUOTED
from ducttape.syntax.tree import (
    Assignment,
    Block,
    BranchPoint,
    Call,
    Clause,
    File,
    GlobalVariable,
    Grafted,
    Group,
    Import,
    ListOf,
    Literal,
    Plan,
    PlanBranches,
    Reach,
    SameGlobal,
    SameTaskVariable,
    SequencePoint,
    TaskLike,
    TaskVariable,
    Value,
    Variables,
)
from ducttape.syntax.values import SEQUENCE, inferred_name

_MARKS = {"input": "<", "output": ">", "param": "::", "package": ":"}
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\f": "\\f", "\b": "\\b"}


def print_file(file: File) -> str:
    """The text of a tape with this tree, blocks separated by blank lines."""
    return "\n".join(_block(block, "") for block in file.blocks)


def print_value(value: Value) -> str:
    """The text of a right-hand side, on one line unless a triple-quoted literal has several."""
    match value:
        case Literal():
            return _literal(value)
        case GlobalVariable():
            return f"${value.name}"
        case TaskVariable():
            return f"${value.name}@{value.task}"
        case SameGlobal():
            return "@"
        case SameTaskVariable():
            return f"@{value.task}"
        case Grafted():
            grafts = (f"{graft.point}:{'*' if graft.branch is None else graft.branch}" for graft in value.grafts)
            return f"{print_value(value.variable)}[{','.join(grafts)}]"
        case BranchPoint():
            branches = " ".join(_branch(branch.name, branch.value) for branch in value.branches)
            return f"({value.name}: {branches})"
        case SequencePoint():
            step = "" if value.step == 1 else f"..{sequences.text(value.step)}"
            return f"({value.name}: {sequences.text(value.first)}..{sequences.text(value.last)}{step})"
        case ListOf():
            return f"[{' '.join(map(print_value, value.items))}]"
    raise TypeError(f"not a value: {value!r}")


def _branch(name: str, value: Value) -> str:
    text = print_value(value)
    return text if inferred_name(value) == name else f"{name}={text}"


def _literal(literal: Literal) -> str:
    text = literal.value
    if literal.form == "bare" and UNQUOTED.fullmatch(text) and not _misread(text):
        return text
    if literal.form == "triple" and '"""' not in text and not text.startswith('"'):
        return f'"""{text}"""'
    quote = "'" if literal.form == "single" else '"'
    escaped = "".join(_ESCAPES.get(c, c) for c in text).replace(quote, "\\" + quote)
    return f"{quote}{escaped}{quote}"


def _misread(text: str) -> bool:
    """Whether the text without quotes would be taken for a sequence, a comment, a brace, or the mark of a clause."""
    return SEQUENCE.fullmatch(text) is not None or text.startswith(("#", "//", "{")) or text in ("}", "<", ">")


# --- blocks -----------------------------------------------------------------------------------------------------


def _block(block: Block, indent: str) -> str:
    match block:
        case TaskLike():
            return f"{indent}{block.kind} {block.name}{_header(block.clauses, indent)}{{{block.body.text}}}\n"
        case Call():
            return f"{indent}task {block.name} calls {block.function}{_header(block.clauses, indent)}"
        case Group():
            members = "".join(_block(member, indent + "  ") for member in block.members)
            return f"{indent}{block.kind} {block.name}{_header(block.clauses, indent)}{{\n{members}{indent}}}\n"
        case Variables():
            lines = "".join(f"  {_assignment(assignment)}\n" for assignment in block.assignments)
            return f"{_titled(block.kind, block.name)} {{\n{lines}}}\n"
        case Plan():
            return f"{_titled('plan', block.name)} {{\n{''.join(map(_reach, block.reaches))}}}\n"
        case Import():
            return f"import {_literal(block.path)}\n"
    raise TypeError(f"not a block: {block!r}")


def _titled(kind: str, name: str | None) -> str:
    return kind if name is None else f"{kind} {name}"


def _header(clauses: tuple[Clause, ...], indent: str) -> str:
    """The clauses on lines of their own, ready for a `{`; one blank when there are none."""
    if not clauses:
        return " "
    lines = (f"{indent}  {_MARKS[clause.kind]} {' '.join(map(_assignment, clause.items))}\n" for clause in clauses)
    return "\n" + "".join(lines) + indent


def _assignment(assignment: Assignment) -> str:
    name = f".{assignment.name}" if assignment.dot else assignment.name
    return name if assignment.value is None else f"{name}={print_value(assignment.value)}"


def _reach(reach: Reach) -> str:
    goals = ", ".join(goal.task for goal in reach.goals)
    cross = " * ".join(map(_plan_branches, reach.cross))
    return f"  reach {goals}{' via ' + cross if cross else ''}\n"


def _plan_branches(branches: PlanBranches) -> str:
    if branches.branches is None:
        return f"({branches.point}: *)"
    return f"({branches.point}: {' '.join(branches.branches)})"
