"""Reading text line by line without guessing, and writing so that a reader never meets half a file.

Every output is made under a temporary name beside its target and renamed into place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from spire.errors import UserError
from spire.files import replaced_file


def read_text(path: Path) -> str:
    """The file's text, decoded as UTF-8; `UserError` for a missing file or a byte that is not UTF-8."""
    path = Path(path)
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: byte {e.start} is not UTF-8") from None
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}", "check the path, or run the step that makes this file") from None


def read_lines(path: Path) -> list[str]:
    r"""Lines between `\n` characters only; a last `\n` ends the last line, so an empty file has no lines.

    `str.splitlines` would also break at U+2028 and similar characters, which a model may emit inside one hypothesis.
    """
    text = read_text(path)
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def read_json(path: Path) -> object:
    """The JSON value in `path`; `UserError` with line and column where it cannot be parsed."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as e:
        raise UserError(f"{path}:{e.lineno}:{e.colno}: not JSON: {e.msg}") from None


def read_jsonl(path: Path) -> list[dict]:
    """The object of each line that is not blank; `UserError` with the line number for anything else."""
    records = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as e:
            raise UserError(f"{path}:{number}:{e.colno}: not JSON: {e.msg}") from None
        if not isinstance(record, dict):
            raise UserError(f"{path}:{number}: expected a JSON object, found {type(record).__name__}")
        records.append(record)
    return records


def write_bytes(path: Path, content: bytes) -> None:
    """Make `path` hold exactly `content`, creating its folder; atomic."""
    with replaced_file(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Make `path` hold exactly `text` as UTF-8, without newline translation; atomic."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Make `path` hold `value` as indented JSON with a last newline; atomic. NaN and infinities raise `ValueError`."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Make `path` hold the lines, each ended by a newline; atomic, streamed. Returns their number."""
    count = 0
    with replaced_file(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as f:
        for line in lines:
            f.write(line + "\n")
            count += 1
    return count


def write_jsonl(path: Path, rows: Iterable[dict]) -> int:
    """Make `path` hold one object a line, not escaped to ASCII; atomic. Returns the number of lines."""
    return write_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))
