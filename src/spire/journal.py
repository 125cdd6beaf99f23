"""Results that grow row by row and survive a kill: streams of bytes, and a state that says how far they count.

What a killed run wrote after its last checkpoint is cut off by the next run, so the streams always hold exactly the
rows that the state names, and a run that continues ends with the same bytes as one that was never killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from spire.errors import UserError
from spire.textfiles import write_json

EVERY = 20.0  # seconds between checkpoints: what a kill costs at most


class Journal:
    """Streams of rows in a folder of their own, for one process at a time.

    Attributes: rows (how many are in); counts (whole numbers that the caller adds up alongside, kept with the rows).
    UserError when another process works in the folder, or its state is damaged.

    >>> with Journal(folder, ("lines", "labels")) as journal:
    ...     for row in rows[journal.rows:]:
    ...         journal.append({"lines": b"...", "labels": b"..."}, {"frames": 12})
    """

    def __init__(self, folder: Path, streams: tuple[str, ...], every: float = EVERY):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.folder)
        self._every = every
        try:
            state = self._read_state(streams)
            self.rows: int = state["rows"]
            self.counts: dict[str, int] = state["counts"]
            self._files: dict[str, BinaryIO] = {}
            for name in streams:
                file = self._files[name] = open(self.path(name), "ab")  # noqa: SIM115 (closed by __exit__)
                held = file.seek(0, os.SEEK_END)
                if held < state["bytes"][name]:
                    hint = f"remove {self.folder} to start anew"
                    raise UserError(f"{self.path(name)}: {held} bytes, {state['bytes'][name]} were written", hint)
                file.truncate(state["bytes"][name])
                file.seek(0, os.SEEK_END)
        except BaseException:
            os.close(self._lock)
            raise
        self._saved = time.monotonic()
        self._whole = True  # no row is half in

    def path(self, stream: str) -> Path:
        """The file behind a stream; complete after `checkpoint`."""
        return self.folder / stream

    def append(self, data: dict[str, bytes], counts: dict[str, int]) -> None:
        """One row: its bytes for each stream, and what it adds to the counts. Now and then this makes a checkpoint."""
        self._whole = False
        for name, content in data.items():
            self._files[name].write(content)
        for name, amount in counts.items():
            self.counts[name] = self.counts.get(name, 0) + amount
        self.rows += 1
        self._whole = True
        if time.monotonic() - self._saved > self._every:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Everything so far survives whatever happens next."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        sizes = {name: file.tell() for name, file in self._files.items()}
        write_json(self.folder / "state.json", {"rows": self.rows, "bytes": sizes, "counts": self.counts})
        self._saved = time.monotonic()

    def discard(self) -> None:
        """Remove the folder; the results are elsewhere by now, or not wanted."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read_state(self, streams: tuple[str, ...]) -> dict:
        path = self.folder / "state.json"
        if not path.exists():
            return {"rows": 0, "bytes": dict.fromkeys(streams, 0), "counts": {}}
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            return {
                "rows": int(state["rows"]),
                "bytes": {name: int(state["bytes"][name]) for name in streams},
                "counts": {str(name): int(value) for name, value in state["counts"].items()},
            }
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise UserError(f"{path}: not a state: {e}", hint=f"remove {self.folder} to start anew") from e

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        try:
            # Also after an error or Ctrl-C, unless that came in the middle of a row: then the last checkpoint counts.
            if self._whole and self.folder.exists():
                self.checkpoint()
        finally:
            for file in self._files.values():
                with suppress(OSError):  # a full disk: what could not be written is not in the state either
                    file.close()
            os.close(self._lock)


def _lock(folder: Path) -> int:
    """An open file that holds the folder until it is closed, by this process or by its end."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        os.close(handle)
        hint = "wait for it, or end it; two jobs of an array must have different --shard"
        raise UserError(f"{folder}: another process works on this part", hint) from e
    except OSError:
        # A file system without locks: the state is still written whole, only the check is missing.
        pass
    return handle
