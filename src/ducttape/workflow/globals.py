"""Which assignment of a global wins.

A name is given once, except that `config` blocks override each other by the rank of their file, and that a define
overrides everything. A `global` block is never overridden by another block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ducttape.syntax.diagnostics import Diagnostic
from ducttape.syntax.source import Source, Span
from ducttape.syntax.tree import Assignment, Block, Literal, Variables

# Ranks of files for their `config` blocks: the higher one wins. The files of -C follow these two, in their order.
TAPE, USER, FIRST_CONFIG = 0, 1, 2


def merge(
    blocks: Iterable[tuple[Block, int]], defines: Mapping[str, str], errors: list[Diagnostic]
) -> tuple[dict[str, Assignment], list[Diagnostic]]:
    """The winning assignment of each name, and notes that say which -C file overrides which.

    `blocks` come with the rank of their file. What is wrong goes to `errors`.
    """
    merged: dict[str, Assignment] = {}
    ranks: dict[str, tuple[str, int]] = {}
    overridden: dict[tuple[str, str], list[str]] = {}
    for block, layer in blocks:
        if not isinstance(block, Variables):
            continue
        if block.kind == "global" and block.name is not None:
            message = f"global blocks cannot have a name ('{block.name}')"
            errors.append(Diagnostic(message, block.span, hint="write global { ... }"))
            continue
        if block.name is not None:
            continue
        for item in block.assignments:
            rank = (block.kind, layer)
            known = ranks.get(item.name)
            if known is not None:
                if not (rank[0] == known[0] == "config" and layer != known[1]):
                    errors.append(_twice(item, merged[item.name]))
                    continue
                if layer < known[1]:
                    continue
                if known[1] >= FIRST_CONFIG:
                    files = (item.span.source.name, merged[item.name].span.source.name)
                    overridden.setdefault(files, []).append(item.name)
                # Deleting first moves the name to the place of the assignment that won.
                del merged[item.name]
            merged[item.name] = item
            ranks[item.name] = rank
    for name, value in defines.items():
        source = Source("-D", f"{name}={value}")
        whole, left = Span(source, 0, len(source.text)), Span(source, 0, len(name))
        literal = Literal(value, Span(source, len(name) + 1, len(source.text)))
        merged[name] = Assignment(name, literal, whole, left)
    return merged, [_note(*files, names) for files, names in overridden.items()]


def _twice(item: Assignment, first: Assignment) -> Diagnostic:
    return Diagnostic(
        f"global '{item.name}' is defined twice",
        item.name_span,
        hint=f"to override it, pass -D {item.name}=..., or set the default in a `config` block",
        other=first.name_span,
        other_label="first defined here",
    )


def _note(winner: str, loser: str, names: list[str]) -> Diagnostic:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return Diagnostic(f"{winner} overrides {loser}: {shown}", severity="note")
