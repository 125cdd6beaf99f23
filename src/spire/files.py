"""Outputs that appear whole or not at all, also when several processes or hosts write the same path at once."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spire.errors import UserError


@contextmanager
def replaced_file(path: str | Path) -> Iterator[Path]:
    """A new name beside `path` to write to; it becomes `path` when the block ends, and vanishes when the block fails.

    The name holds random digits, because two hosts that share a cache may have equal process ids.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: str | Path) -> Iterator[Path]:
    """The same for a folder: an older `path` is replaced whole; what a killed run left of its own is removed first.

    For folders that one process at a time writes (a task's own output), unlike `replaced_file`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    partial.mkdir()
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def free_directory(path: str | Path) -> Path:
    """`path`, which a directory can be renamed to: it does not exist, or is an empty directory. UserError otherwise."""
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} exists", hint="remove it or give another --out")
    return path
