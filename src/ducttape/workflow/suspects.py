"""What is valid and hardly meant: unquoted values that end in a comma or a semicolon, and `-D` of what nothing reads.

`(Size: small, big)` has a branch called `small,`, as it always had in this language. In quotes it is taken as meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ducttape.syntax.diagnostics import Diagnostic, did_you_mean
from ducttape.syntax.tree import Assignment, BranchPoint, GlobalVariable, Grafted, ListOf, Literal, SameGlobal, Value


def suspects(values: Iterable[Value | None]) -> Iterator[Diagnostic]:
    """A warning for each such literal, in the order of the text."""
    for value in values:
        if isinstance(value, Literal):
            if value.form == "bare" and value.value[-1] in ",;":
                mark = "comma" if value.value[-1] == "," else "semicolon"
                yield Diagnostic(
                    f"the {mark} belongs to the value '{value.value}'",
                    value.span,
                    hint=f"values are separated by blanks; write '{value.value}' in quotes if it is meant",
                    severity="warning",
                )
        elif isinstance(value, BranchPoint):
            yield from suspects(branch.value for branch in value.branches)
        elif isinstance(value, ListOf):
            yield from suspects(value.items)


def unread_defines(defines: Mapping[str, str], items: Iterable[Assignment]) -> Iterator[Diagnostic]:
    """A warning for each `-D name=value` that no value among `items` (all assignments of the workflow) reads."""
    names = [name for name in defines if not name.startswith("ducttape_")]
    if not names:
        return
    read: dict[str, None] = {}
    for item in items:
        read.update(dict.fromkeys(globals_read(item.value, item.name)))
    for name in names:
        if name not in read:
            yield Diagnostic(
                f"-D {name}={defines[name]} has no effect: nothing reads the global '{name}'",
                hint=did_you_mean(name, read),
                severity="warning",
            )


def globals_read(value: Value | None, left: str) -> Iterator[str]:
    """The names of the globals that a value reads when it stands to the right of `left=`."""
    match value:
        case GlobalVariable():
            yield value.name
        case SameGlobal():
            yield left
        case Grafted():
            yield from globals_read(value.variable, left)
        case BranchPoint():
            for branch in value.branches:
                yield from globals_read(branch.value, left)
        case ListOf():
            for item in value.items:
                yield from globals_read(item, left)
