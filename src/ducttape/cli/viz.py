"""`viz`: the graph on stdout: `--format dot` (the default), `mermaid`, or `svg`, which needs no other program.

Nodes are `TASK/FULL_NAME`, edges are labelled `input=$output@task`. `-T packed` has one node per task.
"""

from __future__ import annotations

import sys

from ducttape.cli.arguments import OPTIONS
from ducttape.cli.graph import graph_of
from ducttape.cli.session import Session
from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean

# The original looks at the first letter only.
_TYPES = {"u": "unpacked", "p": "packed", "d": "debug"}
_FORMATS = next(option.choices for option in OPTIONS if "--format" in option.names)


def run(options) -> int:
    kind, form = options.viz_type, options.format or "dot"
    if kind in _FORMATS:
        kind, form = "unpacked", kind
    elif kind[:1] not in _TYPES or not _TYPES[kind[:1]].startswith(kind):
        hint = did_you_mean(kind, [*_TYPES.values(), *_FORMATS])
        raise TapeError(Diagnostic(f"-T {kind}: unknown kind of graph", hint=hint))
    session = Session(options)
    graph = graph_of(session.selected(), session.plan.tasks, packed=kind.startswith("p"))
    sys.stdout.write(_render(form)(graph))
    return 0


def _render(form: str):
    if form == "svg":
        from ducttape.cli.graph_svg import svg

        return svg
    from ducttape.cli.graph_text import dot, mermaid

    return dot if form == "dot" else mermaid
