"""The blocks of a tape, one reader for each kind.

`block(cursor)` reads one block that starts at the cursor and leaves the cursor behind it. Errors are raised at their
exact place as `TapeError`; the parser decides where to go on.
"""

from __future__ import annotations

import re

from ducttape.syntax.bash import body
from ducttape.syntax.diagnostics import did_you_mean
from ducttape.syntax.headers import assignment, clauses
from ducttape.syntax.scanner import Cursor
from ducttape.syntax.shell_scan import BLOCK_LINE
from ducttape.syntax.source import Span
from ducttape.syntax.tree import (
    Block,
    Call,
    Clause,
    Goal,
    Group,
    Import,
    Literal,
    Plan,
    PlanBranches,
    Reach,
    TaskLike,
    Variables,
)
from ducttape.syntax.values import plan_branches

# The words that start a block, with what follows them.
TASK_LIKE = ("task", "func", "package", "action", "of", "baseline", "branch")
GROUPS = ("submitter", "versioner", "summary", "group", "branchpoint")
KEYWORDS = (*TASK_LIKE, *GROUPS, "plan", "global", "config", "import")
# Headers of these declare names and give no values (but for the defaults of submitters and versioners).
_FORMAL = ("func", "action", "submitter", "versioner")
_MEMBERS = {
    "submitter": ("action",),
    "versioner": ("action",),
    "summary": ("of",),
    "group": ("task", "func", "summary", "branchpoint", "group"),
    "branchpoint": ("baseline", "branch"),
}
_MAX_DEPTH = 40
_CALLS = re.compile(r"calls(?=[ \t\r\n])")
_VIA = re.compile(r"via\b")
_CROSS = re.compile(r"\s*[({]")
_ASSIGNS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*[ \t]*=")
_COMMENT = re.compile(r"#|//|/\*")
_AFTER_IMPORT = re.compile(rf"{_COMMENT.pattern}|(?:{'|'.join(KEYWORDS)})\b")
_WORD = re.compile(r"[^\s{(\"']+", re.ASCII)


def keyword(cursor: Cursor, allowed: tuple[str, ...], where: str) -> str:
    """The word that starts a block here, one of `allowed`."""
    start = cursor.at
    word = cursor.match(_WORD)
    if word in allowed and (cursor.ends_word() or cursor.peek() in "{\"'"):
        return word
    cursor.at = start
    if word is None:
        raise cursor.error(f"unexpected {cursor.found()} {where}", hint=f"known blocks: {', '.join(allowed)}")
    hint = did_you_mean(word, allowed)
    if word in KEYWORDS:
        hint = "is the '}' before it missing?" if where.startswith("inside") else f"known blocks: {', '.join(allowed)}"
        raise cursor.error(f"'{word}' cannot stand {where}", start, start + len(word), hint=hint)
    if word.startswith("}"):
        hint = "the block before it has ended already: an unquoted '}' at the end of a line may have ended it"
        raise cursor.error("unexpected '}'", start, start + 1, hint=hint)
    if "=" in word:
        hint = "variables are set inside a block: global { ... }"
    raise cursor.error(f"unknown block '{word}'", start, start + len(word), hint=hint)


def block(cursor: Cursor) -> Block:
    """The top-level block that starts here."""
    start = cursor.at
    kind = keyword(cursor, KEYWORDS, "at the top level")
    if kind == "import":
        return _import(cursor, start)
    if kind == "plan":
        return _plan(cursor, start)
    if kind in ("global", "config"):
        return _variables(cursor, start, kind)
    return _named_block(cursor, start, kind, 0)


def _named_block(cursor: Cursor, start: int, kind: str, depth: int) -> TaskLike | Call | Group:
    name, name_span = _block_name(cursor, kind)
    if kind in GROUPS:
        return _group(cursor, start, kind, name, name_span, depth)
    if kind == "task":
        call = _call(cursor, start, name, name_span)
        if call is not None:
            return call
    header = clauses(cursor, formal=kind in _FORMAL)
    _expect_brace(cursor, kind, name, header)
    text = body(cursor, nested=depth > 0)
    return TaskLike(kind, name, header, text, cursor.span(start), name_span)


def _block_name(cursor: Cursor, kind: str) -> tuple[str, Span]:
    if not cursor.skip_blanks():
        raise cursor.error(f"expected a space and a name after '{kind}', found {cursor.found()}")
    start = cursor.at
    what = "the name of a task" if kind == "of" else f"the name of the {kind}"
    name = cursor.name(what)
    _end_name(cursor, name)
    return name, cursor.span(start)


def _optional_name(cursor: Cursor, kind: str) -> tuple[str, Span] | tuple[None, None]:
    if not cursor.skip_blanks() or cursor.at_line_end() or cursor.peek() in "{#/":
        return None, None
    start = cursor.at
    name = cursor.name(f"the name of the {kind}")
    _end_name(cursor, name)
    return name, cursor.span(start)


def _end_name(cursor: Cursor, name: str) -> None:
    if not cursor.ends_word():
        mark = cursor.peek()
        hint = f"put a space before '{mark}'" if mark in "{<>" else "a name is followed by a space"
        if cursor.peek() in "-.":
            hint = "names consist of letters, digits and underscores"
        raise cursor.error(f"unexpected {cursor.found()} after the name '{name}'", hint=hint)


def _call(cursor: Cursor, start: int, name: str, name_span: Span) -> Call | None:
    here = cursor.at
    cursor.skip_ignored()
    if cursor.match(_CALLS) is None:
        cursor.at = here
        return None
    cursor.skip_blanks()
    function_start = cursor.at
    function = cursor.name("the name of a function")
    _end_name(cursor, function)
    function_span = cursor.span(function_start)
    header = clauses(cursor)
    if cursor.peek() == "{":
        hint = f"remove the body, or 'calls {function}'"
        raise cursor.error("a task that calls a function has no body", hint=hint)
    end = header[-1].span.end if header else function_span.end
    return Call(name, function, header, cursor.span(start, end), name_span, function_span)


def _expect_brace(cursor: Cursor, kind: str, name: str, header: tuple[Clause, ...]) -> None:
    """Insist on the opening brace at the cursor."""
    if cursor.peek() == "{":
        return
    hint = None
    last = header[-1].items[-1] if header else None
    if last is not None and isinstance(last.value, Literal) and last.value.form == "bare" and "{" in last.value.value:
        hint = "put a space before '{': as it stands, it belongs to the value before it"
    elif last is not None and "\n" in cursor.text[last.span.end : cursor.at] and cursor.peek() != "}":
        hint = "every line of a header starts with '<', '>', '::' or ':'"
    elif last is not None and _COMMENT.search(cursor.text, last.span.end, cursor.at):
        hint = "comments cannot stand between the items of a clause"
    if hint is None and (cursor.done or cursor.peek() == "}"):
        hint = f"a body in braces belongs to every '{kind}'"
    what = "the 'of' block of" if kind == "of" else kind
    raise cursor.error(f"expected '{{' and the body of {what} '{name}', found {cursor.found()}", hint=hint)


# --- blocks of lines --------------------------------------------------------------------------------------------


def _open_lines(cursor: Cursor, what: str) -> int:
    """The opening brace of a block of lines, and the newline behind it; where the brace is."""
    cursor.skip_ignored()
    start = cursor.at
    if not cursor.accept("{"):
        raise cursor.error(f"expected '{{' after {what}, found {cursor.found()}")
    cursor.skip_blanks()
    while cursor.skip_comment():
        cursor.skip_blanks()
    if not cursor.at_line_end():
        hint = "only bash bodies may be on one line"
        raise cursor.error(f"expected a new line after '{{', found {cursor.found()}", hint=hint)
    return start


def _close_lines(cursor: Cursor, opened: int, members: bool = False) -> bool:
    """Skip whitespace and comments, then the closing brace if it is next; only `members` may look like blocks."""
    cursor.skip_ignored()
    if cursor.done:
        raise cursor.error("missing closing brace", opened, opened + 1)
    if not members and BLOCK_LINE.match(cursor.text, cursor.text.rfind("\n", 0, cursor.at) + 1):
        start = cursor.at
        cursor.match(_WORD)
        raise cursor.error(
            "missing closing brace",
            opened,
            opened + 1,
            other=cursor.span(start),
            other_label="the next block starts here",
        )
    if not cursor.accept("}"):
        return False
    closed = cursor.at
    cursor.skip_blanks()
    while cursor.skip_comment():
        cursor.skip_blanks()
    if not cursor.at_line_end():
        raise cursor.error("only blanks may follow a closing brace on its line", hint="start a new line")
    cursor.at = closed
    return True


def _group(cursor: Cursor, start: int, kind: str, name: str, name_span: Span, depth: int) -> Group:
    if depth >= _MAX_DEPTH:
        raise cursor.error(f"blocks are nested more than {_MAX_DEPTH} deep", start)
    header = clauses(cursor, formal=kind in _FORMAL, defaults=kind in ("submitter", "versioner"))
    opened = _open_lines(cursor, f"the header of {kind} '{name}'")
    members: list[TaskLike | Call | Group] = []
    while not _close_lines(cursor, opened, members=True):
        member_start = cursor.at
        member = keyword(cursor, _MEMBERS[kind], f"inside a {kind}")
        members.append(_named_block(cursor, member_start, member, depth + 1))
    return Group(kind, name, header, tuple(members), cursor.span(start), name_span)


def _variables(cursor: Cursor, start: int, kind: str) -> Variables:
    name, _ = _optional_name(cursor, kind)
    opened = _open_lines(cursor, f"'{kind}'")
    found = []
    while not _close_lines(cursor, opened):
        if found and not _ASSIGNS.match(cursor.text, cursor.at):
            last = found[-1]
            if "\n" not in cursor.text[last.span.end : cursor.at]:
                hint = "put a value that has blanks into quotes"
                raise cursor.error(f"unexpected {cursor.found()} after the value of '{last.name}'", hint=hint)
        found.append(assignment(cursor))
    return Variables(kind, name, tuple(found), cursor.span(start))


def _import(cursor: Cursor, start: int) -> Import:
    cursor.skip_blanks()
    path = cursor.literal()
    if path is None:
        hint = 'as in import "other.tape"'
        raise cursor.error(f"expected a file name after 'import', found {cursor.found()}", hint=hint)
    if not path.value:
        raise cursor.error("empty file name", path.span.start, path.span.end)
    end = cursor.at
    cursor.skip_blanks()
    if not cursor.at_line_end() and _AFTER_IMPORT.match(cursor.text, cursor.at) is None:
        raise cursor.error(f"unexpected {cursor.found()} after the name of a file", hint="import files one by one")
    cursor.at = end
    return Import(path, cursor.span(start))


# --- plans ------------------------------------------------------------------------------------------------------


def _plan(cursor: Cursor, start: int) -> Plan:
    name, name_span = _optional_name(cursor, "plan")
    opened = _open_lines(cursor, "'plan'")
    reaches: list[Reach] = []
    while not _close_lines(cursor, opened):
        reaches.append(_reach(cursor))
    return Plan(name, tuple(reaches), cursor.span(start), name_span)


def _reach(cursor: Cursor) -> Reach:
    start = cursor.at
    word = cursor.match(_WORD)
    if word != "reach" or not cursor.skip_ignored():
        cursor.at = start
        hint = "as in reach task via (Point: branch)"
        raise cursor.error(f"expected 'reach' and a task, found {cursor.found()}", hint=hint)
    goals = [_goal(cursor)]
    cursor.skip_ignored()
    while cursor.accept(","):
        cursor.skip_ignored()
        goals.append(_goal(cursor))
        cursor.skip_ignored()
    end = goals[-1].span.end
    cross: list[PlanBranches] = []
    if cursor.match(_VIA):
        cross, end = _cross(cursor)
    else:
        cursor.at = end
    return Reach(tuple(goals), tuple(cross), cursor.span(start, end))


def _goal(cursor: Cursor) -> Goal:
    start = cursor.at
    name = cursor.name("the name of a task to reach")
    span = cursor.span(start)
    if name == "via" and _CROSS.match(cursor.text, cursor.at):
        raise cursor.error("expected the name of a task to reach, found 'via'", start, cursor.at)
    return Goal(name, span)


def _cross(cursor: Cursor) -> tuple[list[PlanBranches], int]:
    cursor.skip_ignored()
    opened = cursor.at
    braced = cursor.accept("{")
    cursor.skip_ignored()
    cross = [plan_branches(cursor)]
    end = cursor.at
    cursor.skip_ignored()
    while cursor.accept("*"):
        cursor.skip_ignored()
        cross.append(plan_branches(cursor))
        end = cursor.at
        cursor.skip_ignored()
    for index, branches in enumerate(cross):
        earlier = next((other for other in cross[:index] if other.point == branches.point), None)
        if earlier is not None:
            raise cursor.error(
                f"branch point '{branches.point}' is listed twice",
                branches.span.start,
                branches.span.end,
                hint="list all its branches in one place",
                other=earlier.span,
                other_label="first listed here",
            )
    if braced:
        if not cursor.accept("}"):
            if cursor.done:
                raise cursor.error("missing closing brace", opened, opened + 1)
            raise cursor.error(f"expected '*' or '}}', found {cursor.found()}")
        end = cursor.at
    elif cursor.peek() in ("(", ","):
        raise cursor.error("expected '*' between branch points", hint="as in (Size: small) * (Seed: *)")
    else:
        cursor.at = end
    return cross, end
