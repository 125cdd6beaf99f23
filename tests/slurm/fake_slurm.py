"""A stand-in for Slurm on one machine: it really runs batch scripts and array tasks, and lies when told to.

    python tests/slurm/fake_slurm.py serve DIR &      # until its parent ends or `ctl DIR stop`
    PATH=DIR/bin:$PATH sbatch --wrap 'echo hello'     # and squeue, sacct, scontrol, scancel, sinfo
    python tests/slurm/fake_slurm.py ctl DIR kill-node n0

DIR holds bin/ (the commands), spool/, jobcomp.txt, calls.log (one JSON line a call) and control.json, which is read
again when it changes: {"settings": {...}, "lies": [{"command": "squeue", "kind": "empty", "times": 3, "id": 1}, ...]}.

The kinds of lies; `times` is how often (without it: for ever), `match` a text that the arguments must contain:
  empty             nothing on stdout, exit 0 (the command is not done)
  fail              exit 1 and `text` on stderr (the command is not done)
  socket            exit 1, "Socket timed out on send/recv operation" (the command is not done)
  hang              no answer (the command is not done)
  slow              done at once, but the answer comes `seconds` later
  retry             `seconds` of "temporarily unable to accept job, sleeping and retrying", then done, exit 0
  done_but_error    done, and answered with exit 1 and "Socket timed out"
  done_but_empty    done, exit 0, nothing on stdout
  warn_stdout       done; a warning (`text`) comes first on stdout, exit 0
  warn_stderr       done; a warning (`text`) on stderr, exit 0
  duplicate         done; every line twice
  reverse           done; the lines in the other order
  truncate          done; stdout ends after `share` of its bytes (0.5), in the middle of a line
  hide              done; lines that contain `line` are left out
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

NAMES = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo")
# Times in seconds, memory in MiB. `minute`: how long a minute of --time and of --signal lasts.
SETTINGS = {
    "nodes": 2,
    "cpus": 4,
    "gpus": 2,
    "memory": 4000,
    "minute": 60.0,
    "kill_wait": 1.0,
    "requeue_delay": 0.2,
    "detect": 0.3,
    "min_job_age": 600.0,
    "invisible": 0.0,
    "accounting": False,
    "store_comment": False,
    "jobcomp": False,
    "max_array": 20001,
    "max_jobs": 20000,
    "oom": None,
}
_SOCKET = "Socket timed out on send/recv operation"
_NOT_DONE = ("empty", "fail", "socket", "hang")


class Server:
    """Answers the commands, one at a time, and lets time pass for the jobs between them."""

    def __init__(self, folder: Path):
        from fake_jobs import Jobs

        self.folder = folder
        self.settings = dict(SETTINGS)
        self.lies: list[dict] = []
        self._control = (0, 0)
        self._told: dict[str, int] = {}
        self._read_control()
        self.jobs = Jobs(folder, self.settings)
        self._parent = os.getppid()
        self._stop = False

    def serve(self) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            port = self.folder / "port.tmp"
            port.write_text(str(listener.getsockname()[1]))
            port.replace(self.folder / "port")
            try:
                while not self._stop and os.getppid() == self._parent and self.folder.exists():
                    if select.select([listener], [], [], 0.02)[0]:
                        connection, _ = listener.accept()
                        with connection, contextlib.suppress(OSError, ValueError):
                            self._serve_one(connection)
                    self._read_control()
                    self.jobs.tick()
            finally:
                self.jobs.close()

    def _serve_one(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with connection.makefile("rwb") as stream:
            question = json.loads(stream.readline())
            name = question["name"]
            answer = self._tell(question["argv"]) if name == "ctl" else self._answer(name, question)
            stream.write(json.dumps(answer).encode() + b"\n")

    def _answer(self, name: str, question: dict) -> dict:
        from fake_commands import COMMANDS
        from fake_submit import Caller, NeedsInput

        argv = question["argv"]
        lies = self._lies(name, argv)
        kinds = {lie["kind"]: lie for lie in lies}
        delay = max([lie.get("seconds", 1.0) for lie in lies if lie["kind"] in ("slow", "retry")], default=0.0)
        error = f"{name}: error: " if name in ("sbatch", "scancel") else "slurm_load_jobs error: "
        failed = f"{error}{'Batch job submission failed: ' if name == 'sbatch' else ''}"
        status, out, err = 0, "", ""
        if "hang" in kinds:
            delay = 3600.0
        elif "socket" in kinds:
            status, err = 1, f"{failed}{_SOCKET}\n"
        elif "fail" in kinds:
            text = kinds["fail"].get("text", "Unable to contact slurm controller (connect failure)")
            status, err = 1, f"{failed}{text}\n"
        elif "empty" not in kinds:
            caller = Caller(question["cwd"], question["env"], question.get("stdin"))
            try:
                status, out, err = COMMANDS[name](argv, caller, self.jobs)
            except NeedsInput:
                return {"more": True}
            except KeyError as unknown:
                status, err = 1, f"{name}: unrecognized option '{unknown.args[0]}'\n"
        for lie in lies:
            status, out, err = _twist(lie, name, failed, status, out, err)
        self._used(lies)
        entry = {"time": time.time(), "name": name, "argv": argv, "status": status, "lies": list(kinds)}
        with open(self.folder / "calls.log", "a") as log:
            log.write(json.dumps(entry) + "\n")
        return {"status": status, "out": out, "err": err, "delay": delay}

    def _lies(self, name: str, argv: list[str]) -> list[dict]:
        text = "\0".join(argv)
        return [
            lie
            for lie in self.lies
            if lie["command"] in (name, "*")
            and lie.get("match", "") in text
            and self._told.get(str(lie.get("id")), 0) < lie.get("times", float("inf"))
        ]

    def _used(self, lies: list[dict]) -> None:
        for lie in lies:
            self._told[str(lie.get("id"))] = self._told.get(str(lie.get("id")), 0) + 1

    def _read_control(self) -> None:
        path = self.folder / "control.json"
        with contextlib.suppress(OSError, ValueError):
            found = path.stat()
            if (found.st_mtime_ns, found.st_ino) != self._control:
                control = json.loads(path.read_text())
                self.settings.update(control.get("settings", {}))
                self.lies = control.get("lies", [])
                self._control = (found.st_mtime_ns, found.st_ino)

    def _tell(self, argv: list[str]) -> dict:
        """What is done to nodes and jobs from outside; `ID` as sbatch names it, `5` or `5_3`."""
        verb, *rest = argv
        if verb == "stop":
            self._stop = True
        elif verb in ("kill-node", "lose-node"):
            self.jobs.kill_node(rest[0], processes=verb == "kill-node")
        elif verb == "start-node":
            self.jobs.start_node(rest[0])
        elif verb in ("preempt", "oom", "kill"):
            number, _, task = rest[0].partition("_")
            for job in self.jobs.of(int(number), int(task) if task else None):
                if job.state == "RUNNING":
                    action = {"preempt": self.jobs.preempt, "oom": self.jobs.out_of_memory}.get(verb)
                    if action:
                        action(job, *rest[1:])
                    else:
                        self.jobs.signal(job, 9)
        elif verb == "jobs":
            rows = [
                {
                    "id": j.shown,
                    "raw": j.raw,
                    "state": j.state,
                    "reason": j.reason,
                    "exit": list(j.exit),
                    "start": j.start,
                    "restarts": j.restarts,
                    "name": j.spec.name,
                    "options": j.spec.options,
                    "pid": j.process and j.process.pid,
                }
                for j in self.jobs.jobs
            ]
            return {"status": 0, "out": json.dumps(rows) + "\n", "err": "", "delay": 0}
        else:
            return {"status": 2, "out": "", "err": f"fake_slurm: no such verb: {verb}\n", "delay": 0}
        return {"status": 0, "out": "", "err": "", "delay": 0}


def _twist(lie: dict, name: str, failed: str, status: int, out: str, err: str) -> tuple[int, str, str]:
    """A true answer as this lie tells it."""
    kind, lines = lie["kind"], out.splitlines(keepends=True)
    if kind == "done_but_error":
        return 1, "", f"{failed}{_SOCKET}\n"
    if kind == "done_but_empty":
        return 0, "", ""
    if kind == "warn_stdout":
        return status, lie.get("text", f"{name}: warning: the controller is busy") + "\n" + out, err
    if kind == "warn_stderr":
        return status, out, lie.get("text", f"{name}: warning: the controller is busy") + "\n" + err
    if kind == "retry":
        return status, out, "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n" + err
    if kind == "duplicate":
        return status, "".join(line * 2 for line in lines), err
    if kind == "reverse":
        return status, "".join(reversed(lines)), err
    if kind == "truncate":
        return status, out[: int(len(out) * lie.get("share", 0.5))], err
    if kind == "hide":
        return status, "".join(line for line in lines if lie["line"] not in line), err
    return status, out, err


def client(folder: Path, name: str, argv: list[str]) -> int:
    """One call of a command; the exit status."""
    question = {"name": name, "argv": argv, "cwd": os.getcwd(), "env": dict(os.environ)}
    try:
        answer = _ask(folder, question)
        if answer.get("more"):
            answer = _ask(folder, question | {"stdin": sys.stdin.read()})
    except (OSError, ValueError):
        print(f"{name}: error: Unable to contact slurm controller (connect failure)", file=sys.stderr)
        return 1
    if answer["delay"]:
        time.sleep(answer["delay"])
    sys.stderr.write(answer["err"])
    sys.stdout.write(answer["out"])
    sys.stdout.flush()
    return answer["status"]


def _ask(folder: Path, question: dict) -> dict:
    port = int((folder / "port").read_text())
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, connection.makefile("rwb") as stream:
        stream.write(json.dumps(question).encode() + b"\n")
        stream.flush()
        return json.loads(stream.readline())


class FakeSlurm:
    """The stand-in for a test: started, told what to do, asked what was called, and stopped with all its jobs.

    `path` goes first into PATH. Names of jobs are as sbatch gives them: "5" or "5_3".
    """

    def __init__(self, folder: Path, **settings):
        self.folder = Path(folder)
        self.path = str(self.folder / "bin")
        self._settings, self._lies, self._count = dict(settings), [], 0
        (self.folder / "bin").mkdir(parents=True)
        for name in NAMES:
            script = self.folder / "bin" / name
            words = f'"{sys.executable}" -I -S "{Path(__file__).resolve()}" client "{self.folder}" {name}'
            script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
        self._write()
        command = [sys.executable, "-S", __file__, "serve", str(self.folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not (self.folder / "port").exists():
            assert self._process.poll() is None and time.monotonic() < deadline, "the stand-in for Slurm does not start"
            time.sleep(0.01)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)

    def set(self, **settings) -> None:
        """Change settings (see SETTINGS) from now on."""
        self._settings |= settings
        self._write()

    def lie(self, command: str, kind: str, **more) -> None:
        """From now on `command` ("*": every command) lies so; see the head of this file."""
        self._count += 1
        self._lies.append({"command": command, "kind": kind, "id": self._count, **more})
        self._write()

    def be_honest(self) -> None:
        self._lies.clear()
        self._write()

    def tell(self, *argv: str) -> str:
        """kill-node n0, lose-node n0, start-node n0, preempt ID, oom ID [leaf], kill ID."""
        answer = _ask(self.folder, {"name": "ctl", "argv": list(argv)})
        assert answer["status"] == 0, answer["err"]
        return answer["out"]

    def jobs(self) -> list[dict]:
        """All jobs as they are: id, raw, state, reason, exit, restarts, name, options, pid, start."""
        return json.loads(self.tell("jobs"))

    def calls(self, name: str | None = None) -> list[dict]:
        """What was called: time, name, argv, status, lies."""
        try:
            lines = (self.folder / "calls.log").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [call for call in map(json.loads, lines) if name in (None, call["name"])]

    def most_calls_in_a_second(self) -> int:
        times = sorted(call["time"] for call in self.calls())
        return max((sum(t <= u < t + 1 for u in times) for t in times), default=0)

    def _write(self) -> None:
        temporary = self.folder / "control.json.tmp"
        temporary.write_text(json.dumps({"settings": self._settings, "lies": self._lies}))
        temporary.replace(self.folder / "control.json")


def main(argv: list[str]) -> int:
    verb, folder, *rest = argv
    if verb == "client":
        return client(Path(folder), rest[0], rest[1:])
    if verb == "serve":
        import signal

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        place = Path(folder).resolve()
        place.mkdir(parents=True, exist_ok=True)
        Server(place).serve()
        return 0
    answer = _ask(Path(folder), {"name": "ctl", "argv": rest})
    sys.stdout.write(answer["out"])
    sys.stderr.write(answer["err"])
    return answer["status"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
