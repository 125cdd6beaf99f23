"""How much room files take, and how to say it."""

from __future__ import annotations

import os
from pathlib import Path


def size_of(path: Path) -> int:
    """Bytes of a file or of all files below a directory; links are not followed, an inode counts once.

    What cannot be looked at (it vanished, or may not be read) counts as nothing.
    """
    seen: set[tuple[int, int]] = set()
    return _entry_size(path, seen) + sum(
        _entry_size(Path(folder, name), seen) for folder, _, names in os.walk(path) for name in names
    )


def size_text(size: int) -> str:
    """`12 bytes`, `3.4 kB`, `120 MB`, decimal units."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 9.95 else f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def _entry_size(path: Path, seen: set[tuple[int, int]]) -> int:
    try:
        stat = os.lstat(path)
    except OSError:
        return 0
    inode = (stat.st_dev, stat.st_ino)
    if os.path.isdir(path) or inode in seen:
        return 0
    seen.add(inode)
    return stat.st_size
