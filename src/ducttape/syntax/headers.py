"""Header clauses (`<` inputs, `>` outputs, `::` params, `:` packages) and the assignments in them and in globals.

A clause is one line: its mark, a blank, then items separated by blanks. Several clauses may share a line. A branch
point in parentheses may go over several lines.
"""

from __future__ import annotations

import re

from ducttape.syntax.diagnostics import TapeError
from ducttape.syntax.scanner import NAME, Cursor
from ducttape.syntax.tree import Assignment, Clause, Value
from ducttape.syntax.values import value

_MARKS = (("::", "param"), (":", "package"), ("<", "input"), (">", "output"))
_ARTICLE = {"input": "an input", "output": "an output", "param": "a parameter", "package": "a package"}
_BLANK_EQUALS = re.compile(r"[ \t]+=")
_ITEM_START = re.compile(r"\.?[A-Za-z_]")


def clauses(cursor: Cursor, formal: bool = False, defaults: bool = False) -> tuple[Clause, ...]:
    """All clauses from here, with comments and newlines between them; the cursor ends at what comes next.

    `formal` headers (func, action, submitter, versioner) declare bare names; with `defaults` params may have values.
    """
    found: list[Clause] = []
    while True:
        cursor.skip_ignored()
        start = cursor.at
        kind = next((kind for mark, kind in _MARKS if cursor.accept(mark)), None)
        if kind is None:
            return tuple(found)
        mark = cursor.text[start : cursor.at]
        if cursor.peek() not in (" ", "\t"):
            if cursor.at_line_end():
                raise _empty(cursor, mark, kind, start)
            hint = f"put a space after '{mark}'"
            raise cursor.error(f"expected a space after '{mark}', found {cursor.found()}", hint=hint)
        found.append(_clause(cursor, mark, kind, start, formal, defaults and kind == "param"))


def _empty(cursor: Cursor, mark: str, kind: str, start: int) -> TapeError:
    hint = "the items of a clause stand on the line of its mark"
    return cursor.error(f"nothing after '{mark}': expected {_ARTICLE[kind]}", start, start + len(mark), hint=hint)


def _clause(cursor: Cursor, mark: str, kind: str, start: int, formal: bool, defaults: bool) -> Clause:
    items: list[Assignment] = []
    end = cursor.at
    while True:
        separated = cursor.skip_blanks()
        if not _ITEM_START.match(cursor.text, cursor.at):
            if not cursor.at_line_end() and not _ends_clause(cursor, separated):
                raise _bad_item(cursor, kind)
            break
        items.append(_item(cursor, kind, formal, defaults))
        end = cursor.at
    if not items:
        raise _empty(cursor, mark, kind, start)
    return Clause(kind, tuple(items), cursor.span(start, end))


def _ends_clause(cursor: Cursor, separated: bool) -> bool:
    ends = cursor.peek() in "{<>:" or any(cursor.looking_at(mark) for mark in ("#", "//", "/*"))
    if ends and not separated:
        # Values insist on a following blank themselves, so only a bare name can be glued to what follows.
        raise cursor.error(f"expected a space, found {cursor.found()}", hint=f"put a space before '{cursor.peek()}'")
    return ends


def _bad_item(cursor: Cursor, kind: str) -> TapeError:
    if cursor.peek() == "=":
        return cursor.error("expected a name before '='", hint="blanks around '=' are allowed in '::' clauses only")
    return cursor.error(f"expected the name of {_ARTICLE[kind]}, found {cursor.found()}")


def _item(cursor: Cursor, kind: str, formal: bool, defaults: bool) -> Assignment:
    start = cursor.at
    dot = cursor.accept(".")
    if dot and kind != "param":
        raise cursor.error(f"{_ARTICLE[kind]} cannot start with a dot", start, hint="'.name=value' is for '::' clauses")
    name_start = cursor.at
    name = cursor.name(f"the name of {_ARTICLE[kind]}")
    name_span = cursor.span(name_start)
    assigned = _accept_equals(cursor, spaced=kind == "param")
    if assigned and kind == "package":
        raise cursor.error("a package takes no value here", start, cursor.at, hint="list bare package names after ':'")
    if assigned and formal and not defaults:
        hint = "the values are given where it is used"
        raise cursor.error(f"'{name}' cannot have a value in this header", start, cursor.at, hint=hint)
    if assigned:
        given = _assigned_value(cursor, name, kind)
        return Assignment(name, given, cursor.span(start), name_span, dot)
    if not cursor.ends_word() and not (cursor.peek() in "{#<>:" or cursor.looking_at("/")):
        raise cursor.error(f"unexpected {cursor.found()} after the name '{name}'", hint="items are separated by blanks")
    if kind in ("input", "param") and not formal:
        hint = f"as in {name}=value, or {name}=@ for the global of that name"
        if kind == "input" and _BLANK_EQUALS.match(cursor.text, cursor.at):
            hint = f"no blanks around '=' in inputs: write {name}=value"
        raise cursor.error(f"{_ARTICLE[kind][2:].strip()} '{name}' needs a value", start, cursor.at, hint=hint)
    return Assignment(name, None, cursor.span(start), name_span, dot)


def _accept_equals(cursor: Cursor, spaced: bool) -> bool:
    """Skip `=`, with blanks around it if `spaced`; nothing is skipped when there is none."""
    start = cursor.at
    if spaced:
        cursor.skip_blanks()
    if cursor.accept("="):
        if spaced:
            cursor.skip_blanks()
        return True
    cursor.at = start
    return False


def _assigned_value(cursor: Cursor, name: str, kind: str) -> Value:
    start = cursor.at
    if kind not in ("param", "global") and cursor.peek() in (" ", "\t"):
        hint = f"no blanks around '=' in {kind}s: write {name}=value"
        raise cursor.error(f"expected a value right after '{name}='", hint=hint)
    given = value(cursor)
    if not cursor.ends_word():
        # Values may be followed by ')', which closes nothing here.
        raise cursor.error(f"unexpected {cursor.found()}", hint="there is no '(' that it could close")
    if given.span.text == "{" and NAME.fullmatch(name):
        raise cursor.error(f"'{name}=' has no value", start, hint='write "" for an empty value')
    return given


def assignment(cursor: Cursor) -> Assignment:
    """`name=value` in a global or config block; blanks around `=` are allowed."""
    start = cursor.at
    name = cursor.name("the name of a variable")
    name_span = cursor.span(start)
    if not _accept_equals(cursor, spaced=True):
        if not cursor.ends_word():
            raise cursor.error(f"unexpected {cursor.found()} after the name '{name}'", hint=f"as in {name}=value")
        hint = "imports stand outside of blocks" if name == "import" else f"as in {name}=value"
        raise cursor.error(f"variable '{name}' needs a value", start, cursor.at, hint=hint)
    given = _assigned_value(cursor, name, "global")
    return Assignment(name, given, cursor.span(start), name_span)
