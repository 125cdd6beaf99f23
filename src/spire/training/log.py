"""Append-only JSONL logs that can be followed while a run is going, and read back afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


class JsonLines:
    """One JSON object a line, flushed line by line. Floats are written with six significant digits.

    `copy` (if given) is called with the fields of every line, also of those that `restore` brings back.
    """

    def __init__(self, path: str | Path, copy: Callable[[dict], None] | None = None):
        self.path, self._copy = Path(path), copy
        self._file = self.path.open("w", encoding="utf-8")

    def write(self, **fields) -> None:
        self._file.write(json.dumps(_short(fields), ensure_ascii=False) + "\n")
        self._file.flush()
        if self._copy is not None:
            self._copy(fields)

    def contents(self) -> str:
        """All that was written so far."""
        return self.path.read_text("utf-8")

    def restore(self, text: str) -> None:
        """Go on after `text`, the contents of an earlier run's log."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(text)
        self._file.flush()
        if self._copy is not None:
            for line in text.splitlines():
                self._copy(json.loads(line))

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def _short(value):
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    return value


def read_jsonl(path: str | Path) -> list[dict]:
    """All objects of a JSONL file; blank lines are skipped."""
    with Path(path).open(encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]
