"""A copy of the project in which a smoke study runs as a user runs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DUCTTAPE = str(Path(sys.executable).parent / "ducttape")


def copied(root: Path) -> Path:
    """All that a study needs, in the new folder `root`."""
    for name in ("src", "scripts", "tasks", "tapes", "configs", "data"):
        shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("main.tape", "pyproject.toml"):
        shutil.copy(PROJECT / name, root / name)
    return root


def run(study: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [DUCTTAPE, "main.tape", *arguments],
        cwd=study,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=1200,
        **options,
    )
