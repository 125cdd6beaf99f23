"""`commands TASK REALIZATION`: what would run, on stdout as a bash script: exports, bash flags, the body.

Values are quoted for bash, so the text can be pasted into a shell or saved and run.
"""

from __future__ import annotations

from ducttape.cli.session import Session
from ducttape.run.launch import archival_script


def run(options) -> int:
    session = Session(options)
    tasks = session.selected(required=True)
    directories = session.packages.directories
    for task in tasks:
        print(f"# {task.key.task} {task.key.realization}:")
        print(archival_script(task, session.layout.variables(task, session.plan.tasks, directories)))
    return 0
