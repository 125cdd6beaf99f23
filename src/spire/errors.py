"""Errors meant for the person at the keyboard, and the one place where steps turn them into an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something in the input is wrong: `message` says what and where, `hint` what to do about it."""

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint


def run_main(main: Callable[[], int | None]) -> None:
    """Exit 0 when `main` returns None or 0; exit 1, with `error:` and `hint:` lines, for `UserError` and `OSError`."""
    try:
        status = main() or 0
    except UserError as e:
        print(f"error: {e.message}", file=sys.stderr)
        if e.hint:
            print(f"hint: {e.hint}", file=sys.stderr)
        status = 1
    except OSError as e:
        # Disk full, missing file, no permission: the operating system's sentence says it; a traceback would hide it.
        print(f"error: {e}", file=sys.stderr)
        status = 1
    sys.exit(status)
