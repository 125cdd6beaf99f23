"""Runs the command as if its file system or its clock misbehaved: `python strange_systems.py KIND SECONDS TAPE ...`.

late   what another process put into a task's place within the last SECONDS is not found there
clock  the time of day jumps back or ahead by up to SECONDS whenever it is asked for
"""

from __future__ import annotations

import builtins
import os
import random
import sys
import time

REAL = {"stat": os.stat, "lstat": os.lstat, "open": builtins.open, "scandir": os.scandir, "time": time.time}


def late(seconds: float) -> None:
    mine: set[int] = set()

    def hidden(path) -> bool:
        parts = () if isinstance(path, int) else os.fsdecode(path).partition("/out/")[2].split("/")
        if len(parts) < 2 or parts[0].startswith(".") or parts[1].endswith(".LOCK"):
            return False
        try:
            found = REAL["lstat"](path)
        except OSError:
            return False
        return found.st_ino not in mine and REAL["time"]() - found.st_ctime < seconds

    def check(path) -> None:
        if hidden(path):
            raise FileNotFoundError(2, "No such file or directory", os.fsdecode(path))

    def looked_at(function):
        def call(path, *arguments, **keywords):
            check(path)
            return function(path, *arguments, **keywords)

        return call

    def opened(path, mode="r", *arguments, **keywords):
        if not any(c in mode for c in "wax"):
            check(path)
        file = REAL["open"](path, mode, *arguments, **keywords)
        if any(c in mode for c in "wax"):
            mine.add(os.fstat(file.fileno()).st_ino)
        return file

    os.stat, os.lstat = looked_at(REAL["stat"]), looked_at(REAL["lstat"])
    os.path.exists = lambda path: _try(os.stat, path)
    os.path.lexists = lambda path: _try(os.lstat, path)
    builtins.open = opened


def _try(function, path) -> bool:
    try:
        function(path)
    except (OSError, ValueError):
        return False
    return True


def clock(seconds: float) -> None:
    chance = random.Random(1)
    time.time = lambda: REAL["time"]() + chance.uniform(-seconds, seconds)


if __name__ == "__main__":
    {"late": late, "clock": clock}[sys.argv[1]](float(sys.argv[2]))
    sys.argv = ["ducttape", *sys.argv[3:]]
    from ducttape.cli.main import console

    console()
