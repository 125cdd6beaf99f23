"""What Slurm says of jobs: the answers of `squeue` and `sacct`, and the lines of a job completion log.

`squeue` gives one line for each job that runs and one for all waiting tasks of an array; all of a user's jobs are one
call. Lines that are none of these (warnings) are passed over.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ALIVE = frozenset(
    """PENDING CONFIGURING RUNNING COMPLETING SUSPENDED STOPPED STAGE_OUT SIGNALING RESIZING REQUEUED REQUEUE_FED
    REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT POWER_UP_NODE LAUNCH_FAILED""".split()  # noqa: SIM905
)
ENDED = frozenset(
    """COMPLETED FAILED CANCELLED TIMEOUT NODE_FAIL PREEMPTED OUT_OF_MEMORY BOOT_FAIL DEADLINE REVOKED
    RECONFIG_FAIL""".split()  # noqa: SIM905
)
# Not the fault of the task: the same job may do better elsewhere.
INTERRUPTED = frozenset(("NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "REVOKED", "RECONFIG_FAIL", "LOST"))
_LOG_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """One job as Slurm tells it: `state` in Slurm's words, `reason` why it waits or ended, `exit_code` where told."""

    state: str
    reason: str = ""
    nodes: str = ""
    exit_code: int | None = None

    @property
    def alive(self) -> bool:
        return self.state in ALIVE

    @property
    def text(self) -> str:
        """For people: `running on n1`, `pending (Priority)`."""
        word = self.state.lower().replace("_", " ")
        if self.state == "PENDING":
            return word if self.reason in ("", "None", "(null)") else f"{word} ({self.reason})"
        return f"{word} on {self.nodes}" if self.nodes else word


@dataclass(slots=True)
class Queue:
    """An answer: `jobs` by (number, index in the array or None), and the numbers that each job name has."""

    jobs: dict[tuple[str, int | None], Seen]
    names: dict[str, list[str]]


def squeue(user: str, everything: bool) -> list[str]:
    """The command that asks for all jobs of a user; with `everything` those too that ended a short while ago."""
    states = ["--states=all"] if everything else []
    return ["squeue", "--noheader", f"--user={user}", *states, "--format=%F|%K|%T|%r|%N|%j"]


def read_squeue(text: str) -> Queue | None:
    """None when there is text but no line that squeue would have written."""
    queue = Queue({}, {})
    for line in text.splitlines():
        parts = line.strip().split("|", 5)
        if len(parts) != 6 or not parts[0].isdigit() or parts[2] not in ALIVE | ENDED:
            continue
        job, indices, state, reason, nodes, name = parts
        numbers = queue.names.setdefault(name, [])
        if job not in numbers:
            numbers.append(job)
        seen = Seen(state, reason, nodes)
        for index in _indices(indices):
            _note(queue.jobs, (job, index), seen)
    return queue if queue.jobs or not text.strip() else None


def _note(jobs: dict, key: tuple[str, int | None], seen: Seen) -> None:
    # Of two lines about one job the one that says that it lives counts: the other is an attempt before.
    if key not in jobs or not jobs[key].alive:
        jobs[key] = seen


def _indices(text: str) -> Iterator[int | None]:
    """`N/A`, `7`, `1-3,9%2`."""
    text = text.partition("%")[0].strip("[]")
    if not re.fullmatch(r"\d+(-\d+(:\d+)?)?(,\d+(-\d+(:\d+)?)?)*", text):
        yield None
        return
    for part in text.split(","):
        first, _, rest = part.partition("-")
        last, _, step = rest.partition(":")
        yield from range(int(first), int(last or first) + 1, int(step or 1))


def sacct(jobs: list[str], since: float) -> list[str]:
    """The command that asks the accounting for jobs sent after `since` (seconds since the epoch)."""
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 3600))
    return [
        "sacct", "--noheader", "--parsable2", "--allocations", f"--starttime={start}",
        f"--jobs={','.join(jobs)}", "--format=JobID,State,ExitCode,NodeList",
    ]  # fmt: skip


def read_sacct(text: str) -> dict[tuple[str, int | None], Seen]:
    jobs: dict[tuple[str, int | None], Seen] = {}
    for line in text.splitlines():
        parts = line.strip().split("|")
        found = re.fullmatch(r"(\d+)(?:_(\d+|\[.*\]))?", parts[0])
        # "CANCELLED by 1000"
        state = parts[1].split(" ")[0] if len(parts) == 4 else ""
        if not found or state not in ALIVE | ENDED:
            continue
        seen = Seen(state, "", "" if "None" in parts[3] else parts[3], _exit_code(parts[2]))
        for index in _indices(found[2] or ""):
            _note(jobs, (found[1], index), seen)
    return jobs


def read_completion_log(path: Path, wanted: set[str]) -> dict[tuple[str, int | None], Seen]:
    """What the log of `jobcomp/filetxt` says of the jobs with these numbers: the last line of each counts.

    Only the end of a long log is read, and a log that cannot be read says nothing.
    """
    jobs: dict[tuple[str, int | None], Seen] = {}
    try:
        with open(path, "rb") as f:
            f.seek(max(0, os.fstat(f.fileno()).st_size - _LOG_BYTES))
            lines = f.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return jobs
    for line in lines:
        given = dict(word.split("=", 1) for word in line.split() if "=" in word)
        job = given.get("ArrayJobId") or given.get("JobId", "")
        state = given.get("JobState", "")
        # A requeued attempt has a line too, which says PENDING.
        if job in wanted and state in ENDED:
            index = given.get("ArrayTaskId") if "ArrayJobId" in given else None
            key = (job, int(index) if index and index.isdigit() else None)
            jobs[key] = Seen(state, "", given.get("NodeList", ""), _exit_code(given.get("ExitCode", "")))
    return jobs


def _exit_code(text: str) -> int | None:
    """Of `7:0` (exit code, signal) 7, of `0:9` 137."""
    code, _, number = text.partition(":")
    if not (code.isdigit() and number.isdigit()):
        return None
    return int(code) or (128 + int(number) if int(number) else 0)


@dataclass(frozen=True, slots=True)
class Site:
    """What the configuration of Slurm says that matters here. `largest_index` is 0 where there are no arrays."""

    largest_index: int = 1000
    accounting: bool = True
    completion_log: Path | None = None


def read_config(text: str) -> Site:
    """From `scontrol show config`; what it does not say is as Slurm's defaults."""
    given = {k.strip(): v.strip() for k, _, v in (line.partition("=") for line in text.splitlines()) if v}
    size = given.get("MaxArraySize", "")
    log = given.get("JobCompLoc", "") if given.get("JobCompType") == "jobcomp/filetxt" else ""
    return Site(
        # The limit is on the index, which begins at 0 here.
        largest_index=max(0, int(size) - 1) if size.isdigit() else 1000,
        accounting=not given.get("AccountingStorageType", "").endswith("/none"),
        completion_log=Path(log) if log.startswith("/") else None,
    )
