"""Runs the real command on tapes written by a test."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import ducttape

SOURCE = Path(ducttape.__file__).resolve().parents[1]


def environment(**more) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), "HOME": "/nonexistent", "NO_COLOR": "1", **more}


def command(*arguments) -> list[str]:
    return [sys.executable, "-P", "-m", "ducttape", *map(str, arguments)]


@dataclass
class Place:
    """A folder with a tape in it; results go to its `out`."""

    folder: Path

    def tape(self, text: str, name: str = "x.tape") -> Path:
        path = self.folder / name
        packages = "global {\n  ducttape_experimental_packages=true\n}\n" if "package " in text else ""
        path.write_text(text + packages)
        return path

    def run(self, *arguments, answer: str = "", tape: str = "x.tape", **options) -> subprocess.CompletedProcess:
        done = subprocess.run(
            command(tape, "-O", "out", *arguments),
            cwd=self.folder,
            input=answer,
            capture_output=True,
            text=True,
            timeout=120,
            env=environment(**options),
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self, *arguments, tape: str = "x.tape") -> subprocess.Popen:
        return subprocess.Popen(
            command(tape, "-O", "out", *arguments),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def read(self, path: str) -> str:
        return (self.folder / "out" / path).read_text()

    def outputs(self) -> dict[str, bytes]:
        """Every file that tasks made, without the engine's own files, the attic and the history."""
        found = {}
        for path in sorted((self.folder / "out").rglob("*")):
            name = str(path.relative_to(self.folder / "out"))
            if path.is_file() and not name.startswith(".") and not path.name.startswith("ducttape"):
                found[name] = path.read_bytes()
        return found
