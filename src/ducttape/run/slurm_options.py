"""What a task's dot-params ask of Slurm, as options of `sbatch`.

.partition .account .qos .reservation .constraint .nodelist .exclude .gres    handed on as they are
.time .mem .cpus .gpus      as on this machine; .gpus=2 asks for --gres=gpu:2
.nodes .ntasks              of a task that starts its own processes with srun
.array_limit                how many of the tasks sent together may run at a time
.requeue                    how often time limits, preemption and failing nodes may start it again (3; no: never)
.mem_cap                    how far .mem is doubled after running out of memory (four times .mem)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ducttape.plan.tasks import Param, RealizedTask
from ducttape.run.resources import needs, size
from ducttape.syntax.diagnostics import Diagnostic, TapeError

REQUEUES = 3
_MEMORY_FACTOR = 4
_MIB = 1 << 20
_HANDED_ON = ("partition", "account", "qos", "reservation", "constraint", "nodelist", "exclude")
_NODES = re.compile(r"[1-9]\d*(-[1-9]\d*)?", re.ASCII)
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Options:
    """`flags` are those of sbatch but for memory, array and dependencies; sizes in bytes, 0 when not said; times in
    seconds.
    """

    flags: tuple[str, ...]
    memory: int = 0
    memory_cap: int = 0
    array_limit: int = 0
    requeue: int = REQUEUES
    seconds: float | None = None

    @property
    def warning(self) -> int:
        """How long before the time limit a body is asked to end."""
        if self.seconds is None:
            return 60
        return int(min(180, max(15, self.seconds / 10), self.seconds / 3))

    def arguments(self) -> list[str]:
        memory = [f"--mem={-(-self.memory // _MIB)}M"] if self.memory else []
        again = ["--requeue"] if self.requeue else ["--no-requeue"]
        return [*self.flags, *memory, *again, f"--signal=B:USR1@{self.warning}"]

    def with_more_memory(self) -> Options | None:
        """Twice the memory, at most the cap; None when there is no more to be had."""
        if not self.memory or self.memory >= self.memory_cap:
            return None
        return replace(self, memory=min(2 * self.memory, self.memory_cap))


def options(task: RealizedTask) -> Options:
    """The options of a task; TapeError for a value that means nothing."""
    given = {p.name: p for p in task.params if p.dot and p.value.strip()}
    wanted = needs(task)
    flags = []
    for name in _HANDED_ON:
        if name in given:
            value = given[name].value.strip()
            if "\n" in value:
                raise _wrong(task, given[name], "on one line")
            flags.append(f"--{name}={value}")
    if "time" in given:
        flags.append(f"--time={given['time'].value.strip()}")
    if "nodes" in given:
        flags.append(f"--nodes={_match(task, given['nodes'], _NODES, 'a number of nodes, or two with a dash')}")
    if "ntasks" in given:
        flags.append(f"--ntasks={_match(task, given['ntasks'], _NODES, 'a whole number of at least 1')}")
    if wanted.cpus > 1 or "cpus" in given:
        flags.append(f"--cpus-per-task={wanted.cpus}")
    gres = given["gres"].value.strip() if "gres" in given else ""
    if wanted.gpus:
        if any(part.split(":")[0] in ("gpu", "gres/gpu") for part in gres.split(",")):
            raise _wrong(task, given["gres"], f"without gpu where .gpus={wanted.gpus} is given too")
        gres = ",".join(filter(None, (gres, f"gpu:{wanted.gpus}")))
    if gres:
        flags.append(f"--gres={gres}")
    cap = _MEMORY_FACTOR * wanted.memory
    if "mem_cap" in given:
        cap = size(given["mem_cap"].value.strip())
        if cap is None:
            raise _wrong(task, given["mem_cap"], "a size such as 500M or 8G")
    limit = int(_match(task, given["array_limit"], _WHOLE, "a whole number")) if "array_limit" in given else 0
    return Options(tuple(flags), wanted.memory, cap, limit, _requeues(task, given.get("requeue")), wanted.seconds)


def _requeues(task: RealizedTask, param: Param | None) -> int:
    value = param.value.strip().lower() if param else "yes"
    if value in ("yes", "true", "on"):
        return REQUEUES
    if value in ("no", "false", "off"):
        return 0
    return int(_match(task, param, _WHOLE, "a whole number, yes or no"))


def _match(task: RealizedTask, param: Param, form: re.Pattern, expected: str) -> str:
    value = param.value.strip()
    if not form.fullmatch(value):
        raise _wrong(task, param, expected)
    return value


def _wrong(task: RealizedTask, param: Param, expected: str) -> TapeError:
    problem = f"task {task.key.task}: .{param.name} must be {expected}, not '{param.value}'"
    return TapeError(Diagnostic(problem, param.span))


def size_text(size_in_bytes: int) -> str:
    """`4G`, `500M`: as `.mem` is written."""
    mib = -(-size_in_bytes // _MIB)
    return f"{mib // 1024}G" if mib % 1024 == 0 else f"{mib}M"
