"""`unlock [TASK [REALIZATION ...]]`: delete the locks of tasks, after a question.

Locks of dead controllers of this machine are taken over without it; it is for controllers of other machines that
are known to be gone.
"""

from __future__ import annotations

from ducttape.cli.session import Session
from ducttape.cli.terminal import confirm, say
from ducttape.store.locks import read_owner


def run(options) -> int:
    session = Session(options)
    locked = [t for t in session.selected() if session.layout.lock(t.key).exists()]
    if not locked:
        say("nothing to do: no locks")
        return 0
    for task in locked:
        owner = read_owner(session.layout.lock(task.key))
        gone = ", which has ended" if owner and owner.is_gone() else ""
        say(f"UNLOCK: {session.show(task)} held by {owner}{gone}")
    if not confirm(f"Delete {len(locked)} lock{'s' if len(locked) != 1 else ''}?", options.yes):
        say("doing nothing")
        return 0
    for task in locked:
        session.layout.lock(task.key).unlink(missing_ok=True)
    return 0
