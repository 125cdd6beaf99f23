#!/usr/bin/env python3
"""Writes, for every task of the tape given, the directory and the record that a run would have left.

    python benchmarks/engine_done.py x.tape

For measuring what an engine does when there is nothing to do, without starting 100,000 processes first: the store makes
the records, so `ducttape x.tape` finds every task complete.
"""

import sys
import time
from pathlib import Path

import ducttape
from ducttape.store.layout import EXIT_CODE, SCRIPT, STDERR, STDOUT, VERSION, Layout
from ducttape.store.state import Store


def main(tape: str) -> None:
    plan = ducttape.plan(ducttape.load(tape))
    store = Store(Layout(Path.cwd()), plan)
    made: dict = {}
    for key, task in plan.tasks.items():
        directory = store.layout.directory(key)
        directory.mkdir(parents=True)
        for name in (STDOUT, STDERR, SCRIPT):
            (directory / name).touch()
        (directory / EXIT_CODE).write_text("0")
        (directory / VERSION).write_text("1\n")
        for output in task.outputs:
            store.layout.output(task, output).write_text(f"{key}\n")
        identity, _, _ = store.identity(task, made)
        made[key], _ = store.output_digests(task)
        now = time.time()
        measured = {"start": now, "end": now, "cpu_seconds": 0.0, "peak_memory_bytes": 0}
        store.make_record(task, identity, made[key], **measured).write(directory)
    # Files this young are not remembered by their time.
    time.sleep(0.1)
    store.survey()


if __name__ == "__main__":
    main(sys.argv[1])
