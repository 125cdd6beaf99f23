"""`format_text`: a tape in the usual layout, saying the same thing with the same comments.

    format_text(Source("x.tape", "task  a >x{...")) -> "task a > x {..."

Guaranteed, and checked on every call: the result parses to an equal tree, has the same comments in the same order, and
bodies and literals byte for byte. Formatting a formatted tape changes nothing.

A header stays on one line when it was written on one and fits in `WIDTH` columns; otherwise each clause has a line,
indented by 4, and the brace a line of its own. Lines of a block are indented by 2. Line breaks inside branch points,
lists and `reach` lines stay where they are, with continuation lines indented by 4. At most two blank lines stay between
blocks, one inside a block, none in a header. A file whose line ends are all CRLF keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.parser import parse
from ducttape.syntax.scanner import IMPLIED_NAME, NAME, Cursor
from ducttape.syntax.source import Source
from ducttape.syntax.tree import (
    Assignment,
    Block,
    BranchPoint,
    Call,
    Clause,
    File,
    Group,
    Import,
    ListOf,
    Plan,
    Reach,
    SequencePoint,
    TaskLike,
    Value,
    Variables,
)

WIDTH = 100
_MARKS = {"input": "<", "output": ">", "param": "::", "package": ":"}
_CLAUSE_INDENT, _BLOCK_INDENT, _CONTINUED = "    ", "  ", "    "
_SPACE = " \t\r\n\f\v"
_KEYWORD = re.compile(r"[a-z]+")
_REACH_TOKEN = re.compile(rf"{NAME.pattern}|[(),*{{}}]")
_POINT_TOKEN = re.compile(rf"{NAME.pattern}:")


def format_text(source: Source) -> str:
    """The formatted text of a source; raises TapeError with the errors of one that is no tape."""
    return format_file(parse(source))


def format_file(file: File) -> str:
    """The formatted text of a parsed file."""
    formatter = _Formatter(file.source)
    formatter.items(0, file.blocks, "", most_blanks=2, end=len(file.source.text))
    text = formatter.text()
    again = parse(Source(file.source.name, text, file.source.path))
    check = _Formatter(again.source)
    check.items(0, again.blocks, "", most_blanks=2, end=len(text))
    if again != file or check.comments != formatter.comments:
        message = f"'{file.source.name}' cannot be formatted without changing its meaning"
        raise TapeError(Diagnostic(message, hint="it is left as it is; please report this tape"))
    return text


@dataclass(frozen=True, slots=True)
class _Comment:
    """A comment. `lines` counts the line ends between it and what stands before it."""

    text: str
    lines: int


class _Formatter:
    """Writes lines while walking over the tree, and picks up the comments between its nodes from the text."""

    def __init__(self, source: Source):
        self._source = source
        # Only a file that has nothing else keeps CRLF: what stays as written could otherwise tip the scales next time.
        ends = source.text.count("\n")
        self._newline = "\r\n" if ends and ends == source.text.count("\r\n") else "\n"
        self._out: list[str] = []
        self.comments: list[str] = []

    def text(self) -> str:
        return "".join(self._out) + self._newline if self._out else ""

    def _line(self, indent: str, text: str, blanks: int = 0) -> None:
        if self._out:
            self._out.append(self._newline * (1 + blanks))
        self._out.append(indent + text)

    def _append(self, text: str) -> None:
        self._out.append(text)

    # --- comments -----------------------------------------------------------------------------------------------

    def _gap(self, at: int) -> tuple[list[_Comment], int, int]:
        """The comments from `at` on, the number of line ends behind the last of them, and where the gap ends."""
        cursor = Cursor(self._source, at)
        found: list[_Comment] = []
        while True:
            start = cursor.at
            cursor.skip_space()
            lines = cursor.text.count("\n", start, cursor.at)
            begin = cursor.at
            if not cursor.skip_comment():
                return found, lines, cursor.at
            found.append(_Comment(cursor.text[begin : cursor.at].rstrip(_SPACE), lines))

    def _write(self, comments: Sequence[_Comment], indent: str, most_blanks: int, first: bool = False) -> None:
        """Comments behind what is on their line already, or on lines of their own; none blank before `first`."""
        for comment in comments:
            self.comments.append(comment.text)
            if not comment.lines and self._out:
                self._append(" " + comment.text)
            else:
                self._line(indent, comment.text, 0 if first else min(comment.lines - 1, most_blanks))
            first = False

    # --- blocks -------------------------------------------------------------------------------------------------

    def items(self, at: int, nodes: Sequence, indent: str, most_blanks: int, end: int) -> None:
        """Nodes on lines of their own, from `at` to the end of the block or file at `end`."""
        first = True
        for node in nodes:
            comments, lines, start = self._gap(at)
            self._write(comments, indent, most_blanks, first)
            first = first and not comments
            blanks = 0 if first else max(0, min(lines - 1, most_blanks))
            self._node(node, start, indent, blanks)
            at, first = node.span.end, False
        comments, _, _ = self._gap(at) if at < end else ([], 0, at)
        self._write(comments, indent, most_blanks, first)

    def _node(self, node: Block | Assignment | Reach, start: int, indent: str, blanks: int) -> None:
        match node:
            case TaskLike():
                title = f"{node.kind} {node.name}"
                self._header(title, node.name_span.end, node.clauses, indent, blanks, start, brace=True)
                self._append(f"{{{node.body.text}}}")
            case Call():
                self._call(node, start, indent, blanks)
            case Group():
                title = f"{node.kind} {node.name}"
                opened = self._header(title, node.name_span.end, node.clauses, indent, blanks, start, brace=True)
                self._lines(opened, node.members, indent, node.span.end)
            case Variables() | Plan():
                self._titled(node, start, indent, blanks)
            case Import():
                self._line(indent, f"import {node.path.span.text}", blanks)
            case Assignment():
                self._line(indent, self._assignment(node, indent), blanks)
            case Reach():
                self._line(indent, self._reach(node, indent), blanks)
            case _:
                raise TypeError(f"not a part of a tape: {node!r}")

    def _lines(self, opened: int, nodes: Sequence, indent: str, end: int) -> None:
        """The lines of a block whose brace is at `opened`, and both braces."""
        self._append("{")
        self.items(opened + 1, nodes, indent + _BLOCK_INDENT, most_blanks=1, end=end - 1)
        self._line(indent, "}")

    def _titled(self, node: Variables | Plan, start: int, indent: str, blanks: int) -> None:
        cursor = Cursor(self._source, start)
        kind = cursor.match(_KEYWORD)
        cursor.skip_blanks()
        if node.name is not None:
            cursor.match(NAME)
        comments, _, opened = self._gap(cursor.at)
        blanks = self._hoist(comments, indent, blanks)
        self._line(indent, f"{kind} " if node.name is None else f"{kind} {node.name} ", blanks)
        nodes = node.assignments if isinstance(node, Variables) else node.reaches
        self._lines(opened, nodes, indent, node.span.end)

    def _hoist(self, comments: Sequence[_Comment], indent: str, blanks: int) -> int:
        """Comments in the middle of a title go before the block; how many blank lines the title then needs."""
        for comment in comments:
            self.comments.append(comment.text)
            self._line(indent, comment.text, blanks)
            blanks = 0
        return blanks

    def _call(self, node: Call, start: int, indent: str, blanks: int) -> None:
        comments, _, _ = self._gap(node.name_span.end)
        blanks = self._hoist(comments, indent, blanks)
        title = f"task {node.name} calls {node.function}"
        self._header(title, node.function_span.end, node.clauses, indent, blanks, start, brace=False)

    # --- headers ------------------------------------------------------------------------------------------------

    def _header(
        self, title: str, at: int, clauses: Sequence[Clause], indent: str, blanks: int, start: int, brace: bool
    ) -> int:
        """Title and clauses, ready for a `{` if there is a `brace`; where that is."""
        gaps = []
        for clause in clauses:
            gaps.append(self._gap(at)[0])
            at = clause.span.end
        end = at
        if brace:
            comments, _, at = self._gap(at)
            gaps.append(comments)
        clause_indent = indent + _CLAUSE_INDENT
        texts = [self._clause(clause, clause_indent) for clause in clauses]
        flat = " ".join([title, *texts])
        is_flat = not any(gaps) and "\n" not in self._source.text[start:end] and "\n" not in flat
        if is_flat and len(indent + flat) + 2 * brace <= WIDTH or not clauses and not any(gaps):
            self._line(indent, flat + " " * brace, blanks)
            return at
        self._line(indent, title, blanks)
        for comments, text in zip(gaps, texts, strict=False):
            self._write(comments, clause_indent, 0)
            self._line(clause_indent, text)
        if brace:
            self._write(gaps[-1], clause_indent, 0)
            self._line(indent, "")
        return at

    def _clause(self, clause: Clause, indent: str) -> str:
        return " ".join([_MARKS[clause.kind], *(self._assignment(item, indent) for item in clause.items)])

    def _assignment(self, item: Assignment, indent: str) -> str:
        name = "." * item.dot + item.name
        return name if item.value is None else f"{name}={self._value(item.value, indent)}"

    def _value(self, value: Value, indent: str) -> str:
        if isinstance(value, SequencePoint):
            numbers = value.span.text.partition(":")[2].rstrip(")").strip(_SPACE)
            return f"({value.name}: {numbers})"
        if isinstance(value, ListOf):
            return self._list(value, indent)
        if not isinstance(value, BranchPoint):
            return value.span.text
        inside, at = indent + _CONTINUED, value.name_span.end
        parts = [f"({value.name}:"]
        for branch in value.branches:
            name = self._source.text[branch.span.start : branch.value.span.start]
            parts.append(self._newline + inside if self._breaks(at, branch.span.start) else " ")
            parts.append(name + self._value(branch.value, inside))
            at = branch.span.end
        parts.append(self._newline + indent if self._breaks(at, value.span.end) else "")
        return "".join(parts) + ")"

    def _list(self, value: ListOf, indent: str) -> str:
        inside, at = indent + _CONTINUED, value.span.start
        parts = ["["]
        for item in value.items:
            blank = " " * (item is not value.items[0])
            parts.append(self._newline + inside if self._breaks(at, item.span.start) else blank)
            parts.append(self._value(item, inside))
            at = item.span.end
        parts.append(self._newline + indent if self._breaks(at, value.span.end) else "")
        return "".join(parts) + "]"

    def _breaks(self, start: int, end: int) -> bool:
        return "\n" in self._source.text[start:end]

    # --- plans --------------------------------------------------------------------------------------------------

    def _reach(self, reach: Reach, indent: str) -> str:
        tokens = self._reach_tokens(reach)
        inside = self._newline + indent + _CONTINUED
        is_flat = not any(lines or is_comment for _, lines, is_comment, _ in tokens)
        width = len(indent) + sum(len(text) + 1 for text, *_ in tokens)
        out, after_line_comment, previous = [], False, ""
        for text, lines, is_comment, glued in tokens:
            if lines or after_line_comment or (is_flat and width > WIDTH and text in ("via", "*") and previous != ":"):
                out.append(inside)
            elif previous and not glued and previous != "(":
                out.append(" ")
            out.append(text)
            after_line_comment = is_comment and not text.startswith("/*")
            previous = text[-1] if not is_comment else text
        return "".join(out)

    def _reach_tokens(self, reach: Reach) -> list[tuple[str, int, bool, bool]]:
        """The words of a `reach`: the line ends before each, whether it is a comment, whether no blank goes before."""
        cursor, found, inside = Cursor(self._source, reach.span.start), [], False
        while cursor.at < reach.span.end:
            comments, lines, cursor.at = self._gap(cursor.at)
            found += [(comment.text, comment.lines, True, False) for comment in comments]
            self.comments += [comment.text for comment in comments]
            patterns = (_POINT_TOKEN, IMPLIED_NAME, _REACH_TOKEN) if inside else (_REACH_TOKEN,)
            text = next(text for pattern in patterns if (text := cursor.match(pattern)) is not None)
            # Inside the parentheses a comma is a branch like any other.
            found.append((text, lines, False, text == ")" or (text == "," and not inside)))
            inside = text == "(" or (inside and text != ")")
        return found
