"""Where a bash text that started inside braces ends, found by lexing quotes, expansions, heredocs and brackets.

This is a lexer, not a grammar: it counts all unquoted braces, as people expect and as tapes have always been read, so a
lone unquoted `{` or `}` (`grep -c {`) misleads it. The caller checks its answer with a real bash grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

# A line that looks like the start of the next block of the tape, which a body hardly has outside quotes and heredocs.
_BLOCK = (
    r"[ \t]*(?:(?:task|func|package|submitter|versioner|action|summary|of|group|branchpoint|baseline|branch)"
    r"[ \t]+[A-Za-z_][A-Za-z0-9_]*\s*(?:[{<>:#]|//|/\*|calls[ \t])"
    r"|(?:plan|global|config)(?:[ \t]+\w+)?[ \t]*\{[ \t\r]*$)"
)
BLOCK_LINE = re.compile("^" + _BLOCK, re.MULTILINE | re.ASCII)
_BLOCK_HERE = re.compile(_BLOCK, re.MULTILINE | re.ASCII)
_MAX_CROSSED = 4
_TRAILING = re.compile(r"[ \t\r]*(?:\n|\Z)")
_CODE = re.compile(r"""['"\\`(){}#<\n$]|\b(?:case|esac)\b""", re.ASCII)
_DOUBLE = re.compile(r'["\\`$]')
_PARAM = re.compile(r"""['"\\`{}$]""")
_ARITH = re.compile(r"""['"\\`()$\n]""")
_HEREDOC = re.compile(r"""<<(-?)[ \t]*((?:\\.|'[^'\n]*'|"[^"\n]*"|[^\s;&|<>()'"\\])+)""", re.ASCII)
_ANSI_C = re.compile(r"\$'(?:[^'\\]|\\.)*'", re.DOTALL)
_COMMAND_START = re.compile(r"(?:^|[\n;&|({`!]|\b(?:then|do|else|elif|time|if|while|until))[ \t]*\Z", re.ASCII)
_ARITH_START = re.compile(r"(?:^|[\n;&|({`!]|\b(?:then|do|else|elif|time|if|while|until|for))[ \t]*\Z", re.ASCII)
_UNQUOTE = re.compile(r"\\(.)|['\"]")
_COMMENT_BEFORE = frozenset(" \t\r\n;&|()<>`")
_PATTERNS = {'"': _DOUBLE, "${": _PARAM, '"${': _PARAM, "((": _ARITH}
_WORDS = {
    "'": "the single quote",
    '"': "the double quote",
    "`": "the backquote",
    "(": "the parenthesis",
    "$(": "the '$('",
    "((": "the '(('",
    "{": "the brace",
    "${": "the '${'",
    '"${': "the '${'",
    "<<": "the heredoc",
}


@dataclass(frozen=True, slots=True)
class Scan:
    """`end`: offset of the closing brace, or None. `limit`: where the next block seems to start.

    `open_at` and `open_what` name what was left open when there is no end (a quote that swallows the start of a block
    before anything else), `stray` a closing brace that was passed over because text follows it on its line.
    """

    end: int | None
    limit: int
    open_at: int | None = None
    open_what: str = ""
    stray: int | None = None


def ends_line(text: str, at: int) -> bool:
    """Whether only blanks follow the character at `at` on its line."""
    return _TRAILING.match(text, at + 1) is not None


def _terminator(delimiter: str, tabs: bool) -> re.Pattern[str]:
    indent = r"\t*" if tabs else ""
    return re.compile(rf"^{indent}{re.escape(delimiter)}\r?$", re.MULTILINE)


@lru_cache(maxsize=32)
def _last(text: str, delimiter: str, tabs: bool) -> int:
    """Where the last line that ends such a heredoc starts, or -1. Remembered: a tape may have many that never end."""
    if not tabs and f"\n{delimiter}" not in text:
        return -1
    last = -1
    for found in _terminator(delimiter, tabs).finditer(text):
        last = found.start()
    return last


def scan(text: str, start: int) -> Scan:
    """Scan the bash text that starts at `start`, right behind its opening brace. Linear in the length scanned."""
    found = _Scanner(text, start, nested=True).run()
    if found.end is None or found.end > found.limit:
        # `${x%{*}` holds a lone brace, `${x:-{a}}` two that people think of as a pair: only the end tells them apart.
        second = _Scanner(text, start, nested=False).run()
        if second.end is not None and second.end < second.limit:
            return second
    return found


class _Scanner:
    def __init__(self, text: str, start: int, nested: bool):
        self.nested = nested
        self.text = text
        self.start = start
        self.at = start
        self.stack: list[tuple[str, int]] = []
        self.cases: list[int] = [0]
        self.heredocs: list[tuple[str, bool, int]] = []
        self.stray: int | None = None
        block = BLOCK_LINE.search(text, start)
        self.block = block.start() if block else len(text)
        self.swallower: tuple[str, int] | None = None
        self.substitutions = 0
        self.limit = len(text)
        self.crossed = 0

    def run(self) -> Scan:
        text = self.text
        while True:
            kind = self.stack[-1][0] if self.stack else ""
            found = _PATTERNS.get(kind, _CODE).search(text, self.at)
            if not found:
                return self._unfinished()
            at, token = found.start(), found.group()
            self.at = found.end()
            if token == "\\":
                self.at += 1
            elif token == '"':
                if kind == '"':
                    self._closed_quote(*self.stack[-1], at)
                    self._pop()
                else:
                    self._push('"', at)
            elif token == "`":
                self._backquote(at)
            elif token == "$":
                if not self._dollar(at, kind):
                    return self._unfinished(at, "'")
            elif token == "'":
                if kind != '"${':
                    end = text.find("'", at + 1)
                    if end < 0:
                        return self._unfinished(at, "'")
                    self._closed_quote("'", at, end)
                    self.at = end + 1
            elif kind in ("${", '"${'):
                if token == "}":
                    self._pop()
                elif self.nested:
                    self._push(kind, at)
            elif kind == "((":
                if token == "\n":
                    if self._crosses_too_much():
                        return self._unfinished()
                else:
                    self._push("((", at) if token == "(" else self._pop()
            else:
                stop = self._code(token, at)
                if stop is not None:
                    return stop

    # --- code -------------------------------------------------------------------------------------------------

    def _code(self, token: str, at: int) -> Scan | None:
        text = self.text
        if token in "{}" and self.cases[-1] and text[at + 1 : at + 2] in (")", "|"):
            pass  # A brace as the pattern of a case.
        elif token == "{":
            self._push("{", at)
        elif token == "}":
            if self.stack and self.stack[-1][0] == "{":
                self._pop()
            elif not self.stack and ends_line(text, at):
                return Scan(at, self.limit, stray=self.stray)
            elif not self.stack and self.stray is None:
                self.stray = at
                if _BLOCK_HERE.match(text, at + 1):
                    self.limit = at
                    return self._unfinished()
        elif token == "(":
            if text.startswith("(", at + 1) and _ARITH_START.search(text[max(self.start, at - 40) : at]):
                self._push("((", at)
                self._push("((", at)
                self.at = at + 2
            elif self.substitutions:
                # Elsewhere a parenthesis decides nothing, and may be alone: `a) ..` of a case, `[[ $x =~ [(] ]]`.
                self._push("(", at)
        elif token == ")":
            if self.stack and self.stack[-1][0] in ("(", "$(") and not self.cases[-1]:
                self._pop()
        elif token == "#":
            if at == self.start or text[at - 1] in _COMMENT_BEFORE:
                self.at = self._line_end(at)
        elif token == "<":
            self._less(at)
        elif token == "\n":
            return self._newline()
        elif token == "case":
            if _COMMAND_START.search(text[max(self.start, at - 40) : at]):
                self.cases[-1] += 1
        elif self.cases[-1]:
            self.cases[-1] -= 1
        return None

    def _less(self, at: int) -> None:
        text = self.text
        if text.startswith("<<<", at):
            self.at = at + 3
        elif text.startswith("<<", at):
            found = _HEREDOC.match(text, at)
            if found:
                delimiter = _UNQUOTE.sub(lambda quote: quote.group(1) or "", found.group(2))
                self.heredocs.append((delimiter, bool(found.group(1)), at))
                self.at = found.end()
            else:
                self.at = at + 2

    def _newline(self) -> Scan | None:
        for delimiter, tabs, at in self.heredocs:
            if not self._heredoc(delimiter, tabs):
                return self._unfinished(at, "<<")
        self.heredocs.clear()
        return self._unfinished() if self._crosses_too_much() else None

    def _heredoc(self, delimiter: str, tabs: bool) -> bool:
        """Skip the lines of a heredoc and the one that ends it; False when none does."""
        if _last(self.text, delimiter, tabs) < self.at:
            return False
        found = _terminator(delimiter, tabs).search(self.text, self.at)
        self.at = min(found.end() + 1, len(self.text))
        return True

    def _dollar(self, at: int, kind: str) -> bool:
        """Skip what a dollar starts; False when it is a quote that never ends."""
        text = self.text
        following = text[at + 1 : at + 2]
        if following == "{":
            self._push('"${' if kind in ('"', '"${') else "${", at)
            self.at = at + 2
        elif following == "(":
            if text.startswith("(", at + 2):
                self._push("((", at)
                self._push("((", at)
                self.at = at + 3
            else:
                self._push("$(", at)
                self.at = at + 2
        elif following == "'" and kind not in ('"', '"${'):
            found = _ANSI_C.match(text, at)
            if not found:
                return False
            self.at = found.end()
        elif following in ("$", "#"):
            self.at = at + 2
        return True

    def _backquote(self, at: int) -> None:
        """Close the backquotes that are open, with all that was left open inside, or open new ones."""
        for depth in range(len(self.stack) - 1, -1, -1):
            if self.stack[depth][0] == "`":
                while len(self.stack) > depth:
                    self._pop()
                return
        self._push("`", at)

    def _closed_quote(self, quote: str, opened: int, closed: int) -> None:
        if self.swallower is None and opened < self.block < closed:
            self.swallower = quote, opened

    def _line_end(self, at: int) -> int:
        end = self.text.find("\n", at)
        return len(self.text) if end < 0 else end

    def _push(self, kind: str, at: int) -> None:
        self.substitutions += kind == "$("
        self.stack.append((kind, at))
        self.cases.append(0)

    def _pop(self) -> None:
        self.substitutions -= self.stack.pop()[0] == "$("
        self.cases.pop()

    def _crosses_too_much(self) -> bool:
        """Note that a new line begins; True when so many blocks seem to start that looking on is a waste."""
        if self.at >= self.block and BLOCK_LINE.match(self.text, self.at):
            self.limit = min(self.limit, self.at)
            self.crossed += 1
        return self.crossed > _MAX_CROSSED

    def _unfinished(self, open_at: int | None = None, what: str = "") -> Scan:
        if self.swallower is not None:
            what, open_at = self.swallower
        elif open_at is None and self.stack:
            what, open_at = self.stack[-1]
        return Scan(None, min(self.limit, self.block), open_at, _WORDS.get(what, ""), self.stray)
