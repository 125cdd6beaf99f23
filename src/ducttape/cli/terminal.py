"""Talking to a person: colours where they are wanted, questions that survive the end of the input."""

from __future__ import annotations

import os
import sys

from ducttape.run.progress import put

_CODES = {
    "RUN:": "32", "BUILD:": "32", "KEEP:": "33", "DELETE:": "31", "MOVE TO ATTIC:": "33", "WAIT FOR LOCK:": "33",
    "start": "36", "done": "32", "kept": "36", "failed": "1;31", "wait": "33", "interrupted": "1;33",
    "sent": "36", "again": "33",
    "error": "1;31", "warning": "1;33", "hint": "36", "task": "36", "realization": "34", "full": "33",
    "complete": "32", "stale": "33", "incomplete": "31", "absent": "90", "waiting": "34",
}  # fmt: skip


class Paint:
    """Adds colour codes to text for one stream; without a terminal, with NO_COLOR or with `-n` it returns the text."""

    def __init__(self, stream, wanted: bool = True):
        self._on = wanted and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()

    def __call__(self, text: str, kind: str) -> str:
        code = _CODES.get(kind)
        return f"\x1b[{code}m{text}\x1b[0m" if self._on and code else text


def say(text: str = "") -> None:
    """A line for the person, on stderr."""
    put(sys.stderr, text + "\n")


def error_text(text: str, paint: Paint) -> str:
    """A rendered diagnostic with its severity and its hint coloured."""
    lines = []
    for line in text.split("\n"):
        for word in ("error", "warning", "hint"):
            at = line.find(f"{word}: ")
            if at == 0 or (at > 0 and line[at - 2 : at] == ": "):
                line = line[:at] + paint(f"{word}:", word) + line[at + len(word) + 1 :]
                break
        lines.append(line)
    return "\n".join(lines)


def confirm(question: str, yes: bool) -> bool:
    """Ask on stderr; `yes`, `y`, `true`, `t` mean yes, anything else no. `-y` answers, the end of the input
    means no.
    """
    if yes:
        return True
    print(f"{question} [y/n] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline() if sys.stdin else ""
    if not answer:
        say("no answer")
        say("hint: -y answers yes to all questions")
        return False
    return answer.strip().lower() in ("y", "yes", "t", "true")


def table(rows: list[list[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Rows as lines with aligned columns; the columns in `right` are aligned to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [
        "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
