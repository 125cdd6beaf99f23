"""`cancel [TASK [REALIZATION ...]]`: end the jobs that were sent to a cluster, after a question.

Says of each how it ended: a job may be complete before it can be cancelled. Without globs also the jobs of tasks that
the tape no longer has. Exit code 1 when some have not ended after a minute and a half.
"""

from __future__ import annotations

import time

from ducttape.cli.session import Session
from ducttape.cli.terminal import confirm, say
from ducttape.run.slurm import Slurm

_PATIENCE = 90.0


def run(options) -> int:
    session = Session(options)
    if not session.layout.jobs.is_dir():
        say("nothing to do: nothing was sent to a cluster")
        return 0
    cluster = Slurm(session.layout, session.cache)
    found = cluster.all_in_flight()
    if options.globs:
        chosen = {task.key for task in session.selected()}
        found = {key: job for key, job in found.items() if key in chosen}
    if not found:
        say("nothing to do: no jobs in flight")
        return 0
    for key, job in found.items():
        say(f"CANCEL: {key} ({job})")
    if not confirm(f"Cancel {len(found)} job{'s' if len(found) != 1 else ''}?", options.yes):
        say("doing nothing")
        return 0
    left = set(found)
    try:
        cluster.cancel(found)
        deadline = time.monotonic() + _PATIENCE
        while left and time.monotonic() < deadline:
            for settled in cluster.poll():
                left.discard(settled.key)
                say(f"{settled.key}: {'it had ended' if settled.ok else settled.reason}")
            if left:
                time.sleep(cluster.wait_hint())
    finally:
        cluster.close()
        session.cache.flush()
    if left:
        say(f"{len(left)} jobs have not ended yet: {', '.join(map(str, sorted(left, key=str)[:5]))}")
        say("hint: the request was made; the same command tells later whether they have ended")
    return 1 if left else 0
