"""`invalidate TASK [REALIZATION ...]`: mark results and all that follows from them, so that they are made again."""

from __future__ import annotations

from ducttape.cli.session import Session
from ducttape.cli.terminal import confirm, say
from ducttape.store.layout import INVALIDATED


def run(options) -> int:
    session = Session(options)
    tasks = session.with_descendants(session.selected(required=True))
    existing = [t for t in tasks if session.layout.directory(t.key).is_dir()]
    if not existing:
        say("nothing to do: none of them has a directory")
        return 0
    for task in existing:
        say(f"INVALIDATE: {session.show(task)} ({task.realization.full_name})")
    if not confirm(f"Invalidate {len(existing)} task{'s' if len(existing) != 1 else ''}?", options.yes):
        say("doing nothing")
        return 0
    for task in existing:
        for directory in session.layout.made(task.key):
            (directory / INVALIDATED).touch()
    return 0
