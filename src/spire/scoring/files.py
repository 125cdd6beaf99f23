"""Reading text line by line without guessing, and writing so that a reader never meets half a file.

Every output is made under a temporary name beside its target and renamed into place; an exception leaves the target as
it was.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spire.errors import UserError


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
    return text.removesuffix("\n").split("\n") if text else []


def read_json(path: Path) -> object:
    """The JSON value in `path`; `UserError` with line and column where it cannot be parsed."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as e:
        raise UserError(f"{path}:{e.lineno}:{e.colno}: not JSON: {e.msg}") from None


def read_jsonl(path: Path) -> list[dict]:
    """One object for each line; `UserError` with the line number for anything else, blank lines included."""
    records = []
    for number, line in enumerate(read_lines(path), start=1):
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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The random name keeps two processes that write the same target out of each other's way.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(content)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Make `path` hold exactly `text` as UTF-8, without newline translation; atomic."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Make `path` hold `value` as indented JSON with a last newline; atomic. NaN and infinities raise `ValueError`."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; on success it becomes `path`, on an exception it vanishes and `path` stays as it
    was.

    An existing `path` is replaced as a whole, so that no file of an earlier run survives among the new ones.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        os.chmod(temporary, 0o777 & ~_umask())
        yield temporary
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
            os.replace(path, old / path.name)
            os.replace(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _umask() -> int:
    # There is no way to read the mask without setting it; steps are single-threaded here.
    mask = os.umask(0)
    os.umask(mask)
    return mask
