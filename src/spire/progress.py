"""Progress of long steps: one rewritten line on a terminal, a plain line every ten seconds otherwise."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts work and prints rate and remaining time to stderr; never raises and never prints to stdout.

    >>> with Progress("label", total=3, unit="files") as p:
    ...     p.advance(3)
    """

    def __init__(self, label: str, total: float | None = None, unit: str = "items", every: float = 10.0):
        self.label, self.total, self.unit, self.every = label, total, unit, every
        self.done = 0.0
        self.note = ""
        self._tty = sys.stderr.isatty()
        self._started = self._printed = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Add `amount` units of work; `note` (a loss, say) is shown at the end of the line."""
        self.done += amount
        self.note = note or self.note
        now = time.monotonic()
        if now - self._printed >= (0.2 if self._tty else self.every):
            self._printed = now
            self._print(now)

    def _print(self, now: float, end: bool = False) -> None:
        elapsed = max(now - self._started, 1e-9)
        rate = self.done / elapsed
        text = f"{self.label}: {self.done:.0f}"
        if self.total:
            text += f"/{self.total:.0f}"
        text += f" {self.unit}, {rate:.1f}/s"
        if self.total and rate > 0 and not end:
            text += f", {max(self.total - self.done, 0) / rate:.0f} s left"
        if end:
            text += f", {elapsed:.1f} s"
        if self.note:
            text += f", {self.note}"
        if self._tty:
            print(f"\r\x1b[K{text}", end="\n" if end else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def __exit__(self, *exc: object) -> None:
        self._print(time.monotonic(), end=True)
