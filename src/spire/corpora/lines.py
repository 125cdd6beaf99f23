"""JSONL and line files: read with the place of every fault, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from spire.errors import UserError


def read_jsonl(path: str | Path) -> list[dict]:
    """One JSON object a line; empty lines are skipped. Raises UserError naming file and line."""
    rows = []
    for number, text in enumerate(read_lines(path), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as e:
            raise UserError(f"{path}:{number}: not JSON: {e}") from e
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: expected an object, found {type(row).__name__}")
        rows.append(row)
    return rows


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file without their line ends; empty lines are kept. Only "\\n" ends a line."""
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not UTF-8 at byte {e.start}") from e
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def write_jsonl(path: str | Path, rows: Iterable[dict]) -> int:
    """Write one object a line (not escaped to ASCII) atomically; returns the number of lines."""
    return write_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))


def write_lines(path: str | Path, lines: Iterable[str]) -> int:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    count = 0
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as f:
            for line in lines:
                f.write(line + "\n")
                count += 1
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def free_directory(path: str | Path) -> Path:
    """`path`, which a directory can be renamed to: it does not exist, or is an empty directory. UserError otherwise."""
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} exists", hint="remove it or give another --out")
    return path
