"""The program of the jobs: a copy of the runner and of all it imports from this package, made when they are sent.

Jobs may wait for days; editing or updating the engine meanwhile changes nothing in them.
"""

from __future__ import annotations

import functools
import shlex
import sys
from pathlib import Path

from ducttape.run.imports import parse_imports

_PACKAGE = "ducttape"
# Imported rather than named, because Python keeps the bytecode of imported files only.
_START = f"""import sys
sys.path.insert(0, sys.argv.pop(1))
from {_PACKAGE}.run.job import main
sys.exit(main(sys.argv[1:]))"""


@functools.cache
def _sources() -> dict[str, bytes]:
    """The files of the runner by their places under the folder that it is imported from.

    Of packages only the modules that are needed: what `ducttape` itself has is for other callers.
    """
    root = Path(__file__).parents[2]
    found: dict[str, bytes] = {}
    queue = [f"{_PACKAGE}.run.job"]
    while queue:
        name = queue.pop()
        place = name.replace(".", "/") + ".py"
        if place in found or not name.startswith(f"{_PACKAGE}.") or not (root / place).is_file():
            continue
        found[place] = (root / place).read_bytes()
        for _, module, names in parse_imports(found[place]):
            queue += [module, *(f"{module}.{inside}" for inside in names)]
    folders = {str(folder) for place in found for folder in Path(place).parents} - {"."}
    return found | {f"{folder}/__init__.py": b"" for folder in folders}


def write_runner(folder: Path) -> None:
    """Copy the runner below `folder`."""
    for name, text in _sources().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)


def job_script(runner: Path, tasks: Path) -> str:
    """A batch script whose process becomes the runner, so that Slurm's signals reach it."""
    words = [sys.executable, "-I", "-c", _START, str(runner), str(tasks)]
    return f'#!/bin/bash\nexec {" ".join(map(shlex.quote, words))} "${{SLURM_ARRAY_TASK_ID:-0}}"\n'
