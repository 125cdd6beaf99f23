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

    def _text(self, elapsed: float, end: bool) -> str:
        rate = self.done / elapsed
        text = f"{self.label}: {self.done:.0f}"
        if self.total:
            text += f"/{self.total:.0f}"
        text += f" {self.unit}, {rate:.1f}/s"
        if self.total and rate > 0 and not end:
            text += f", {max(self.total - self.done, 0) / rate:.0f} s left"
        return text

    def _print(self, now: float, end: bool = False) -> None:
        elapsed = max(now - self._started, 1e-9)
        text = self._text(elapsed, end)
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


class AudioProgress(Progress):
    """Hours of audio, hours of audio per hour of time, and the time left where the size of the whole is known.

    `total` is the size of the whole in any measure (seconds, bytes, utterances); `advance_audio` says how much of it an
    utterance was. `before` of it was done by an earlier run: it counts in the share, and not in the rate.

    >>> with AudioProgress("label", total=2) as p:
    ...     p.advance_audio(3.5, 1)
    """

    def __init__(self, label: str, total: float | None = None, before: float = 0.0, every: float = 10.0):
        super().__init__(label, total, "h", every)
        self.before, self.size = before, 0.0

    def advance_audio(self, seconds: float, size: float, note: str = "") -> None:
        """One more utterance of `seconds`, which is `size` of the total."""
        self.size += size
        self.advance(seconds / 3600, note)

    def _text(self, elapsed: float, end: bool) -> str:
        text = f"{self.label}: {_amount(self.done)} h of audio"
        share = (self.before + self.size) / self.total if self.total else 0.0
        if self.total:
            text += f" ({min(share, 1):.1%} done)"
        text += f", {_amount(self.done * 3600 / elapsed)} h/h"
        if self.size and self.total and not end:
            left = max(self.total - self.before - self.size, 0) * elapsed / self.size
            text += f", {_time(left)} left"
        return text


def _amount(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2f}"


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else (f"{seconds / 3600:.1f} h")
    )
