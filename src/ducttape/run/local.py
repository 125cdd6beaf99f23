"""Running one bash body as a process group of this machine.

Guarantees: values reach bash only as environment variables; the body runs under errexit, pipefail and nounset in
its task directory with an empty standard input; all its processes end with it, with the controller, or with the
supervisor.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ducttape.store.layout import START, STDERR, STDOUT
from ducttape.store.locks import boot_id, process_start
from ducttape.store.objects import read_object

_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a body ended: exit code (128 + n for signal n), times in seconds, memory of its largest process in bytes."""

    exit_code: int
    start: float
    end: float
    cpu_seconds: float
    peak_memory_bytes: int


class Supervisor:
    """The one process that outlives this controller to end its tasks; started at the first task."""

    def __init__(self):
        self._process: subprocess.Popen | None = None
        self._groups: set[int] = set()

    def guard(self, group: int) -> None:
        self._groups.add(group)
        self._send(f"+{group}\n")

    def release(self, group: int) -> None:
        self._groups.discard(group)
        self._send(f"-{group}\n")

    def close(self) -> None:
        if self._process:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _send(self, line: str) -> None:
        try:
            self._write(line)
        except BrokenPipeError:
            # Somebody ended it; a new one learns of all that runs.
            self.close()
            self._write("".join(f"+{group}\n" for group in self._groups))

    def _write(self, line: str) -> None:
        if self._process is None:
            program = Path(__file__).with_name("supervisor.py")
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()


def environment(values: Mapping[str, str], special: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment with this interpreter's folder first in PATH, the special variables, then the task's."""
    env = dict(os.environ)
    # Not resolved: a virtual environment's `python` is a link, and its own folder is the one that has its packages.
    here = os.path.dirname(os.path.abspath(sys.executable))
    env["PATH"] = here + os.pathsep + env.get("PATH", os.defpath)
    env |= special
    env |= values
    return env


def threads(cpus: int) -> dict[str, str]:
    """Variables that hold numerical libraries to the cores a task asked for.

    Without them every task would start as many threads as the machine has cores: neighbours would spin against each
    other, and sums would be rounded in an order that differs from machine to machine.
    """
    count = str(cpus)
    libraries = {"OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count, "MKL_NUM_THREADS": count}
    return libraries | {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def script(body: str) -> str:
    """What bash reads on its standard input.

    The braces make bash read the whole body before it runs any of it, so that a command of the body which reads its
    standard input gets an end of file and not the rest of the body.
    """
    first = "" if body.startswith("\n") else "\n"
    return f"set -o errexit -o pipefail -o nounset\n{{ :{first}{body}\n}} </dev/null\n"


class Body:
    """One running body. `fd` becomes readable when it ends; it is None where the system has no such thing."""

    def __init__(self, directory: Path, body: str, env: Mapping[str, str], supervisor: Supervisor, note: Mapping = {}):
        self.directory = directory
        self._supervisor = supervisor
        self.start = time.time()
        with open(directory / STDOUT, "wb") as out, open(directory / STDERR, "wb") as err:
            self._process = subprocess.Popen(
                ["bash"], stdin=subprocess.PIPE, stdout=out, stderr=err, cwd=directory, env=dict(env), process_group=0
            )
        self.pid = self._process.pid
        try:
            # Bash waits for its script meanwhile: nothing runs before both the supervisor and the directory know of it.
            supervisor.guard(self.pid)
            mark = {
                "pid": self.pid,
                "pid_start": process_start(self.pid),
                "boot": boot_id(),
                "start": self.start,
                **note,
            }
            (directory / START).write_bytes(json.dumps(mark).encode() + b"\n")
            self.fd = _process_descriptor(self.pid)
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(script(body).encode("utf-8", "surrogateescape"))
                self._process.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        except BaseException:
            self.kill()
            self._process.wait()
            with contextlib.suppress(OSError):
                supervisor.release(self.pid)
            raise

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self.pid, number)

    def has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def wait(self) -> Ended:
        """Wait for its end. What the body left in the background ends here too."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        # The leader is not reaped yet, so its group id cannot have been given to anybody else.
        self.kill()
        _, status, usage = os.wait4(self.pid, 0)
        end = time.time()
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self.fd is not None:
            os.close(self.fd)
        self._supervisor.release(self.pid)
        code = self._process.returncode
        return Ended(
            exit_code=code if code >= 0 else 128 - code,
            start=self.start,
            end=end,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_memory_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        )


def _process_descriptor(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def note_end(directory: Path, reason: str, ended: Ended) -> None:
    """Note why an attempt made no result and what it cost, beside when it started."""
    mark = read_object(directory / START)
    mark |= {"ended": reason, "end": ended.end, "cpu_seconds": round(ended.cpu_seconds, 3)}
    (directory / START).write_bytes(json.dumps(mark).encode() + b"\n")


def end_orphans(directory: Path, patience: float = 10.0) -> bool:
    """End what an earlier controller started in `directory` and may have left running, with TERM and after a while with
    KILL; False when it cannot be ended.
    """
    mark = read_object(directory / START)
    try:
        group, start, boot = int(mark["pid"]), mark["pid_start"], mark["boot"]
    except (ValueError, KeyError, TypeError):
        return True
    if boot != boot_id() or group <= 1:
        return True
    began = time.monotonic()
    number, pause = signal.SIGTERM, 0.005
    while True:
        now = process_start(group)
        if now is not None and now != start:
            return True
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        waited = time.monotonic() - began
        if waited > patience:
            return False
        # What submitted a job takes it back on one TERM; a second one may interrupt that.
        number = signal.SIGKILL if waited > _GRACE else 0
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
