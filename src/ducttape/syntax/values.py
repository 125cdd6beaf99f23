"""Right-hand sides: literals, variables, shorthands, grafts, branch points, sequences and lists of these.

`value(cursor)` reads one and leaves the cursor right behind it, at whitespace, `)`, in a list `]`, or the end of the
file; anything else there is an error, as is a missing value. Also the branches that plans list, written alike.
"""

from __future__ import annotations

import re
from decimal import Decimal

from ducttape.syntax import sequences
from ducttape.syntax.diagnostics import TapeError
from ducttape.syntax.scanner import BRANCH_NAME, IMPLIED_NAME, NAME, NUMBER, Cursor
from ducttape.syntax.source import Span
from ducttape.syntax.tree import (
    Branch,
    BranchPoint,
    GlobalVariable,
    Graft,
    Grafted,
    ListOf,
    Literal,
    PlanBranches,
    SameGlobal,
    SameTaskVariable,
    SequencePoint,
    TaskVariable,
    Value,
)

# Deeper nesting than any person writes; keeps hostile input from exhausting the stack of the interpreter.
MAX_DEPTH = 40
_NUMBER = NUMBER.pattern
SEQUENCE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:\.\.({_NUMBER}))?")
_HUGE_EXPONENT = re.compile(r"[eE][+-]?[0-9]{5,}")
_EXPLICIT = re.compile(rf"({BRANCH_NAME.pattern})=")
_GRAFTED_BRANCH = re.compile(r"""[^\s"'()\[\]*$:@=,]+""", re.ASCII)
_COMMENT = re.compile(r"#|//|/\*")
# What starts no value of a list, but what stands behind a list that was not closed.
_BEHIND_LIST = re.compile(r"(?:::|[:<>{}])(?=\s|\Z)|\.?[A-Za-z_][A-Za-z0-9_]*[ \t]*=", re.ASCII)
_POINT_LIKE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*:(?!/)", re.ASCII)
_BLANK_COLON = re.compile(r"[ \t]+:")
_POINT = "a branch point name"
_NOT_JOINED = "variables are not joined with other text here: pass the parts on and join them in the body of a task"


def value(cursor: Cursor, depth: int = 0) -> Value:
    """The value that starts here. Raises TapeError when there is none or when something is glued to it."""
    first = cursor.peek()
    if first == "(":
        return _branch_point(cursor, depth)
    if first == "[":
        return _list(cursor, depth)
    if first == "$":
        return _variable(cursor)
    if first == "@":
        return _shorthand(cursor)
    literal = cursor.literal()
    if literal is not None:
        return literal
    if cursor.ends_value():
        hint = 'write "" for an empty value'
        if depth and first in (" ", "\t"):
            hint = "no blanks around '=' in branches; write \"\" for an empty value"
        raise cursor.error(f"expected a value, found {cursor.found()}", hint=hint)
    raise cursor.error(f"a value cannot start with '{first}'", hint="quote it")


def _end_value(cursor: Cursor) -> None:
    """Insist that the value read last stands alone."""
    if cursor.ends_value():
        return
    if cursor.peek() == "{":
        raise cursor.error("expected a space after the value, found '{'", hint="put a space before '{'")
    hint = {
        ",": "items are separated by blanks, without commas",
        ";": "a line ends without a semicolon",
        "[": "several grafts stand together: [Point:branch,Other:branch]",
        "(": "grafts are written [Point:branch]",
        "]": "there is no '[' that it could close",
    }.get(cursor.peek(), _NOT_JOINED)
    raise cursor.error(f"expected a space after the value, found {cursor.found()}", hint=hint)


def _variable(cursor: Cursor) -> Value:
    start = cursor.at
    cursor.accept("$")
    if cursor.accept("{"):
        name = cursor.name("a variable name")
        if not cursor.accept("}"):
            hint = "only a name can stand between the braces; compute other things in the body of a task"
            raise cursor.error(f"expected '}}' after the variable name, found {cursor.found()}", hint=hint)
    elif cursor.peek() == "(":
        hint = "commands run in bodies only: let a task write what is computed into an output"
        raise cursor.error("expected a variable name after '$', found '('", hint=hint)
    else:
        name = cursor.name("a variable name after '$'")
    if cursor.accept("@"):
        task = cursor.name("a task name after '@'")
        return _grafts(cursor, TaskVariable(name, task, cursor.span(start)))
    return _grafts(cursor, GlobalVariable(name, cursor.span(start)))


def _shorthand(cursor: Cursor) -> Value:
    start = cursor.at
    cursor.accept("@")
    task = cursor.match(NAME)
    if task is not None:
        return _grafts(cursor, SameTaskVariable(task, cursor.span(start)))
    if cursor.peek() == "[":
        hint = "name the variable: $x[...], or the task: @task[...]"
        raise cursor.error("a bare '@' cannot have grafts", hint=hint)
    if not cursor.ends_value():
        cursor.name("a task name after '@'")
    return SameGlobal(cursor.span(start))


def _grafts(cursor: Cursor, variable: GlobalVariable | TaskVariable | SameTaskVariable) -> Value:
    opened = cursor.at
    if not cursor.accept("["):
        _end_value(cursor)
        return variable
    grafts: list[Graft] = []
    while True:
        _no_blanks_in_graft(cursor)
        start = cursor.at
        point = cursor.name(_POINT)
        _no_blanks_in_graft(cursor)
        if not cursor.accept(":"):
            hint = "as in [Point:branch]"
            raise cursor.error(f"expected ':' after the branch point, found {cursor.found()}", hint=hint)
        _no_blanks_in_graft(cursor)
        branch = None
        if not cursor.accept("*"):
            branch = cursor.match(_GRAFTED_BRANCH)
            if branch is None:
                hint = "as in [Point:branch], or [Point:*] for all branches"
                raise cursor.error(f"expected a branch name, found {cursor.found()}", hint=hint)
        if any(point == other.point for other in grafts):
            raise cursor.error(f"branch point '{point}' is grafted twice", start, start + len(point))
        grafts.append(Graft(point, branch, cursor.span(start)))
        _no_blanks_in_graft(cursor)
        if cursor.accept("]"):
            break
        if not cursor.accept(","):
            if cursor.done:
                raise cursor.error("graft is never closed", opened, hint="close it with ']'")
            raise cursor.error(f"expected ',' or ']' in the graft, found {cursor.found()}")
    grafted = Grafted(variable, tuple(grafts), cursor.span(variable.span.start))
    _end_value(cursor)
    return grafted


def _no_blanks_in_graft(cursor: Cursor) -> None:
    if not cursor.done and cursor.ends_word():
        hint = "write [Point:branch,Other:branch] without blanks"
        raise cursor.error("blanks are not allowed inside a graft", hint=hint)


# --- lists ------------------------------------------------------------------------------------------------------


def _list(cursor: Cursor, depth: int) -> ListOf:
    start = cursor.at
    cursor.accept("[")
    if cursor.in_list:
        hint = "a list is flat: write its values next to each other, or give the inner list a name in a global block"
        raise cursor.error("a list cannot stand inside a list", start, hint=hint)
    cursor.in_list = True
    try:
        items = _list_items(cursor, start, depth)
    finally:
        cursor.in_list = False
    if not items:
        raise cursor.error("empty list", start, cursor.at, hint="a list has at least one value, as in [a.txt b.txt]")
    found = ListOf(tuple(items), cursor.span(start))
    _end_value(cursor)
    return found


def _list_items(cursor: Cursor, start: int, depth: int) -> list[Value]:
    items: list[Value] = []
    cursor.skip_space()
    while not cursor.accept("]"):
        if cursor.done:
            raise cursor.error("list is never closed", start, hint="close it with ']'")
        if _COMMENT.match(cursor.text, cursor.at):
            raise cursor.error("comments are not allowed inside a list", hint="put the comment before the assignment")
        at, behind = cursor.at, cursor.match(_BEHIND_LIST)
        if behind is not None:
            message, hint = f"'{behind}' cannot stand in a list", "close the list with ']', or put the text in quotes"
            other = cursor.span(start, start + 1)
            raise cursor.error(message, at, cursor.at, hint=hint, other=other, other_label="the list starts here")
        if _POINT_LIKE.match(cursor.text, at):
            hint = "branch points are written (Point: ...), and grafts come right after a variable: $x[Point:branch]"
            raise cursor.error(
                "a list is no branch point and no graft: unexpected ':'", cursor.text.index(":", at), hint=hint
            )
        items.append(value(cursor, depth + 1))
        if not cursor.skip_space() and cursor.peek() != "]" and not cursor.done:
            raise cursor.error(f"expected a space or ']' after the value, found {cursor.found()}")
    return items


# --- branch points ----------------------------------------------------------------------------------------------


def _branch_point(cursor: Cursor, depth: int) -> Value:
    start = cursor.at
    if depth >= MAX_DEPTH:
        raise cursor.error(f"branch points are nested more than {MAX_DEPTH} deep")
    cursor.accept("(")
    cursor.skip_space()
    name, name_span = _point_name(cursor)
    cursor.skip_space()
    sequence = _sequence(cursor)
    if sequence is not None:
        first, last, step, _ = sequence
        cursor.skip_space()
        if not cursor.accept(")"):
            hint = "list the numbers one by one to mix them with other branches"
            raise cursor.error("a sequence must be alone in its branch point", hint=hint)
        point: Value = SequencePoint(name, first, last, step, cursor.span(start), name_span)
        _end_value(cursor)
        return point
    branches: dict[str, Branch] = {}
    while not cursor.accept(")"):
        if cursor.done:
            raise cursor.error("branch point is never closed", start, hint="close it with ')'")
        branch = _branch(cursor, depth)
        earlier = branches.get(branch.name)
        if earlier is not None:
            raise cursor.error(
                f"branch '{branch.name}' is given twice in branch point '{name}'",
                branch.span.start,
                branch.span.end,
                other=earlier.span,
                other_label="first given here",
            )
        branches[branch.name] = branch
        if not cursor.skip_space() and cursor.peek() != ")" and not cursor.done:
            hint = "close the branch point before the list" if cursor.peek() == "]" else None
            raise cursor.error(f"expected a space or ')' after the branch, found {cursor.found()}", hint=hint)
    if not branches:
        raise cursor.error(f"branch point '{name}' has no branches", start, hint=f"as in ({name}: first second)")
    point = BranchPoint(name, tuple(branches.values()), cursor.span(start), name_span)
    _end_value(cursor)
    return point


def _point_name(cursor: Cursor) -> tuple[str, Span]:
    """`Name:` with the cursor after the colon; the name and its span."""
    start = cursor.at
    name = cursor.match(NAME)
    span = cursor.span(start)
    if name is None or not cursor.accept(":"):
        hint = "every branch point needs a name and a colon, as in (Size: small large)"
        if name is None or cursor.peek() in " \t\r\n)=":
            message = "branch point without a name"
            if name and _BLANK_COLON.match(cursor.text, cursor.at):
                message, hint = "blanks before the ':' of a branch point", f"write ({name}: ...)"
            raise cursor.error(message, start, max(cursor.at, start + 1), hint=hint)
        raise cursor.error(f"expected ':' after the branch point name, found {cursor.found()}", hint=hint)
    return name, span


def _branch(cursor: Cursor, depth: int) -> Branch:
    start = cursor.at
    explicit = cursor.match(_EXPLICIT)
    if explicit is not None:
        return Branch(explicit[:-1], value(cursor, depth + 1), cursor.span(start))
    if cursor.looking_at("#") or cursor.looking_at("//") or cursor.looking_at("/*"):
        hint = "put the comment before the assignment"
        raise cursor.error("comments are not allowed inside a branch point", hint=hint)
    try:
        given = value(cursor, depth + 1)
    except TapeError:
        end = IMPLIED_NAME.match(cursor.text, start)
        if end and cursor.text.startswith("=", end.end()):
            hint = "branch names consist of letters, digits, '_', '-' and '.'"
            raise cursor.error(f"'{end.group()}' cannot be a branch name", start, end.end(), hint=hint) from None
        raise
    span = cursor.span(start)
    name = inferred_name(given)
    if name is None:
        raise cursor.error("this branch needs a name", start, cursor.at, hint=f"as in name={_short(span.text)}")
    return Branch(name, given, span, implied=True)


def _short(text: str) -> str:
    return text if len(text) <= 40 and "\n" not in text else "..."


def inferred_name(given: Value) -> str | None:
    """The name that a branch takes from its value, or None when the value does not give one."""
    if isinstance(given, Literal):
        return given.value if IMPLIED_NAME.fullmatch(given.value) else None
    if isinstance(given, Grafted):
        return inferred_name(given.variable)
    if isinstance(given, GlobalVariable | TaskVariable | BranchPoint | SequencePoint):
        return given.name
    return None


def _sequence(cursor: Cursor) -> tuple[Decimal, Decimal, Decimal, int] | None:
    """`first..last[..step]` standing as a word of its own: the numbers and where it starts."""
    start = cursor.at
    found = SEQUENCE.match(cursor.text, start)
    if not found:
        return None
    cursor.at = found.end()
    if not cursor.ends_value():
        cursor.at = start
        return None
    if _HUGE_EXPONENT.search(found.group()):
        raise cursor.error("exponent too large in a sequence", start, cursor.at)
    first, last, step = (Decimal(text) if text is not None else Decimal(1) for text in found.groups())
    problem = sequences.problem(first, last, step)
    if problem:
        raise cursor.error(problem[0], start, cursor.at, hint=problem[1])
    return first, last, step, start


# --- branches in plans ------------------------------------------------------------------------------------------


def plan_branches(cursor: Cursor) -> PlanBranches:
    """`(Point: *)` or `(Point: a b 1..3)` of a plan; whitespace, newlines and comments may stand between the words."""
    start = cursor.at
    if not cursor.accept("("):
        hint = "as in via (Size: small large) * (Seed: *)"
        raise cursor.error(f"expected '(' and a branch point, found {cursor.found()}", hint=hint)
    cursor.skip_ignored()
    name, _ = _point_name(cursor)
    cursor.skip_ignored()
    if cursor.accept("*"):
        cursor.skip_ignored()
        if not cursor.accept(")"):
            raise cursor.error(f"expected ')' after '*', found {cursor.found()}", hint="'*' already means all branches")
        return PlanBranches(name, None, cursor.span(start))
    branches: list[str] = []
    while not cursor.accept(")"):
        if cursor.done:
            raise cursor.error("branch point is never closed", start, hint="close it with ')'")
        branches += _plan_branch(cursor)
        if not cursor.skip_ignored() and cursor.peek() != ")" and not cursor.done:
            hint = "only names of branches stand in a plan" if cursor.peek() == "=" else None
            raise cursor.error(f"expected a space or ')' after the branch, found {cursor.found()}", hint=hint)
    if not branches:
        raise cursor.error(f"no branches of '{name}' are listed", start, hint=f"as in ({name}: *) for all of them")
    # A branch listed twice is one branch.
    return PlanBranches(name, tuple(dict.fromkeys(branches)), cursor.span(start))


def _plan_branch(cursor: Cursor) -> list[str]:
    sequence = _sequence(cursor)
    if sequence is not None:
        return sequences.texts(*sequence[:3])
    start = cursor.at
    branch = cursor.match(NUMBER)
    if branch is None or not (cursor.ends_word() or cursor.peek() == ")"):
        cursor.at = start
        branch = cursor.match(IMPLIED_NAME)
    if branch is None:
        raise cursor.error(f"expected a branch name, found {cursor.found()}", hint="or '*' alone for all branches")
    return [branch]
