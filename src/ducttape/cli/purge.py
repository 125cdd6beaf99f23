"""`purge TASK [REALIZATION ...]`: delete results and all that follows from them, after a question."""

from __future__ import annotations

import contextlib
import shutil

from ducttape.cli.session import Session
from ducttape.cli.terminal import confirm, say
from ducttape.store.attic import remove
from ducttape.store.jobs import submitted
from ducttape.store.locks import Locks


def run(options) -> int:
    session = Session(options)
    tasks = session.with_descendants(session.selected(required=True))
    existing = [t for t in tasks if session.layout.made(t.key) or session.layout.attempts(t.key).is_dir()]
    if not existing:
        say("nothing to do: none of them has a directory")
        return 0
    for task in existing:
        say(f"DELETE: {session.show(task)} ({task.realization.full_name})")
    if not confirm(f"Delete {len(existing)} director{'ies' if len(existing) != 1 else 'y'}?", options.yes):
        say("doing nothing")
        return 0
    locks, jobs = Locks(session.layout.locks), submitted(session.layout)
    kept = 0
    try:
        for task in existing:
            lock = session.layout.lock(task.key)
            if owner := locks.acquire(lock):
                say(f"KEEP: {task.key}: locked by {owner}")
                kept += 1
                continue
            if (job := jobs.get(task.key)) and not job.ended:
                say(f"KEEP: {task.key}: {job.name} works on it")
                say(f"hint: ducttape {options.tape} cancel {task.key.task} {task.key.realization}")
                locks.release(lock)
                kept += 1
                continue
            for directory in session.layout.made(task.key):
                remove(directory)
            shutil.rmtree(session.layout.attempts(task.key), ignore_errors=True)
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
