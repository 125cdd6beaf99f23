"""Errors and warnings that point at the source.

The engine raises exactly one exception type for anything a user did: `TapeError`, which carries one or more
`Diagnostic`s. Anything else that escapes is a bug of the engine.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from ducttape.syntax.source import Span


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """What happened (`message`), where (`span`), a related place (`other` with its label), and what to do (`hint`)."""

    message: str
    span: Span | None = None
    hint: str | None = None
    other: Span | None = None
    other_label: str = "declared here"
    severity: str = "error"

    def render(self) -> str:
        """The message as plain text: `file:line:column: error: ...`, the source line, a caret, the hint."""
        where = f"{self.span}: " if self.span else ""
        lines = [f"{where}{self.severity}: {self.message}"]
        if self.span:
            lines += _excerpt(self.span)
        if self.other:
            lines.append(f"{self.other}: note: {self.other_label}")
            lines += _excerpt(self.other)
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


def _excerpt(span: Span) -> list[str]:
    line, column = span.source.position(span.start)
    text = span.source.line(line)
    width = max(1, min(span.end - span.start, len(text) - column + 1))
    # Tabs are kept in the padding so that the caret stays under the text in any tab width.
    padding = "".join("\t" if c == "\t" else " " for c in text[: column - 1])
    return [f"    {text}", f"    {padding}{'^' * width}"]


class TapeError(Exception):
    """One or more problems with what the user wrote or asked for."""

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic]):
        self.diagnostics = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        super().__init__("\n".join(d.render() for d in self.diagnostics))


def did_you_mean(name: str, candidates: Iterable[str]) -> str | None:
    """A hint naming the nearest candidate, or the candidates when none is near, or None when there are none."""
    names = list(dict.fromkeys(candidates))
    near = (
        [other for other in names if other.lower() == name.lower()]
        or difflib.get_close_matches(name, names, n=1, cutoff=0.75)
        or sorted((other for other in names if len(other) > 2 and name.startswith(other)), key=len, reverse=True)
        or difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    )
    if near:
        return f"did you mean '{near[0]}'?"
    if names:
        return "known names: " + ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")
    return None
