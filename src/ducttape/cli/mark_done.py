"""`mark_done TASK [REALIZATION ...]`: accept outputs that were made by hand, and note so in the record.

All outputs must be there; a task whose parents are not complete cannot be marked, because its inputs have no
identity yet.
"""

from __future__ import annotations

from ducttape.cli.session import Session
from ducttape.cli.terminal import say
from ducttape.store.layout import EXIT_CODE, INVALIDATED, STDERR, STDOUT


def run(options) -> int:
    session = Session(options)
    store, layout = session.store, session.layout
    wanted = {t.key for t in session.selected(required=True)}
    made: dict = {}
    refused = marked = 0
    for key, task in session.plan.tasks.items():
        state = store.state(key, made)
        if key in wanted and not state.done:
            directory = layout.directory(key)
            outputs, missing = store.output_digests(task)
            identity, waiting, gone = store.identity(task, made)
            problem = (
                f"output {missing[0]} is missing ({layout.output_named(task, missing[0])})" if missing
                else f"input {waiting[0]} is not made yet" if waiting
                else f"input file {gone[0].path} does not exist" if gone
                else None if directory.is_dir()
                else "it has no directory"
            )  # fmt: skip
            if problem:
                say(f"warning: {key} is not marked: {problem}")
                refused += 1
                continue
            (directory / STDOUT).touch()
            (directory / STDERR).touch()
            (directory / EXIT_CODE).write_text("0", encoding="utf-8")
            sizes = store.output_sizes(task)
            store.make_record(task, identity, outputs, output_sizes=sizes, notes=["marked done by hand"]).write(
                directory
            )
            (directory / INVALIDATED).unlink(missing_ok=True)
            say(f"marked {key}")
            marked += 1
            made[key] = outputs
        elif state.done:
            made[key] = state.outputs
    store.cache.flush()
    if not refused and not marked:
        say("nothing to do: complete already")
    return 1 if refused else 0
