"""The submitters and versioners that come with the engine, read from `ducttape/library/*.tape` when one is needed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ducttape.syntax.parser import parse
from ducttape.syntax.source import Source
from ducttape.syntax.tree import Group

# Those that are parts of the engine and not written in the language.
ENGINE_SUBMITTERS = ("shell", "slurm")
_FOLDER = Path(__file__).parents[1] / "library"


@cache
def library(kind: str) -> dict[str, Group]:
    """All shipped blocks of one kind, `submitter` or `versioner`, by name."""
    path = _FOLDER / f"{kind}s.tape"
    source = Source(f"ducttape/library/{path.name}", path.read_text(encoding="utf-8"), path)
    return {block.name: block for block in parse(source).blocks if isinstance(block, Group) and block.kind == kind}
