"""Settings out of a pickle as plain Python, whatever classes they were wrapped in: argparse, omegaconf, enums."""

from __future__ import annotations

from spire.foreign.source import refuse
from spire.foreign.unpickle import Name, Record


def plain(value: object, where: str, nodes: int = 200_000, depth: int = 32) -> object:
    """Settings as plain Python: None, bool, int, float, str, list, dict with text keys.

    A Record becomes its state or items: argparse.Namespace its attributes; an omegaconf node its content or value; an
    enum member (one plain argument, no state) that argument. Names become their text; arrays and bytes become None.
    UserError beyond `nodes` values or `depth` levels, which shared parts can reach from a small file.
    """
    left = nodes

    def walk(value: object, level: int) -> object:
        nonlocal left
        left -= 1
        if left < 0 or level > depth:
            refuse(where, f"holds settings of more than {nodes} values or {depth} levels")
        if isinstance(value, Record):
            value = _content(value)
        if isinstance(value, dict):
            return {str(key): walk(item, level + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [walk(item, level + 1) for item in value]
        if isinstance(value, set | frozenset):
            return sorted(str(item) for item in value)
        if isinstance(value, Record):
            return walk(value, level + 1)
        if isinstance(value, Name):
            return str(value)
        return value if value is None or isinstance(value, bool | int | float | str) else None

    return walk(value, 0)


def _content(record: Record) -> object:
    state = record.state
    if isinstance(state, dict):
        for key in ("_content", "_val"):
            if key in state:
                return state[key]
        return state
    if record.pairs or record.items:
        return record.pairs or record.items
    return record.args[0] if len(record.args) == 1 else None
