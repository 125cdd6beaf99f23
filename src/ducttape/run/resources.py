"""What a task asks of its machine with dot-params, and what this machine has to give.

.cpus=4            cores (1)
.mem=8G            memory: K, M, G or T, in powers of 1024; a bare number is MiB, as in Slurm
.gpus=2            GPUs; the body sees exactly these in CUDA_VISIBLE_DEVICES (with 0 it sees none)
.time=1-12:00:00   at most so long; Slurm's forms: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS
.retries=3         try again so often when the body fails (--retries, else 0)
.retry_delay=5     seconds before the first new try; twice as long before each next one, at most five minutes
.resume=yes        the body can go on from what an unfinished attempt left (DUCTTAPE_PREVIOUS)
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ducttape.plan.tasks import Param, RealizedTask
from ducttape.run.submitters import is_local, is_ours
from ducttape.syntax.diagnostics import Diagnostic, TapeError

LONGEST_DELAY = 300.0
_UNITS = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)(?:I?B)?", re.IGNORECASE)
_TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<dh>\d+)(?::(?P<dm>\d+)(?::(?P<ds>\d+))?)?|(?P<a>\d+)(?::(?P<b>\d+)(?::(?P<c>\d+))?)?)"
)
_YES, _NO = ("yes", "true", "1", "on"), ("", "no", "false", "0", "off")


@dataclass(frozen=True, slots=True)
class Needs:
    """`memory` in bytes (0: not said), `gpus` None when not said, `seconds` None without a limit."""

    cpus: int = 1
    memory: int = 0
    gpus: int | None = None
    seconds: float | None = None
    retries: int = 0
    retry_delay: float = 5.0
    resume: bool = False

    def delay(self, tries: int) -> float:
        """Seconds to wait before a new try after `tries` failed ones."""
        return min(LONGEST_DELAY, self.retry_delay * 2 ** (tries - 1))


_PLAIN = Needs()
_NAMES = frozenset({"cpus", "mem", "gpus", "time", "retries", "retry_delay", "resume"})


def needs(task: RealizedTask, retries: int = 0) -> Needs:
    """What a task asks for; `retries` when it does not say. TapeError for a value that means nothing.

    A submitter of a tape may give `.mem` and the like a meaning of its own: then only what the scheduler itself does
    (`.retries`, `.retry_delay`, `.resume`) is read.
    """
    given = {p.name: p for p in task.params if p.dot and p.value.strip() and p.name in _NAMES}
    if not given:
        return _PLAIN if not retries else Needs(retries=retries)
    if not is_local(task) and not is_ours(task):
        given = {name: p for name, p in given.items() if name in ("retries", "retry_delay", "resume")}

    def read(name: str, parse, default, expected: str):
        param = given.get(name)
        if param is None:
            return default
        value = parse(param.value.strip())
        if value is None:
            raise _wrong(task, param, expected)
        return value

    return Needs(
        cpus=read("cpus", _positive, 1, "a whole number of at least 1"),
        memory=read("mem", size, 0, "a size such as 500M or 8G"),
        gpus=read("gpus", _count, None, "a whole number"),
        seconds=read("time", seconds, None, "a time such as 90 (minutes), 1:30:00 or 2-12"),
        retries=read("retries", _count, retries, "a whole number"),
        retry_delay=read("retry_delay", _number, 5.0, "a number of seconds"),
        resume=read("resume", _flag, False, "yes or no"),
    )


def size(text: str) -> int | None:
    """Bytes of `500M`, `8G`, `1.5T`, `4096` (MiB); None for anything else."""
    found = _SIZE.fullmatch(text)
    return int(float(found[1]) * _UNITS[found[2].upper()]) if found and float(found[1]) > 0 else None


def seconds(text: str) -> float | None:
    """Seconds of one of Slurm's forms of time; None for anything else, and for a time of nothing."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    part = {name: int(value or 0) for name, value in found.groupdict().items()}
    if found["days"]:
        total = ((part["days"] * 24 + part["dh"]) * 60 + part["dm"]) * 60 + part["ds"]
    elif found["c"]:
        total = (part["a"] * 60 + part["b"]) * 60 + part["c"]
    else:
        total = part["a"] * 60 + part["b"]
    return float(total) or None


def _positive(text: str) -> int | None:
    return int(text) if _is_whole(text) and int(text) >= 1 else None


def _count(text: str) -> int | None:
    return int(text) if _is_whole(text) else None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) else None


def _flag(text: str) -> bool | None:
    lower = text.lower()
    return True if lower in _YES else False if lower in _NO else None


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _wrong(task: RealizedTask, param: Param, expected: str) -> TapeError:
    problem = f"task {task.key.task}: .{param.name} must be {expected}, not '{param.value}'"
    return TapeError(Diagnostic(problem, param.span))


# --- this machine ---------------------------------------------------------------------------------------------------


def local_gpus() -> list[str]:
    """The GPUs that this process may use: those in CUDA_VISIBLE_DEVICES, else all NVIDIA devices of the machine."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    found = [e.name[6:] for e in os.scandir("/dev") if re.fullmatch(r"nvidia\d+", e.name)]
    return sorted(found, key=int)


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the control group that holds this process when that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


@dataclass(slots=True)
class Share:
    """What a running task holds: slots of -j, memory, GPUs."""

    slots: list[int]
    memory: int
    gpus: list[str]


class Pool:
    """The slots, the memory and the GPUs of this machine.

    A task that asks for more cores or memory than there is gets all there is, alone. GPUs are held with a lock that
    all controllers of this user on this machine see, so that two of them never give the same one away.
    """

    def __init__(self, jobs: int, memory: int | None = None, gpus: list[str] | None = None):
        self.jobs = jobs
        self._memory = self._free_memory = machine_memory() if memory is None else memory
        self._gpus = local_gpus() if gpus is None else gpus
        self._slots = set(range(jobs))
        self._leases: dict[str, int] = {}

    @property
    def gpus(self) -> int:
        return len(self._gpus)

    def has_room(self, wanted: Needs) -> bool:
        """Whether the cores and the memory are free."""
        slots, memory = self._capped(wanted)
        return slots <= len(self._slots) and memory <= self._free_memory

    def take(self, wanted: Needs) -> Share | None:
        """What `wanted` asks for, of a pool that has room; None while too few GPUs are free."""
        slots, memory = self._capped(wanted)
        gpus = self._lease(wanted.gpus or 0)
        if gpus is None:
            return None
        taken = sorted(self._slots)[:slots]
        self._slots.difference_update(taken)
        self._free_memory -= memory
        return Share(taken, memory, gpus)

    def give_back(self, share: Share) -> None:
        self._slots.update(share.slots)
        self._free_memory += share.memory
        for gpu in share.gpus:
            os.close(self._leases.pop(gpu))

    def _capped(self, wanted: Needs) -> tuple[int, int]:
        return min(wanted.cpus, self.jobs), min(wanted.memory, self._memory)

    def _lease(self, count: int) -> list[str] | None:
        leased: list[str] = []
        for gpu in self._gpus if count else ():
            if len(leased) == count:
                break
            if gpu not in self._leases and (lock := _lock_gpu(gpu)) is not None:
                self._leases[gpu] = lock
                leased.append(gpu)
        if len(leased) == count:
            return leased
        for gpu in leased:
            os.close(self._leases.pop(gpu))
        return None


def _lock_gpu(gpu: str) -> int | None:
    """An open file whose lock means that the GPU is ours; it ends with this process however that ends."""
    folder = Path(tempfile.gettempdir(), f"ducttape-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder / re.sub(r"[^A-Za-z0-9._-]", "_", gpu), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
