"""`check`: every error and warning of a tape and its plans, on stdout; nothing is run. Exits with 1 on errors only."""

from __future__ import annotations

import json
import sys

from ducttape.cli.terminal import Paint, error_text, say
from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.source import Span


def run(options) -> int:
    found = _found(options)
    if options.json:
        print(json.dumps([_row(diagnostic) for diagnostic in found], indent=1, ensure_ascii=False))
    else:
        paint = Paint(sys.stdout, not options.no_color)
        for diagnostic in found:
            print(error_text(diagnostic.render(), paint))
    errors = sum(diagnostic.severity == "error" for diagnostic in found)
    say(", ".join(_count(number, word) for number, word in ((errors, "error"), (len(found) - errors, "warning"))))
    return 1 if errors else 0


def _found(options) -> list[Diagnostic]:
    from ducttape.cli.session import defines_of
    from ducttape.plan.lint import lint
    from ducttape.workflow.loader import load

    try:
        return lint(load(options.tape, options.config_file, defines_of(options)))
    except TapeError as error:
        return list(error.diagnostics)


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def _row(diagnostic: Diagnostic) -> dict:
    row = {"severity": diagnostic.severity, "message": diagnostic.message, **_place(diagnostic.span)}
    if diagnostic.hint:
        row["hint"] = diagnostic.hint
    if diagnostic.other:
        row["related"] = {"message": diagnostic.other_label, **_place(diagnostic.other)}
    return row


def _place(span: Span | None) -> dict:
    """Where a span is; lines and columns count from 1, the end is exclusive."""
    if span is None:
        return {}
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(max(span.start, span.end))
    return {"file": span.source.name, "line": line, "column": column, "end_line": end_line, "end_column": end_column}
