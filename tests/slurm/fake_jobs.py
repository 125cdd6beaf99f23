"""The jobs and the two nodes of the stand-in for Slurm: real processes, started, signalled, ended and started again.

What a job is told (its environment), what becomes of it (states, exit codes, reasons) and the order of the states
follow Slurm 22.05 as observed on a real cluster of two nodes.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL")
_OOM = (
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId={id}.batch. Some of your processes may have been killed"
    " by the cgroup out-of-memory handler."
)


@dataclass(eq=False)
class Spec:
    """What one `sbatch` asked for; shared by all tasks of an array. Times in seconds, memory in MiB."""

    id: int
    script: str
    arguments: list[str]
    options: dict[str, str]
    directory: str
    environment: dict[str, str]
    name: str
    submitted: float
    tasks: list[int] | None = None
    throttle: int | None = None
    limit: float | None = None
    signal: tuple[int, float, bool] | None = None
    requeue: bool = True
    depends: list[tuple[str, int, int | None]] = field(default_factory=list)
    cpus: int = 1
    nodes: int = 1
    gpus: int = 0
    memory: int = 4000
    append: bool = False


@dataclass(eq=False)
class Job:
    """One job, or one task of an array."""

    spec: Spec
    task: int | None
    state: str = "PENDING"
    reason: str = "None"
    raw: int | None = None
    exit: tuple[int, int] = (0, 0)
    restarts: int = 0
    nodes: list[str] = field(default_factory=list)
    eligible: float = 0.0
    start: float = 0.0
    end: float = 0.0
    process: subprocess.Popen | None = None
    fate: str = ""
    kill_at: float = 0.0
    signalled: bool = False
    oom: bool = False
    held: bool = False
    gpu_numbers: list[int] = field(default_factory=list)
    attempts: list[tuple[str, tuple[int, int], float, float]] = field(default_factory=list)

    @property
    def shown(self) -> str:
        return f"{self.spec.id}_{self.task}" if self.task is not None else str(self.spec.id)

    @property
    def live(self) -> bool:
        return self.state in ("RUNNING", "COMPLETING")


class Jobs:
    """All jobs of a cluster and what happens to them; `tick` must be called often."""

    def __init__(self, folder: Path, settings: dict):
        self.folder = folder
        self.settings = settings
        self.jobs: list[Job] = []
        self.nodes = {f"n{i}": "up" for i in range(settings["nodes"])}
        self._next = 1
        self._events: list[tuple[float, Job]] = []
        self._dirty = True
        self._wake = 0.0

    def submit(self, spec: Spec) -> None:
        spec.id, self._next = self._next, self._next + 1
        for task in spec.tasks if spec.tasks is not None else [None]:
            held = "hold" in spec.options
            self.jobs.append(Job(spec, task, eligible=spec.submitted, held=held))
        self._dirty = True

    def of(self, number: int, task: int | None = None) -> list[Job]:
        """The jobs with this id, or this id and index; a raw id names one task of an array."""
        found = [j for j in self.jobs if j.spec.id == number and task in (None, j.task)]
        return found or [j for j in self.jobs if j.raw == number and task is None]

    def known(self, job: Job, now: float) -> bool:
        """Whether the controller still shows it, and already does."""
        if now < job.spec.submitted + self.settings["invisible"]:
            return False
        return job.state not in ENDED or now < job.end + self.settings["min_job_age"]

    # What is done to jobs

    def cancel(self, job: Job) -> None:
        if job.state == "PENDING":
            self._finish(job, "CANCELLED", (0, 0), job.reason)
        elif job.state == "RUNNING":
            self._terminate(job, "CANCELLED", "")

    def requeue(self, job: Job) -> bool:
        """False when it is not running and has not ended."""
        if job.state == "PENDING":
            return False
        if job.state == "RUNNING":
            self._terminate(job, "REQUEUE", "JOB REQUEUE")
        elif job.state in ENDED:
            self._again(job)
        return True

    def preempt(self, job: Job) -> None:
        self._terminate(job, "REQUEUE" if job.spec.requeue else "PREEMPTED", "PREEMPTION")

    def out_of_memory(self, job: Job, victim: str = "all") -> None:
        """`all`: everything is killed; `leaf`: the processes that have no children, as the kernel's killer does."""
        job.oom = True
        with contextlib.suppress(OSError), open(self._log(job, "error"), "a") as log:
            print(_OOM.format(id=job.raw), file=log)
        if victim == "all":
            self._signal(job, signal.SIGKILL)
        else:
            every = _family(job.process.pid)
            for pid in every:
                if not _children(pid):
                    _kill(pid, signal.SIGKILL)

    def kill_node(self, node: str, processes: bool = True) -> None:
        """A crash; without `processes` the node is only cut off, and what runs there goes on."""
        self.nodes[node] = "down"
        for job in self.jobs:
            if job.live and node in job.nodes:
                if processes:
                    self._signal(job, signal.SIGKILL)
                job.process, job.fate = None, "NODE"
                self._events.append((time.time() + self.settings["detect"], job))

    def start_node(self, node: str) -> None:
        self.nodes[node] = "up"
        self._dirty = True

    def signal(self, job: Job, number: int) -> None:
        if job.state == "RUNNING":
            self._signal(job, number)

    def release(self, job: Job) -> None:
        job.held, self._dirty = False, True

    def close(self) -> None:
        for job in self.jobs:
            if job.process is not None:
                self._signal(job, signal.SIGKILL)
                job.process.wait()

    # Time passes

    def tick(self) -> None:
        now = time.time()
        for job in [j for j in self.jobs if j.live and j.process is not None]:
            status = job.process.poll()
            if status is not None:
                self._ended(job, status)
            elif job.fate:
                if now >= job.kill_at:
                    self._signal(job, signal.SIGKILL)
            else:
                self._watch(job, now)
        for event in [e for e in self._events if e[0] <= now]:
            self._events.remove(event)
            self._node_failed(event[1])
        if self._dirty or now >= self._wake:
            self._dirty = False
            self._schedule(now)

    def _watch(self, job: Job, now: float) -> None:
        spec, scale = job.spec, self.settings["minute"] / 60
        rule = self.settings["oom"]
        if rule and spec.memory < rule["below_mib"] and now > job.start + rule.get("after", 0.1) and not job.oom:
            self.out_of_memory(job, rule.get("victim", "all"))
        if spec.limit is None:
            return
        end = job.start + spec.limit * scale
        if spec.signal and not job.signalled and now >= end - spec.signal[1] * scale:
            job.signalled = True
            if spec.signal[2]:
                _kill(job.process.pid, spec.signal[0])
            else:
                self._signal(job, spec.signal[0])
        if now >= end:
            self._terminate(job, "TIMEOUT", "TIME LIMIT")

    def _terminate(self, job: Job, fate: str, why: str) -> None:
        if job.process is None or job.fate:
            return
        job.fate, job.kill_at, job.state = fate, time.time() + self.settings["kill_wait"], "COMPLETING"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
        due = f" DUE TO {why}" if why else ""
        with contextlib.suppress(OSError), open(self._log(job, "error"), "a") as log:
            print(
                f"slurmstepd-{job.nodes[0]}: error: *** JOB {job.raw} ON {job.nodes[0]} CANCELLED AT {stamp}{due} ***",
                file=log,
            )
        self._signal(job, signal.SIGTERM)

    def _ended(self, job: Job, status: int) -> None:
        self._signal(job, signal.SIGKILL)
        job.process = None
        code = (status, 0) if status >= 0 else (0, -status)
        fate = "OUT_OF_MEMORY" if job.oom else job.fate
        if fate == "REQUEUE":
            self._again(job)
        elif fate == "OUT_OF_MEMORY":
            self._finish(job, fate, (0, 125), "OutOfMemory")
        elif fate:
            self._finish(job, fate, code, "TimeLimit" if fate == "TIMEOUT" else "None")
        elif code == (0, 0):
            self._finish(job, "COMPLETED", code, "None")
        else:
            self._finish(job, "FAILED", code, "NonZeroExitCode" if code[0] else "JobLaunchFailure")

    def _node_failed(self, job: Job) -> None:
        if job.spec.requeue:
            self._again(job)
        else:
            self._finish(job, "NODE_FAIL", (0, 0), "NodeDown")

    def _again(self, job: Job) -> None:
        now = time.time()
        job.attempts.append(("REQUEUED", job.exit, job.start, now))
        self._note(job, "PENDING")
        job.state, job.reason, job.fate, job.signalled, job.oom = "PENDING", "BeginTime", "", False, False
        job.nodes, job.exit, job.end = [], (0, 0), 0.0
        job.restarts += 1
        job.eligible = now + self.settings["requeue_delay"]
        self._dirty = True

    def _finish(self, job: Job, state: str, code: tuple[int, int], reason: str) -> None:
        job.state, job.exit, job.reason, job.fate, job.end = state, code, reason, "", time.time()
        job.start = job.start or job.end
        if job.raw is None and all(j.state in ENDED or j.raw for j in self.of(job.spec.id)):
            job.raw = job.spec.id
        self._dirty = True
        self._note(job, state)

    def _note(self, job: Job, state: str) -> None:
        """One line in the completion log, which keeps every ended attempt for ever."""
        if not self.settings["jobcomp"]:
            return
        array = f"ArrayJobId={job.spec.id} ArrayTaskId={job.task} " if job.task is not None else ""
        code = f"{job.exit[0]}:{job.exit[1]}" if state == "FAILED" else "0:0"
        line = (
            f"JobId={job.raw or job.spec.id} UserId=root(0) GroupId=root(0) Name={job.spec.name} JobState={state}"
            f" Partition=main TimeLimit=UNLIMITED StartTime={stamp(job.start)} EndTime={stamp(time.time())}"
            f" NodeList={node_list(job.nodes)} NodeCnt=1 ProcCnt=1 WorkDir={job.spec.directory} ReservationName="
            f" Tres=cpu=1 Account= QOS= WcKey= Cluster=unknown SubmitTime={stamp(job.spec.submitted)}"
            f" EligibleTime={stamp(job.eligible)} {array}DerivedExitCode=0:0 ExitCode={code} \n"
        )
        with open(self.folder / "jobcomp.txt", "a") as log:
            log.write(line)

    # Starting

    def _schedule(self, now: float) -> None:
        self._wake = float("inf")
        used = {name: [0, set()] for name in self.nodes}
        running: dict[int, int] = {}
        for job in self.jobs:
            if job.live:
                running[job.spec.id] = running.get(job.spec.id, 0) + 1
                for node in job.nodes:
                    used[node][0] += job.spec.cpus
                    used[node][1] |= set(job.gpu_numbers)
        full = False
        for job in self.jobs:
            if job.state != "PENDING":
                continue
            if job.spec.depends and not self._may_start(job):
                continue
            if job.held:
                job.reason = "JobHeldUser"
            elif job.eligible > now:
                self._wake = min(self._wake, job.eligible)
            elif job.spec.throttle and running.get(job.spec.id, 0) >= job.spec.throttle:
                job.reason = "JobArrayTaskLimit"
            elif full:
                job.reason = "Priority"
            else:
                fit = [n for n in self.nodes if self._fits(job.spec, n, used[n])]
                if len(fit) < job.spec.nodes:
                    job.reason, full = "Resources", True
                    continue
                self._start(job, fit[: job.spec.nodes], used, now)
                running[job.spec.id] = running.get(job.spec.id, 0) + 1

    def _fits(self, spec: Spec, node: str, used: list) -> bool:
        free = self.settings["cpus"] - used[0] >= spec.cpus and self.settings["gpus"] - len(used[1]) >= spec.gpus
        return free and self.nodes[node] == "up" and node not in spec.options.get("exclude", "").split(",")

    def _may_start(self, job: Job) -> bool:
        """Whether its dependencies are fulfilled. One on a job that the controller has forgotten is."""
        verdicts = [self._verdict(job, *one) for one in job.spec.depends]
        if False in verdicts:
            job.reason = "DependencyNeverSatisfied"
            if job.spec.options.get("kill-on-invalid-dep") == "yes":
                self._finish(job, "CANCELLED", (0, 0), job.reason)
            return False
        if None in verdicts:
            job.reason = "Dependency"
            return False
        return True

    def _verdict(self, job: Job, kind: str, number: int, task: int | None) -> bool | None:
        if kind == "aftercorr":
            task = job.task
        now = time.time()
        found = [j for j in self.of(number, task) if j.state not in ENDED or now < j.end + self.settings["min_job_age"]]
        done = all(j.state in ENDED for j in found)
        fine = [j.state == "COMPLETED" for j in found if j.state in ENDED]
        if kind == "afterany":
            return True if done else None
        if kind == "afternotok":
            return (not all(fine) if found else True) if done else None
        return (True if done else None) if all(fine) else False

    def _start(self, job: Job, nodes: list[str], used: dict, now: float) -> None:
        spec = job.spec
        if job.raw is None:
            last = all(j.raw is not None or j is job for j in self.of(spec.id))
            job.raw = spec.id if last or job.task is None else self._next
            self._next += job.raw == self._next
        job.nodes, job.state, job.reason, job.start, job.end = nodes, "RUNNING", "None", now, 0.0
        gpus = [g for g in range(self.settings["gpus"]) if g not in used[nodes[0]][1]][: spec.gpus]
        job.gpu_numbers = gpus
        for node in nodes:
            used[node][0] += spec.cpus
            used[node][1] |= set(gpus)
        spool = self.folder / "spool" / nodes[0] / f"job{job.raw:05d}"
        spool.mkdir(parents=True, exist_ok=True)
        script = spool / "slurm_script"
        script.write_text(spec.script)
        script.chmod(0o700)
        mode = "ab" if spec.append else "wb"
        try:
            with open(self._log(job, "output"), mode) as out, open(self._log(job, "error"), "ab") as err:
                job.process = subprocess.Popen(
                    [str(script), *spec.arguments],
                    cwd=spec.directory,
                    env=self._environment(job, gpus),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
        except OSError:
            self._finish(job, "FAILED", (0, 53), "RaisedSignal:53(Real-time_signal_19)")

    def _environment(self, job: Job, gpus: list[int]) -> dict[str, str]:
        spec = job.spec
        env = _exported(spec)
        env |= {
            "SLURM_CLUSTER_NAME": "local",
            "SLURM_CPUS_ON_NODE": str(spec.cpus),
            "SLURM_GTIDS": "0",
            "SLURM_JOBID": str(job.raw),
            "SLURM_JOB_ID": str(job.raw),
            "SLURM_JOB_NAME": spec.name,
            "SLURM_JOB_NODELIST": node_list(job.nodes),
            "SLURM_NODELIST": node_list(job.nodes),
            "SLURM_JOB_NUM_NODES": str(len(job.nodes)),
            "SLURM_NNODES": str(len(job.nodes)),
            "SLURM_JOB_PARTITION": spec.options.get("partition", "main"),
            "SLURM_JOB_USER": "root",
            "SLURM_LOCALID": "0",
            "SLURM_NODEID": "0",
            "SLURM_PROCID": "0",
            "SLURMD_NODENAME": job.nodes[0],
            "SLURM_SUBMIT_DIR": spec.directory,
            "SLURM_TASKS_PER_NODE": "1",
        }
        if "cpus-per-task" in spec.options:
            env["SLURM_CPUS_PER_TASK"] = str(spec.cpus)
        if spec.gpus:
            env["CUDA_VISIBLE_DEVICES"] = env["SLURM_JOB_GPUS"] = ",".join(map(str, gpus))
        if job.restarts:
            env["SLURM_RESTART_COUNT"] = str(job.restarts)
        if job.task is not None:
            env |= {
                "SLURM_ARRAY_JOB_ID": str(spec.id),
                "SLURM_ARRAY_TASK_ID": str(job.task),
                "SLURM_ARRAY_TASK_COUNT": str(len(spec.tasks)),
                "SLURM_ARRAY_TASK_MIN": str(min(spec.tasks)),
                "SLURM_ARRAY_TASK_MAX": str(max(spec.tasks)),
                "SLURM_ARRAY_TASK_STEP": "1",
            }
        return env

    def _log(self, job: Job, which: str) -> str:
        """The path of a log, its patterns filled in; without --error both are one file."""
        spec = job.spec
        default = "slurm-%A_%a.out" if job.task is not None else "slurm-%j.out"
        pattern = spec.options.get(which) or spec.options.get("output") or default
        known = {
            "%": "%",
            "A": str(spec.id),
            "a": "4294967294" if job.task is None else str(job.task),
            "j": str(job.raw),
            "x": spec.name,
            "N": job.nodes[0] if job.nodes else "",
            "n": "0",
            "t": "0",
            "u": "root",
        }
        name = re.sub(r"%(\d*)([%AajxNntu])", lambda m: known[m[2]].rjust(int(m[1] or 0), "0"), pattern)
        return os.path.join(spec.directory, name)

    def _signal(self, job: Job, number: int) -> None:
        """To every process of the job, whatever process groups they made."""
        if job.process is None:
            return
        for pid in _family(job.process.pid):
            _kill(pid, number)


def _exported(spec: Spec) -> dict[str, str]:
    wanted = spec.options.get("export", "ALL")
    if wanted == "ALL":
        return dict(spec.environment)
    env = {k: spec.environment[k] for k in ("HOME", "USER", "PATH") if k in spec.environment}
    for item in wanted.split(","):
        name, equals, value = item.partition("=")
        if item == "ALL":
            env |= spec.environment
        elif equals:
            env[name] = value
        elif name in spec.environment:
            env[name] = spec.environment[name]
    return env


def _children(pid: int) -> list[int]:
    try:
        return [
            int(c)
            for t in os.listdir(f"/proc/{pid}/task")
            for c in Path(f"/proc/{pid}/task/{t}/children").read_text().split()
        ]
    except OSError:
        return []


def _family(leader: int) -> list[int]:
    """The session that `leader` leads, and all descendants that left it."""
    found = {leader}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                if int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[3]) == leader:
                    found.add(int(name))
    more = list(found)
    while more:
        for child in _children(more.pop()):
            if child not in found:
                found.add(child)
                more.append(child)
    return sorted(found)


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def node_list(names: list[str]) -> str:
    """As Slurm writes it: `n0`, `n[0-1]`."""
    numbers = [int(n[1:]) for n in names]
    return "".join(names) if len(names) < 2 else f"n[{numbers[0]}-{numbers[-1]}]"


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds)) if seconds else "Unknown"
