"""Values that need arithmetic or the file system: sequences of decimals and paths of inputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ducttape.syntax import sequences
from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.source import Span
from ducttape.syntax.tree import BranchPoint, Grafted, ListOf, SequencePoint, Value


def expand_sequence(node: SequencePoint) -> tuple[str, ...]:
    """The branch names of `first..last..step` in order. Raises TapeError for one that is empty, endless or too long."""
    wrong = sequences.problem(node.first, node.last, node.step)
    if wrong:
        raise TapeError(Diagnostic(f"branch point '{node.name}': {wrong[0]}", node.span, hint=wrong[1]))
    return tuple(sequences.texts(node.first, node.last, node.step))


def unusable(text: str) -> str | None:
    """Why a text can be neither a file name nor the value of an environment variable; None when it can be both."""
    if "\0" in text:
        return "a value cannot hold the character NUL"
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "a value cannot hold half of a surrogate pair"
    return None


def mentions(value: Value | None) -> Iterator[BranchPoint | SequencePoint]:
    """Every branch point written inside a value, outer ones first."""
    if isinstance(value, SequencePoint):
        yield value
    elif isinstance(value, BranchPoint):
        yield value
        for branch in value.branches:
            yield from mentions(branch.value)
    elif isinstance(value, Grafted):
        yield from mentions(value.variable)
    elif isinstance(value, ListOf):
        for item in value.items:
            yield from mentions(item)


def input_path(text: str, span: Span) -> Path:
    """The absolute path that an input literal names: `~` expanded, otherwise relative to the file it is written in.

    `..` is folded away only where that names the same place, that is, where no symbolic link is crossed.
    """
    if text.startswith("~"):
        expanded = os.path.expanduser(text)
        if expanded.startswith("~"):
            expanded = "/home/" + expanded[1:]
        text = expanded
    raw = os.path.join(span.source.directory, text)
    folded = os.path.normpath(raw)
    return Path(folded if os.path.realpath(folded) == os.path.realpath(raw) else raw)
