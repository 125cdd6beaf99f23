"""Ctrl-C, TERM and HUP as a flag that is looked at between two steps, never in the middle of one."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable


class Interruption:
    """Inside `with`, `signal` is the number of the last signal that came, and `fileno` wakes a selector up.

    A second signal calls `impatient` at once. In another thread than the main one nothing is caught: there the caller
    keeps its own handling.
    """

    def __init__(self, impatient: Callable[[], None]):
        self.signal: int | None = None
        self._impatient = impatient

    def __enter__(self) -> Interruption:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._previous: dict[int, object] = {}
        self._wakeup: int | None = None
        with contextlib.suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGINT:
                    self._previous[number] = signal.signal(number, self._note)
            self._wakeup = signal.set_wakeup_fd(self._writer.fileno())
        return self

    def __exit__(self, *exc) -> None:
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        return self._reader.fileno()

    def drain(self) -> None:
        """Take what woke the selector up."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)

    def _note(self, number, frame) -> None:
        if self.signal is not None:
            self._impatient()
        self.signal = number
