"""Bodies in bash: where they end and which variables they read.

A body ends at a `}` with nothing but blanks behind it on its line. Of those places, the lexer of `shell_scan` proposes
one and the grammar of tree-sitter checks it; when that one does not hold, the first place up to which the text is
valid bash is taken; when there is none, the lexer's (the text may be bash that the grammar does not know), else the
body has no end and the opening brace is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from ducttape.syntax.scanner import Cursor
from ducttape.syntax.shell_scan import BLOCK_LINE, Scan, ends_line, scan
from ducttape.syntax.source import Span
from ducttape.syntax.tree import Bash

_QUERY = """
(variable_name) @read
(c_style_for_statement condition: (_ (word) @read))
(c_style_for_statement update: (_ (word) @read))
(c_style_for_statement initializer: (variable_assignment value: (word) @read))
((binary_expression operator: (test_operator) @number right: (word) @read) (#match? @number "^-(eq|ne|lt|le|gt|ge)$"))
(variable_assignment name: (variable_name) @set)
(variable_assignment name: (subscript name: (variable_name) @set))
(binary_expression left: (variable_name) @set operator: "=")
(c_style_for_statement initializer: (_ . (variable_name) @set))
(for_statement variable: (variable_name) @set)
(unset_command (variable_name) @set)
(declaration_command (variable_name) @set)
((command name: (command_name (word) @reader) argument: (word) @set_by_reader)
  (#match? @reader "^(read|mapfile|readarray|getopts)$"))
[(regex) (extglob_pattern)] @pattern
((command_name (word) @stray) (#eq? @stray "}"))
"""
_EXPANSION = re.compile(rb"(?<!\\)\$\{?([A-Za-z_][A-Za-z0-9_]*)")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACE = re.compile(r"\}[ \t\r]*$", re.MULTILINE)
# What may follow a body: the end of the file or a word that starts a block.
_FOLLOWS = re.compile(
    r"(?:\Z|(?:task|func|package|submitter|versioner|action|summary|of|plan|global|config|import|group|branchpoint"
    r"|baseline|branch)(?:\s|\{))",
    re.ASCII,
)
# Bounds the work on a text in which nothing fits, so that parsing stays linear in the size of the tape.
_MAX_CANDIDATES = 64
_MAX_CHARACTERS = 300_000


@cache
def _grammar():
    """(parser, query cursor) of tree-sitter, loaded with the first body: a tape without one never pays for it."""
    import tree_sitter
    import tree_sitter_bash

    language = tree_sitter.Language(tree_sitter_bash.language())
    return tree_sitter.Parser(language), tree_sitter.QueryCursor(tree_sitter.Query(language, _QUERY))


class _Reading:
    """What the grammar says of one text: whether it is `valid` bash, and the captured places."""

    def __init__(self, text: str):
        parser, query = _grammar()
        root = parser.parse(text.encode("utf-8", "replace")).root_node
        self.captures = query.captures(root)
        self.valid = not root.has_error and "stray" not in self.captures

    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names read and the names set, each in order and once."""
        written = self.captures.get("set", [])
        places = {node.start_byte for node in written}
        read = [_placed(node) for node in self.captures.get("read", []) if node.start_byte not in places]
        # The grammar does not look into patterns, as in ${x//$old/$new}.
        for node in self.captures.get("pattern", []):
            expansions = _EXPANSION.finditer(node.text)
            read += [(node.start_byte + found.start(), found.group(1).decode()) for found in expansions]
        set_by_reader = self.captures.get("set_by_reader", [])
        return _ordered(read), _ordered(_placed(node) for node in [*written, *set_by_reader])


def _placed(node) -> tuple[int, str]:
    return node.start_byte, node.text.decode()


def _ordered(places: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """The names that are names of variables, in the order of their places and once."""
    return tuple(dict.fromkeys(name for _, name in sorted(places) if _IDENTIFIER.fullmatch(name) and name != "_"))


def bash(text: str, span: Span) -> Bash:
    """The body with this text."""
    return _body(text, span, _Reading(text))


def _body(text: str, span: Span, reading: _Reading) -> Bash:
    read, assigned = reading.names()
    return Bash(text, span, read, assigned)


def body(cursor: Cursor, nested: bool = False) -> Bash:
    """The body whose opening brace is at the cursor; the cursor ends behind the closing brace.

    `nested` bodies belong to a group of blocks, which ends with a brace of its own.
    """
    opening = cursor.at
    start = opening + 1
    scanned = scan(cursor.text, start)
    end, reading = _end(cursor, start, scanned, nested)
    if end is None:
        hint, other, label = "the '}' that ends a body has nothing but blanks behind it on its line", None, ""
        if scanned.stray is not None:
            other, label = Span(cursor.source, scanned.stray, scanned.stray + 1), "text follows this brace on its line"
        elif scanned.open_at is not None:
            other = Span(cursor.source, scanned.open_at, scanned.open_at + 1)
            label = f"{scanned.open_what} that starts here is never closed"
        elif (block := BLOCK_LINE.search(cursor.text, start)) is not None:
            word = _IDENTIFIER.search(cursor.text, block.start())
            other, label = Span(cursor.source, word.start(), word.end()), "the next block starts here"
            hint = "a body ends with a '}' that has nothing but blanks behind it; a lone brace in bash needs quotes"
        raise cursor.error("missing closing brace", opening, opening + 1, hint=hint, other=other, other_label=label)
    if end == scanned.end and not reading.valid and _ends_twice(cursor.text, start, scanned):
        hint = "the '}' that ends a body, and each that ends the block around it, is the only one on its line"
        other, label = Span(cursor.source, opening, opening + 1), "the body that starts here has ended already"
        raise cursor.error("one '}' too many", end, end + 1, hint=hint, other=other, other_label=label)
    cursor.at = end + 1
    return _body(cursor.text[start:end], cursor.span(start, end), reading)


def _end(cursor: Cursor, start: int, scanned: Scan, nested: bool) -> tuple[int | None, _Reading | None]:
    text, proposed, reading = cursor.text, scanned.end, None
    if proposed is not None:
        reading = _Reading(text[start:proposed])
        if reading.valid and proposed < scanned.limit and _plausible(cursor, proposed, nested):
            return proposed, reading
    limit = scanned.limit
    if proposed is not None and proposed < limit:
        block = BLOCK_LINE.search(text, proposed)
        limit = block.start() if block else len(text)
    tried, budget = 0, _MAX_CHARACTERS
    for found in _BRACE.finditer(text, start, limit):
        at = found.start()
        if at == proposed or (at > start and text[at - 1] not in " \t\r\n;&") or not _plausible(cursor, at, nested):
            continue
        tried, budget = tried + 1, budget - (at - start)
        if tried > _MAX_CANDIDATES or budget < 0:
            break
        candidate = _Reading(text[start:at])
        if candidate.valid:
            return at, candidate
    if reading is not None and (reading.valid or proposed < scanned.limit):
        return proposed, reading
    return None, None


def _ends_twice(text: str, start: int, scanned: Scan) -> bool:
    """Whether a brace that closes nothing stands right before the one that ends the body, which is valid without it."""
    stray, end = scanned.stray, scanned.end
    return stray is not None and not text[stray + 1 : end].strip(" \t") and _Reading(text[start:stray]).valid


def _plausible(cursor: Cursor, at: int, nested: bool) -> bool:
    """Whether a body may end at the brace at `at`, judged by what comes behind it."""
    if not ends_line(cursor.text, at):
        return False
    ahead = Cursor(cursor.source, at + 1)
    while ahead.skip_space() or (not ahead.looking_at("/*") and ahead.skip_comment()):
        pass
    if ahead.looking_at("}"):
        return nested
    return ahead.looking_at("/*") or _FOLLOWS.match(ahead.text, ahead.at) is not None
