"""`purge TASK [REALIZATION ...]`: delete results and all that follows from them, after a question."""

from __future__ import annotations

import contextlib

from ducttape.cli.session import Session
from ducttape.cli.terminal import confirm, say
from ducttape.store.attic import remove
from ducttape.store.locks import Locks


def run(options) -> int:
    session = Session(options)
    tasks = session.with_descendants(session.selected(required=True))
    existing = [t for t in tasks if session.layout.made(t.key)]
    if not existing:
        say("nothing to do: none of them has a directory")
        return 0
    for task in existing:
        say(f"DELETE: {session.show(task)} ({task.realization.full_name})")
    if not confirm(f"Delete {len(existing)} director{'ies' if len(existing) != 1 else 'y'}?", options.yes):
        say("doing nothing")
        return 0
    locks = Locks(session.layout.locks)
    kept = 0
    try:
        for task in existing:
            lock = session.layout.lock(task.key)
            if owner := locks.acquire(lock):
                say(f"KEEP: {task.key}: locked by {owner}")
                kept += 1
                continue
            for directory in session.layout.made(task.key):
                remove(directory)
            link = session.layout.full_name_link(task)
            if link is not None and link.is_symlink():
                link.unlink()
            locks.release(lock)
            with contextlib.suppress(OSError):
                place = session.layout.place(task.key)
                if place.is_dir():
                    place.rmdir()
                place.parent.rmdir()
    finally:
        locks.release_all()
    return 1 if kept else 0
