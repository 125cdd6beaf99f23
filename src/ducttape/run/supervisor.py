"""Ends what a dead controller left running: a program of its own, `python -I -S supervisor.py`.

It needs only the standard library. It reads `+PGID` and `-PGID` lines from its standard input. When the other end
closes, however the controller ended (`kill -9` too), it ends every process group still registered: with TERM first,
because what submits jobs to a cluster takes them back then, and with KILL a few seconds later. It lives in its own
session, so that what a terminal sends to the controller's group does not reach it.
"""

import contextlib
import os
import signal
import sys
import time

_GRACE = 5.0


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        sign, group = line[0], int(line[1:])
        (groups.add if sign == "+" else groups.discard)(group)
    _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = _signal(groups, 0)
    _signal(groups, signal.SIGKILL)


def _signal(groups: set[int], number: int) -> set[int]:
    """Send a signal to all groups; those that are still there."""
    found = set()
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, number)
            found.add(group)
    return found


if __name__ == "__main__":
    main()
