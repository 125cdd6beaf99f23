"""Ends what a dead controller left running: a program of its own, `python -I -S supervisor.py`.

It needs only the standard library. It reads `+PGID` and `-PGID` lines from its standard input. When the other end
closes, however the controller ended (`kill -9` too), it kills every process group still registered. It lives in its
own session, so that what a terminal sends to the controller's group does not reach it.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        sign, group = line[0], int(line[1:])
        (groups.add if sign == "+" else groups.discard)(group)
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
