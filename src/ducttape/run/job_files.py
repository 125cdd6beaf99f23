"""What a job on a compute node reads and writes: its spec, its attempt's directory, its result's place, its last word.

Guarantees: an attempt has a directory that no other attempt ever writes to; a result appears in the task's place in one
rename, complete; of two attempts at one result one wins and the other's is dropped; an older run never replaces what
a newer one made. Only what a job needs at every start is imported here: there may be thousands of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time

_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
OFFSET_DIGITS = 15


class Refused(Exception):
    """The task cannot run here; the text says why."""


def read_spec(tasks: str, index: int, patience: float = 60.0) -> dict:
    """The spec with number `index` of a submission's file: `tasks` with the suffix `.idx` has the place of each line.

    The files may become visible here a while after the job was sent: OSError or ValueError after `patience` seconds.
    """

    def read() -> dict | None:
        with open(f"{tasks}.idx", "rb") as f:
            f.seek(index * (OFFSET_DIGITS + 1))
            offset = int(f.read(OFFSET_DIGITS))
        with open(tasks, "rb") as f:
            f.seek(offset)
            return json.loads(f.readline())

    deadline = time.monotonic() + patience
    for pause in _pauses():
        try:
            return read()
        except (OSError, ValueError):
            if time.monotonic() > deadline:
                raise
        time.sleep(pause)
    raise AssertionError


def wait_for(look, patience: float, folder: str, why: str):
    """What `look()` returns once it is not None; `Refused(why)` when it still is after `patience` seconds."""
    deadline = time.monotonic() + patience
    for pause in _pauses():
        if (found := look()) is not None:
            return found
        if time.monotonic() > deadline:
            raise Refused(f"{why} (waited {patience:.0f} s)")
        time.sleep(pause)
        with contextlib.suppress(OSError):
            # A network file system may remember that a name was absent; this asks the server again.
            os.listdir(folder)
    raise AssertionError


def _pauses():
    yield from _PAUSES
    while True:
        yield _PAUSES[-1]


def read_json(path: str) -> dict | None:
    """The object in a file; None when there is no such file, or it is torn."""
    try:
        with open(path, encoding="utf-8") as f:
            found = json.load(f)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_json(path: str, data: dict, indent: int | None = None) -> None:
    """Replace `path`: readers see the old content or the whole new one."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.uname().nodename}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as f:
            f.write(json.dumps(data, indent=indent) + "\n")
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def fingerprint(identity: dict) -> str:
    """As `Identity.fingerprint`, of an identity as it stands in a record."""
    parts = [identity[name] for name in ("commands", "params", "packages", "inputs", "outputs")]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def claim(attempts: str) -> tuple[int, str]:
    """The number and the new, empty directory of the next attempt: no other process gets the same one."""
    os.makedirs(attempts, exist_ok=True)
    number = max(numbers(attempts), default=0) + 1
    while True:
        path = os.path.join(attempts, str(number))
        try:
            os.mkdir(path)
            return number, path
        except FileExistsError:
            number += 1


def numbers(folder: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(folder) if name.isascii() and name.isdigit()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def earlier(attempts: str, number: int, start: str, wanted: str) -> list[tuple[str, dict]]:
    """The directories and the start marks of earlier attempts at the result with the fingerprint `wanted`, the newest
    first.
    """
    found = []
    for before in sorted((n for n in numbers(attempts) if n < number), reverse=True):
        path = os.path.join(attempts, str(before))
        mark = read_json(os.path.join(path, start))
        if mark and mark.get("identity") == wanted:
            found.append((path, mark))
    return found


def holds(directory: str, names: dict, wanted: str, sizes) -> dict | None:
    """The record in `directory` when it is of the result with the fingerprint `wanted` and the outputs have their
    sizes; else None.
    """
    record = read_json(os.path.join(directory, names["record"]))
    if record is None or os.path.exists(os.path.join(directory, names["invalidated"])):
        return None
    try:
        if fingerprint(record["identity"]) != wanted:
            return None
        for name, path in record["identity"]["outputs"].items():
            if path != "absolute" and sizes(os.path.join(directory, path)) != record["output_sizes"].get(name):
                return None
    except (KeyError, TypeError, AttributeError, OSError):
        return None
    return record


def version_of(directory: str, names: dict) -> int:
    """The number of the run that made what is in `directory`; 0 when it does not say."""
    try:
        with open(os.path.join(directory, names["version"]), encoding="utf-8") as f:
            text = f.read().strip()
    except OSError:
        return 0
    return int(text) if text.isascii() and text.isdigit() else 0


def publish(attempt: str, spec: dict, wanted: str, sizes) -> str:
    """Make the complete `attempt` the result of its task: "complete", or why it is not.

    "kept": another attempt was first with an equal result; "superseded": a newer run has made another one.
    """
    final, names = spec["final"], spec["names"]
    os.makedirs(os.path.dirname(final), exist_ok=True)
    while True:
        try:
            # An empty directory in the way is replaced, one with anything in it is not.
            os.rename(attempt, final)
            if link := spec.get("link"):
                with contextlib.suppress(OSError):
                    os.symlink(link[1], link[0])
            return "complete"
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if holds(final, names, wanted, sizes) and version_of(final, names) >= spec["version"]:
            return "kept"
        if os.path.exists(os.path.join(final, names["record"])) and version_of(final, names) > spec["version"]:
            return "superseded"
        clear(spec)


def clear(spec: dict) -> None:
    """What is in the task's place moves to the attic, or goes when it is the rest of a failed attempt."""
    from pathlib import Path

    from ducttape.plan.tasks import TaskKey
    from ducttape.store.attic import move_away
    from ducttape.store.layout import Layout

    layout, key = Layout(Path(spec["base"]), spec["flat"], spec["versioned"]), TaskKey(*spec["key"])
    layout.choose(key, Path(spec["final"]))
    move_away(layout, key)


def drop(attempt: str) -> None:
    """Delete an attempt that is of no use; what is still written there meanwhile is lost."""
    import shutil

    shutil.rmtree(attempt, ignore_errors=True)
