"""What was sent to Slurm, on disk: so that no controller sends twice what another one has sent, whatever ended it.

    BASE/.jobs/TOKEN/submission.json   what is asked, written before sbatch is called; then the job's number
    BASE/.jobs/TOKEN/tasks.jsonl .idx  the spec of every task, a line each, and where each line begins
    BASE/.jobs/TOKEN/job.sh runner/    what Slurm runs
    BASE/.jobs/TOKEN/results/N.json    the last word of task number N (see `job.py`)
    BASE/.jobs/TOKEN/logs/N.txt        what Slurm and the runner themselves said
    BASE/.jobs/TOKEN/collected         the numbers of tasks that nobody has to look after any more

The folder goes with its last task. A submission without a number may have reached Slurm or not: its token is in the
job's name, by which it is found.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from ducttape.plan.tasks import TaskKey
from ducttape.run.job_files import OFFSET_DIGITS
from ducttape.run.slurm_runner import job_script, write_runner
from ducttape.store.locks import Owner
from ducttape.store.record import write_atomically

FORMAT = 1
_INTENT = "submission.json"
# A draft that is older was being written by a controller that died.
_DRAFT_SECONDS = 3600.0
_GONE = ".gone"


class Submission:
    """One call of sbatch: a job, or an array. `tasks` maps the index in the array to the task; `job` is Slurm's number,
    None while it is not known.
    """

    def __init__(self, folder: Path, data: dict):
        self.folder, self.token, self.data = folder, folder.name, data
        self.job: str | None = data["job"]
        self.array: bool = data["array"]
        self.tasks = {int(index): TaskKey(*key) for index, key in data["tasks"].items()}
        self.owner = Owner.parse(data["owner"])
        self.collected: set[int] = set()
        self._results: set[int] = set()
        self._seen = 0

    @property
    def name(self) -> str:
        """The name of the job: for people the task, for the engine the token after the last dot."""
        return self.data["name"]

    def job_text(self, index: int) -> str:
        """`slurm 123_4`, as in records."""
        return f"slurm {self.job or 'job, being sent'}" + (f"_{index}" if self.array and self.job else "")

    def spec(self, index: int) -> dict:
        with open(self.folder / "tasks.jsonl.idx", "rb") as f:
            f.seek(index * (OFFSET_DIGITS + 1))
            offset = int(f.read(OFFSET_DIGITS))
        with open(self.folder / "tasks.jsonl", "rb") as f:
            f.seek(offset)
            return json.loads(f.readline())

    def note_job(self, job: str) -> None:
        """Write down the number that Slurm gave."""
        self.job = self.data["job"] = job
        self._write()

    def note_repetition(self) -> None:
        """Write down that Slurm is asked once more, and may have two jobs of this name then."""
        self.data["repeated"] = True
        self._write()

    def leave(self) -> None:
        """The controller goes; the next one that comes by may clear up."""
        if self.owner is not None and self.owner == Owner.here():
            self.owner, self.data["owner"] = None, ""
            self._write()

    def _write(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            write_atomically(self.folder / _INTENT, json.dumps(self.data) + "\n")

    def results(self, afresh: bool = False) -> set[int]:
        """The tasks that have said their last word; FileNotFoundError when the folder has gone.

        `afresh` looks into the folder even when its time says that nothing has changed, which a network file system
        may remember for a minute.
        """
        # A change within one tick of the clock after a look would show the same time.
        stamp = os.stat(self.folder / "results").st_mtime_ns
        if afresh or stamp != self._seen:
            names = os.listdir(self.folder / "results")
            self._results = {int(n[:-5]) for n in names if n.endswith(".json") and n[:-5].isdigit()}
            self._seen = stamp if time.time_ns() - stamp > 50_000_000 else 0
        return self._results

    def result(self, index: int) -> dict | None:
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.folder / "results" / f"{index}.json").read_text(encoding="utf-8"))
        return None

    def last_log_line(self, index: int) -> str:
        """What Slurm or the runner said last, for a job that came to no result."""
        with contextlib.suppress(OSError):
            data = (self.folder / "logs" / f"{index}.txt").read_bytes()[-4096:]
            lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
            return lines[-1] if lines else ""
        return ""

    def collect(self, indices: Iterable[int], last: bool = True) -> None:
        """Nobody has to look after these tasks any more; with `last` the folder goes when that is so for all."""
        self.collected.update(indices)
        with contextlib.suppress(FileNotFoundError):
            with open(self.folder / "collected", "a", encoding="ascii") as f:
                f.write("".join(f"{index}\n" for index in indices))
            if last:
                self.read_collected()
            if self.collected.issuperset(self.tasks):
                _remove(self.folder)

    def read_collected(self) -> None:
        with contextlib.suppress(OSError):
            text = (self.folder / "collected").read_text(encoding="ascii")
            self.collected.update(int(line) for line in text.split("\n")[:-1] if line.isdigit())

    def is_in_flight(self, index: int) -> bool:
        """Whether the job of a task has not said its last word yet, as far as files tell."""
        try:
            return index not in self.collected and index not in self.results()
        except FileNotFoundError:
            return False


class Journal:
    """All submissions under one `folder`, `BASE/.jobs`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._known: dict[str, Submission] = {}
        self._where: dict[TaskKey, tuple[Submission, int]] = {}
        self._seen = 0

    def find(self, key: TaskKey) -> tuple[Submission, int] | None:
        """The newest submission that has a task in flight."""
        self.refresh()
        found = self._where.get(key)
        return found if found and found[0].is_in_flight(found[1]) else None

    def refresh(self) -> None:
        """Learn what other controllers have sent since the last look."""
        try:
            stamp = os.stat(self.folder).st_mtime_ns
        except FileNotFoundError:
            return
        if stamp == self._seen:
            return
        self._seen = stamp if time.time_ns() - stamp > 50_000_000 else 0
        names = sorted(n for n in os.listdir(self.folder) if not n.startswith("."))
        fresh = []
        for name in names:
            if name not in self._known and (submission := _read(self.folder / name)) is not None:
                fresh.append(submission)
        for submission in sorted(fresh, key=lambda s: s.data["created"]):
            self._learn(submission)
        for gone in self._known.keys() - set(names):
            del self._known[gone]

    def _learn(self, submission: Submission) -> None:
        self._known[submission.token] = submission
        submission.read_collected()
        for index, key in submission.tasks.items():
            if index not in submission.collected:
                self._where[key] = (submission, index)

    def submissions(self) -> list[Submission]:
        self.refresh()
        return list(self._known.values())

    def create(self, name: str, specs: Mapping[int, dict], array: bool, arguments: list[str]) -> Submission:
        """Write the intent to send these tasks (index in the array -> spec) with these arguments of sbatch."""
        # In order of time for people; the rest makes it different from that of any other controller.
        token = f"{time.strftime('%y%m%d%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
        self.folder.mkdir(parents=True, exist_ok=True)
        # Under a name with a dot nobody looks at it before it is whole.
        draft, folder = self.folder / f".{token}", self.folder / token
        draft.mkdir()
        for inside in ("results", "logs"):
            (draft / inside).mkdir()
        offsets, offset = {}, 0
        with open(draft / "tasks.jsonl", "wb") as f:
            for index, spec in specs.items():
                line = json.dumps(spec).encode() + b"\n"
                offsets[index] = offset
                offset += f.write(line)
        with open(draft / "tasks.jsonl.idx", "w", encoding="ascii") as f:
            f.writelines(f"{offsets.get(i, offset):0{OFFSET_DIGITS}d}\n" for i in range(max(specs) + 1))
        write_runner(draft / "runner")
        script = job_script(folder / "runner", folder / "tasks.jsonl")
        (draft / "job.sh").write_text(script, encoding="utf-8", errors="surrogateescape")
        data = {
            "format": FORMAT,
            "name": f"{name}.{token}",
            "job": None,
            "repeated": False,
            "array": array,
            "tasks": {str(index): spec["key"] for index, spec in specs.items()},
            "arguments": arguments,
            "created": time.time(),
            "owner": Owner.here().text(),
        }
        (draft / _INTENT).write_text(json.dumps(data) + "\n", encoding="utf-8")
        os.rename(draft, folder)
        submission = Submission(folder, data)
        self._learn(submission)
        return submission

    def forget(self, submission: Submission) -> None:
        """Slurm does not have it, and it is not to be sent."""
        self._known.pop(submission.token, None)
        _remove(submission.folder)

    def sweep(self) -> list[list]:
        """Remove submissions that are over and that nobody watches.

        Returns what their jobs digested, for `DigestCache.learn`.
        """
        entries: list[list] = []
        for rest in self.folder.glob(f".*{_GONE}"):
            shutil.rmtree(rest, ignore_errors=True)
        for submission in self.submissions():
            if submission.owner is not None and not submission.owner.is_gone():
                continue
            try:
                over = submission.results() | submission.collected
            except FileNotFoundError:
                continue
            if over.issuperset(submission.tasks):
                for index in submission.tasks.keys() - submission.collected:
                    entries += (submission.result(index) or {}).get("digests") or []
                self.forget(submission)
        return entries


def _remove(folder: Path) -> None:
    """At once for all who look: half of a folder would tell of jobs that have not said their last word."""
    gone = folder.with_name(f".{folder.name}{_GONE}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, gone)
        shutil.rmtree(gone, ignore_errors=True)


def _read(folder: Path) -> Submission | None:
    try:
        data = json.loads((folder / _INTENT).read_text(encoding="utf-8"))
        return Submission(folder, data) if data["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
