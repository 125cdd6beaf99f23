"""The values in a result file, so that two results can be compared value by value.

A value is a leaf of a JSON text, named by its path (`bleu`, `by_length.0.n`); a file that holds one number has one
value named "". Of a directory every file that has values counts, under its relative name.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

_LARGEST_FILE = 1 << 20
_MOST_FILES = 1000
_MOST_VALUES = 20_000

Values = dict[str, float | int | str | bool | None]


def values_of(path: Path) -> Values:
    """All values of a file or directory; empty when it holds none, is too large (1 MiB a file), or is not there."""
    if not path.is_dir():
        return _file_values(path)
    found: Values = {}
    files = 0
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            if not name.endswith(".json") or name.startswith("ducttape_"):
                continue
            files += 1
            if files > _MOST_FILES or len(found) > _MOST_VALUES:
                return found
            inside = os.path.relpath(os.path.join(folder, name), path)
            found |= {f"{inside}:{key}": value for key, value in _file_values(Path(folder, name)).items()}
    return found


def differing(old: Values, new: Values) -> dict[str, tuple]:
    """Name -> (old, new) of all values that are not equal; None stands for one that is missing.

    Numbers that both have come first, then other values that both have.
    """
    names = dict.fromkeys([*old, *new])
    found = [n for n in names if n not in old or n not in new or not _same(old[n], new[n])]
    found.sort(
        key=lambda n: 2 if n not in old or n not in new else 0 if _is_number(old[n]) and _is_number(new[n]) else 1
    )
    return {n: (old.get(n), new.get(n)) for n in found}


def in_words(name: str, old, new) -> str:
    """One changed value as text, with the difference of numbers."""
    text = f"{name} {_shown(old)} -> {_shown(new)}".strip()
    if _is_number(old) and _is_number(new):
        text += f" ({new - old:+.6g})"
    return text


def _same(old, new) -> bool:
    return old == new or (old != old and new != new)


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value) -> str:
    if value is None:
        return "none"
    text = f"{value:.10g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _file_values(path: Path) -> Values:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return {}
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    found: Values = {}
    stack = [("", data)]
    while stack and len(found) < _MOST_VALUES:
        name, value = stack.pop()
        dot = f"{name}." if name else ""
        if isinstance(value, dict):
            stack += [(f"{dot}{key}", inner) for key, inner in reversed(value.items())]
        elif isinstance(value, list):
            stack += [(f"{dot}{i}", value[i]) for i in reversed(range(len(value)))]
        else:
            found[name] = value
    return found
