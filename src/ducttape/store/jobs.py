"""What the submissions to clusters have in hand, as their folders `BASE/.jobs/TOKEN/` say; asks no cluster.

`submission.json` has the number of the job once it is known (`job`), `tasks.jsonl` one task a line (`key`), in the
order of the array; `INDEX.result` is the last word of a job that ended. A folder goes when all its tasks are collected.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ducttape.plan.tasks import TaskKey
from ducttape.store.layout import Layout


@dataclass(frozen=True, slots=True)
class Job:
    """One task of a submission: the name of its job for people, and when it was sent (seconds since the epoch).

    `reason`, `exit_code`, `host` and `directory` are those of a job that ended without making its task complete.
    """

    name: str
    sent: float | None = None
    ended: bool = False
    failed: bool = False
    reason: str = ""
    exit_code: int | None = None
    host: str | None = None
    directory: Path | None = None


def submitted(layout: Layout) -> dict[TaskKey, Job]:
    """The tasks of all submissions that are not collected; of several for one task the last."""
    found: dict[TaskKey, Job] = {}
    for folder in _submissions(layout.jobs):
        data = read_object(folder / "submission.json")
        number, sent = data.get("job"), data.get("sent")
        for index, key in enumerate(_tasks(folder / "tasks.jsonl")):
            name = f"slurm {number}_{index}" if number else "slurm, not yet numbered"
            result = read_object(folder / f"{index}.result")
            directory = result.get("directory")
            found[key] = Job(
                result.get("job") or name,
                sent if isinstance(sent, int | float) else None,
                bool(result),
                bool(result.get("exit_code")),
                result.get("reason") or "",
                result.get("exit_code"),
                result.get("host"),
                Path(directory) if directory else None,
            )
    return found


def read_object(path: Path) -> dict:
    """The JSON object in a file; empty when there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _submissions(folder: Path) -> list[Path]:
    try:
        entries = [e for e in os.scandir(folder) if e.is_dir(follow_symlinks=False)]
        return [Path(e.path) for e in sorted(entries, key=lambda e: (e.stat().st_mtime, e.name))]
    except OSError:
        return []


def _tasks(path: Path) -> list[TaskKey]:
    found = []
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            for line in f:
                task, realization = json.loads(line)["key"]
                found.append(TaskKey(task, realization))
    except (OSError, ValueError, KeyError, TypeError):
        # A submission that is being written: what is whole counts.
        return found
    return found
