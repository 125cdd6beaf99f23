"""A cursor over the text of a tape, and the words of the language.

Every method either moves the cursor past what it names and returns it, or leaves the cursor where it is and returns
None or False; methods that insist raise `TapeError` at the exact place. Nothing here knows of blocks.
"""

from __future__ import annotations

import re

from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.source import Source, Span
from ducttape.syntax.tree import Literal

WHITESPACE = " \t\r\n\f\v"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
BRANCH_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
IMPLIED_NAME = re.compile(r"""[^\s"'()\[\]*$:@=]+""", re.ASCII)
NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
UNQUOTED = re.compile(r"""[^\s"'()\[\]*+$:@=]+""", re.ASCII)
_BLANKS = re.compile(r"[ \t\f\v]*")
_SPACE = re.compile(r"[ \t\r\n\f\v]*")
_LINE_REST = re.compile(r"[^\n]*")
_COMMENT_MARK = re.compile(r"/\*|\*/")
_QUOTED = {'"': re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL), "'": re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)}
_ESCAPE = re.compile(r"\\(u+[0-9a-fA-F]{4}|[0-3]?[0-7]{1,2}|.)", re.DOTALL)
_SIMPLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_WORD = re.compile(r"\S{1,40}", re.ASCII)
_OF_TASK = re.compile(r"[A-Za-z_][A-Za-z0-9_]*@[A-Za-z_][A-Za-z0-9_]*(?:\[\S*\])?")


class Cursor:
    """A place (`at`, a character offset) in the text of a source."""

    __slots__ = ("at", "in_list", "source", "text")

    def __init__(self, source: Source, at: int = 0):
        self.source = source
        self.text = source.text
        self.at = at
        # Inside of `[...]` a value may end at `]` too.
        self.in_list = False

    # --- where we are ---------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        return self.at >= len(self.text)

    def peek(self) -> str:
        """The next character, or "" at the end."""
        return self.text[self.at : self.at + 1]

    def looking_at(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def span(self, start: int, end: int | None = None) -> Span:
        return Span(self.source, start, self.at if end is None else end)

    def found(self) -> str:
        """The next word in quotes for an error message."""
        if self.done:
            return "the end of the file"
        if self.peek() in "\r\n":
            return "the end of the line"
        word = _WORD.match(self.text, self.at)
        return f"'{word.group()}'" if word else "a blank"

    def error(
        self,
        message: str,
        start: int | None = None,
        end: int | None = None,
        hint: str | None = None,
        other: Span | None = None,
        other_label: str = "declared here",
    ) -> TapeError:
        """An error at `start` (default: here) up to `end` (default: one character)."""
        start = self.at if start is None else start
        span = Span(self.source, start, max(start, start + 1 if end is None else end))
        return TapeError(Diagnostic(message, span, hint, other, other_label))

    # --- blanks and comments --------------------------------------------------------------------------------

    def skip_blanks(self) -> bool:
        """Skip spaces and tabs of this line; True if there were any."""
        start = self.at
        self.at = _BLANKS.match(self.text, start).end()
        return self.at > start

    def skip_space(self) -> bool:
        """Skip whitespace with newlines; True if there was any."""
        start = self.at
        self.at = _SPACE.match(self.text, start).end()
        return self.at > start

    def skip_comment(self) -> bool:
        """Skip one comment: `# ..`, `// ..` to the end of the line, or `/* .. */`, which nests."""
        text, at = self.text, self.at
        if text.startswith("#", at) or text.startswith("//", at):
            self.at = _LINE_REST.match(text, at).end()
            return True
        if not text.startswith("/*", at):
            return False
        depth = 0
        for mark in _COMMENT_MARK.finditer(text, at):
            depth += 1 if mark.group() == "/*" else -1
            if not depth:
                self.at = mark.end()
                return True
        raise self.error("comment is never closed", at, at + 2, hint="close it with '*/'; comments nest")

    def skip_ignored(self) -> bool:
        """Skip whitespace, newlines and comments; True if there was any."""
        start = self.at
        while self.skip_space() or self.skip_comment():
            pass
        return self.at > start

    def at_line_end(self) -> bool:
        """Whether nothing but a line end or the end of the file comes next."""
        return self.done or self.text[self.at] == "\n" or self.text.startswith("\r\n", self.at)

    # --- words ----------------------------------------------------------------------------------------------

    def match(self, pattern: re.Pattern[str]) -> str | None:
        """Skip and return what the pattern matches here."""
        found = pattern.match(self.text, self.at)
        if not found:
            return None
        self.at = found.end()
        return found.group()

    def accept(self, text: str) -> bool:
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def name(self, what: str) -> str:
        """A name (`what` says of what, for the message)."""
        found = self.match(NAME)
        if found is None:
            hint = "names consist of letters, digits and underscores and do not start with a digit"
            raise self.error(f"expected {what}, found {self.found()}", hint=hint)
        return found

    def ends_word(self) -> bool:
        """Whether whitespace or the end of the file comes next."""
        return self.done or self.text[self.at] in WHITESPACE

    def ends_value(self) -> bool:
        """Whether a value may end here: at what ends a word, and at a closing bracket."""
        return self.ends_word() or self.text[self.at] == ")" or (self.in_list and self.text[self.at] == "]")

    # --- literals -------------------------------------------------------------------------------------------

    def literal(self) -> Literal | None:
        """A literal, or None when no literal starts here."""
        start, first = self.at, self.peek()
        if self.looking_at('"""'):
            return self._triple()
        if first in _QUOTED:
            return self._quoted(first)
        found = self.match(UNQUOTED)
        if found is None:
            return None
        if not self.ends_value():
            raise self._unquoted_error(start)
        return Literal(found, self.span(start), "bare")

    def _triple(self) -> Literal:
        start = self.at
        end = self.text.find('"""', start + 3)
        if end < 0:
            raise self.error("triple-quoted text is never closed", start, start + 3, hint='close it with """')
        # Quotes right before the closing mark belong to the text, as in """say "yes"""".
        while self.text.startswith('"', end + 3):
            end += 1
        self.at = end + 3
        self._check_literal_end(start)
        return Literal(self.text[start + 3 : end], self.span(start), "triple")

    def _quoted(self, quote: str) -> Literal:
        start = self.at
        found = _QUOTED[quote].match(self.text, start)
        if not found:
            raise self.error("quoted text is never closed", start, hint=f"close it with {quote}")
        self.at = found.end()
        self._check_literal_end(start)
        value = found.group(1)
        if "\\" in value:
            value = _ESCAPE.sub(lambda escape: self._unescape(escape, start + 1), value)
        return Literal(value, self.span(start), "double" if quote == '"' else "single")

    def _unescape(self, escape: re.Match[str], offset: int) -> str:
        code = escape.group(1)
        if code in _SIMPLE_ESCAPES:
            return _SIMPLE_ESCAPES[code]
        if code[0] == "u" and len(code) > 1:
            return chr(int(code[-4:], 16))
        if code[0] in "01234567":
            return chr(int(code, 8))
        hint = "write \\\\ for a backslash, or use triple quotes, in which nothing is special"
        at = offset + escape.start()
        raise self.error(f"unknown escape '\\{code}' in quoted text", at, at + len(code) + 1, hint=hint)

    def _check_literal_end(self, start: int) -> None:
        if self.ends_value():
            return
        hint = "put a space before '{'" if self.peek() == "{" else "put all of the value inside the quotes"
        raise self.error(f"expected a space after quoted text, found {self.found()}", hint=hint)

    def _unquoted_error(self, start: int) -> TapeError:
        bad = self.peek()
        rest = _WORD.match(self.text, start).group()
        if bad in "$@":
            message = f"'{bad}' cannot stand inside a value: variables are not expanded in text"
            hint = "join the parts in the body of a task, or put the text in quotes to have it as it is"
            if _OF_TASK.fullmatch(rest):
                hint = f"for a variable of a task write ${rest}"
        elif bad == ")":
            message, hint = "unexpected ')'", None
        else:
            message = f"'{bad}' cannot stand in an unquoted value"
            rest = rest.rstrip("]") if self.in_list else rest
            hint = f'quote it: "{rest}"' if not set(rest) & set("\"'\\()") else "quote it"
        return self.error(message, hint=hint)
