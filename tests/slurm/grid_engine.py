"""A real Grid Engine on this machine, from Debian's packages, for tests (sge_local.sh)."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

PACKAGES = {"sge_qmaster": "gridengine-master", "sge_execd": "gridengine-exec", "qsub": "gridengine-client"}
_FOLDER = Path("/usr/lib/gridengine")
_SCRIPT = Path(__file__).with_name("sge_local.sh")


def missing() -> str | None:
    """What keeps a real Grid Engine from running here, as a sentence for a skipped test."""
    absent = [package for program, package in PACKAGES.items() if not (_FOLDER / program).exists()]
    if absent:
        return f"Grid Engine is not installed: apt-get install {' '.join(absent)}"
    return "starting sge_qmaster and sge_execd needs root" if os.geteuid() != 0 else None


@contextlib.contextmanager
def started(folder: Path) -> Iterator[dict[str, str]]:
    """The environment variables that its commands need."""
    _script("up", folder)
    try:
        said = subprocess.run(["bash", str(_SCRIPT), "env", str(folder)], capture_output=True, text=True, check=True)
        yield {name: value.strip("'") for name, value in re.findall(r"(SGE_\w+)=(\S+)", said.stdout)}
    finally:
        _script("down", folder)


def _script(verb: str, folder: Path) -> None:
    # Not a pipe: the daemons would keep it open.
    with open(folder.with_suffix(".log"), "ab") as log:
        done = subprocess.run(
            ["bash", str(_SCRIPT), verb, str(folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=120
        )
    assert done.returncode == 0, folder.with_suffix(".log").read_text()
