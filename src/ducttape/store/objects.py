"""The small JSON files that the engine leaves beside results."""

from __future__ import annotations

import json
from pathlib import Path


def read_object(path: Path) -> dict:
    """The JSON object in a file; empty when there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
