"""Runs one task of a submission on a compute node: `main([TASKS, INDEX])`, as its job script calls it.

Guarantees: the body runs as on the submitting machine (bash under errexit, pipefail and nounset, values only as
environment variables, an empty standard input, a process group that ends with it), in a directory that no other
attempt uses; a complete result appears in the task's place in one rename with its record inside, an incomplete one
never does; a body that was told to end has not finished, whatever its exit code. The exit code is the body's, 0 when an
equal result was there, 1 when the task could not start. Its last word for the controller is `results/INDEX.json` beside
TASKS; a job that is to run again says nothing.

`scontrol requeue` is asked for when the time limit is near and the task's `.requeue` allows it; without a controller
that would send it again (`--detach`), failed bodies are tried again here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from ducttape.run import job_files
from ducttape.run.job_files import Refused
from ducttape.run.job_machine import boot, host, oom_kills, process_start
from ducttape.store.digest import DigestCache

# Seconds: for parents' files to appear here; between asking a body to end and making it; for a requeue to take effect.
_VISIBLE = 120.0
_GRACE = 10.0
_REQUEUE = 300.0
_LONGEST_VALUE = 127 * 1024
_LONGEST_DELAY = 300.0


class Job:
    """One start of a job. `told` is the name of the signal that asked it to end, or empty."""

    def __init__(self, spec: dict, folder: str, index: int):
        self.spec, self.folder, self.index = spec, folder, index
        self.base, self.names, self.identity = spec["base"], spec["names"], spec["record"]["identity"]
        self.cache = DigestCache(self.base, None)
        self.started, self.told, self.body = time.time(), "", None
        self.wanted, self.directory, self.outputs = "", None, None
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        self.job = f"slurm {array}_{task}" if array else f"slurm {os.environ.get('SLURM_JOB_ID', '?')}"
        self.requeued = spec["requeued"] + int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
            signal.signal(number, self._note)

    def run(self) -> int:
        try:
            self._wait_for_inputs()
            self.wanted = job_files.fingerprint(self.identity)
            if self._is_made():
                return self._report("kept")
            if self.requeued > self.spec["requeue"]:
                times = f"{self.requeued} times" if self.requeued > 1 else "once"
                problem = f"interrupted {times} by time limits, preemption or failing nodes (see .requeue)"
                return self._report("interrupted", 1, problem)
            tries = 0
            while (code := self._attempt(tries)) is None:
                tries += 1
                self._sleep(min(_LONGEST_DELAY, self.spec["retry_delay"] * 2 ** (tries - 1)))
            return code
        except Refused as e:
            return self._report("refused", 1, str(e))
        except Exception as e:
            sys.excepthook(type(e), e, e.__traceback__)
            return self._report("refused", 1, f"on {host()}: {e}")

    def _sleep(self, seconds: float) -> None:
        """Until `seconds` are over or Slurm ends this job."""
        deadline = time.monotonic() + seconds
        while self.told != "TERM" and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    # --- before the body ----------------------------------------------------------------------------------------

    def _wait_for_inputs(self) -> None:
        """Wait until this node sees the parents' results, whole; fill in the digests that were not known yet."""
        for parent in self.spec["parents"]:
            directory, record_file = parent["directory"], os.path.join(parent["directory"], self.names["record"])

            def look(parent=parent, record_file=record_file) -> dict | None:
                made = None
                if parent["result"] and os.path.isdir(os.path.dirname(parent["result"])):
                    # The parent's job has an end, and its record here is the one of that end, not of an earlier run.
                    said = job_files.read_json(parent["result"])
                    if said is None:
                        return None
                    made = said.get("outputs")
                record = job_files.read_json(record_file)
                digests = record and record.get("output_digests")
                if not digests or (made and made != digests):
                    return None
                wanted = parent["digests"]
                return record if all(not d or digests.get(name) == d for name, d in wanted.items()) else None

            why = f"the result of {parent['task']} is not visible on {host()}: {record_file}"
            record = job_files.wait_for(look, _VISIBLE, os.path.dirname(directory), why)
            for input_name, place, output in parent["inputs"]:
                path, size = record["identity"]["outputs"].get(output, ""), record.get("output_sizes", {}).get(output)

                def complete(place=f"{directory}/{path}", size=size) -> bool | None:
                    return True if os.path.exists(place) and size in (None, self._size(place)) else None

                if path != "absolute":
                    why = f"output {output} of {parent['task']} is not whole on {host()}: {directory}/{path}"
                    job_files.wait_for(complete, _VISIBLE, directory, why)
                self.identity["inputs"][input_name][place] = record["output_digests"].get(output, "")
        for name, path in self.spec["files"]:
            if not os.path.lexists(path) and not any(c in path for c in "*?"):
                raise Refused(f"input {name} does not exist on {host()}: {path}; is it on a shared file system?")

    def _size(self, path: str) -> int | None:
        try:
            return self.cache.size(path)
        except OSError:
            return None

    def _is_made(self) -> bool:
        """Whether the result is there: an older one that may stay, or that of another attempt of this run."""
        record = job_files.holds(self.spec["final"], self.names, self.wanted, self._size)
        if record is None:
            return False
        self.outputs = record["output_digests"]
        version = job_files.version_of(self.spec["final"], self.names)
        return self.spec["keep_old"] or (0 < self.spec["version"] <= version)

    # --- the body -----------------------------------------------------------------------------------------------

    def _attempt(self, tries: int) -> int | None:
        """One attempt; the exit code of this job, or None when the body may be tried again."""
        if self.told:
            return 143
        spec = self.spec
        number, self.directory = job_files.claim(spec["attempts"])
        code, start, usage = self._run_body(number)
        end = time.time()
        if code and not self.told:
            # Slurm signals body and runner together; the body may be gone before the signal is seen here.
            self._sleep(2.0 if code in (128 + signal.SIGTERM, 128 + signal.SIGKILL) else 0.2)
        self._write(self.names["exit_code"], str(code))
        self.outputs, outcome, problem = self._look_at(code)
        spent = round(usage.ru_utime + usage.ru_stime, 3)
        if problem:
            mark = self.mark | {"ended": problem, "end": end, "cpu_seconds": spent}
            self._write(self.names["start"], json.dumps(mark) + "\n")
        if outcome == "time":
            return self._time_is_up(code, problem)
        if outcome == "ended":
            # Slurm knows why, and whether this job runs again.
            return code or 143
        if outcome == "failed" and tries < spec["retries"]:
            return None
        if outcome == "failed":
            self._leave_failed()
        if problem:
            return self._report(outcome, code or 1, problem)
        record = spec["record"] | {
            "output_digests": self.outputs,
            "output_sizes": {name: self.cache.size(path) for name, path in self.paths.items()},
            "host": host(),
            "start": start,
            "end": end,
            "cpu_seconds": spent,
            "peak_memory_bytes": usage.ru_maxrss * 1024,
            "attempts": number,
            "job": self.job,
            "notes": spec["record"]["notes"] + [_note_of(mark) for _, mark in reversed(self.earlier)],
        }
        job_files.write_json(os.path.join(self.directory, self.names["record"]), record, indent=1)
        outcome = job_files.publish(self.directory, spec, self.wanted, self._size)
        if outcome != "complete":
            job_files.drop(self.directory)
        for before in job_files.numbers(spec["attempts"]):
            if before < number:
                job_files.drop(os.path.join(spec["attempts"], str(before)))
        self._forget_attempts_folder()
        return self._report(outcome)

    def _look_at(self, code: int) -> tuple[dict[str, str] | None, str, str]:
        """(digests of the outputs, how the body ended, why it made no result)."""
        if self.told == "USR1":
            return None, "time", "its time limit was near"
        if self.told:
            return None, "ended", "Slurm ended it"
        if code and oom_kills() > self.oom_kills:
            return None, "memory", f"exit code {code}, out of memory"
        if code:
            return None, "failed", _exit_reason(code)
        digests = {name: self.cache.path(path) for name, path in self.paths.items()}
        missing = ", ".join(f"{n} ({self.spec['outputs'][n]})" for n, digest in digests.items() if digest is None)
        if missing:
            return None, "failed", f"exit code 0, but it did not make its output {missing}"
        return digests, "complete", ""

    def _run_body(self, number: int):
        """(exit code, start, resource usage) of the body in `self.directory`."""
        spec = self.spec
        self.earlier = job_files.earlier(spec["attempts"], number, self.names["start"], self.wanted)
        self.paths = {name: os.path.join(self.directory, path) for name, path in spec["outputs"].items()}
        self._write(self.names["version"], f"{spec['version']}\n")
        self._write(self.names["script"], spec["archive"])
        self.oom_kills = oom_kills()
        logs = (os.path.join(self.directory, self.names[name]) for name in ("stdout", "stderr"))
        with open(next(logs), "wb") as out, open(next(logs), "wb") as err:
            env, here = self._environment(number), self.directory
            body = subprocess.Popen(
                ["bash"], stdin=subprocess.PIPE, stdout=out, stderr=err, cwd=here, env=env, process_group=0
            )
        start = time.time()
        self.mark = {
            "pid": body.pid,
            "pid_start": process_start(body.pid),
            "boot": boot(),
            "start": start,
            "host": host(),
            "job": self.job,
            "attempt": number,
            "identity": self.wanted,
        }
        self._write(self.names["start"], json.dumps(self.mark) + "\n")
        self.body = body.pid
        if self.told:
            self._end_body()
        elif spec["seconds"]:
            signal.setitimer(signal.ITIMER_REAL, max(1.0, self._remaining()))
        with contextlib.suppress(BrokenPipeError):
            body.stdin.write(spec["script"].encode("utf-8", "surrogateescape"))
            body.stdin.close()
        os.waitid(os.P_PID, body.pid, os.WEXITED | os.WNOWAIT)
        signal.setitimer(signal.ITIMER_REAL, 0)
        # What the body left in the background ends with it; its leader is not reaped yet, so the id is still its own.
        self._signal_body(signal.SIGKILL)
        self.body = None
        _, status, usage = os.wait4(body.pid, 0)
        body.returncode = code = os.waitstatus_to_exitcode(status)
        return (code if code >= 0 else 128 - code), start, usage

    def _environment(self, number: int) -> dict[str, str]:
        spec, env = self.spec, dict(os.environ)
        env["PATH"] = os.path.dirname(os.path.abspath(sys.executable)) + os.pathsep + env.get("PATH", os.defpath)
        env |= spec["special"]
        values = spec["values"] | self.paths
        env |= values
        if "TASK_VARIABLES" in spec["special"]:
            together = "".join(f"{name}={value}\n" for name, value in values.items())
            if len(os.fsencode(together)) < _LONGEST_VALUE:
                env["TASK_VARIABLES"] = together
        # Empty when this is the first attempt.
        previous = "\n".join(path for path, _ in self.earlier)
        return env | {"DUCTTAPE_ATTEMPT": str(number), "DUCTTAPE_PREVIOUS": previous}

    # --- being told to end --------------------------------------------------------------------------------------

    def _remaining(self) -> float:
        """Seconds until the body has to be asked to end, so that it can before the limit."""
        return self.started + self.spec["seconds"] - self.spec["warning"] - time.time()

    def _note(self, number: int, frame) -> None:
        """TERM: Slurm ends this job. USR1 or the timer: the time limit is near. The timer again: it is very near."""
        if number == signal.SIGUSR1 and self.spec["seconds"] and self._remaining() > 1:
            # Slurm may send it a minute early.
            return
        if number == signal.SIGALRM and self.told:
            self._signal_body(signal.SIGKILL)
            return
        if number == signal.SIGTERM or not self.told:
            self.told = "TERM" if number == signal.SIGTERM else "USR1"
            self._end_body()

    def _end_body(self) -> None:
        self._signal_body(signal.SIGTERM)
        if self.told == "USR1":
            signal.setitimer(signal.ITIMER_REAL, max(1.0, self.spec["warning"] - _GRACE))

    def _signal_body(self, number: int) -> None:
        if self.body is not None:
            with contextlib.suppress(OSError):
                os.killpg(self.body, number)

    def _time_is_up(self, code: int, problem: str) -> int:
        """Run again, with all the time of a new start, when that is allowed; this process is ended meanwhile."""
        if self.requeued < self.spec["requeue"]:
            try:
                command = ["scontrol", "requeue", os.environ.get("SLURM_JOB_ID", "")]
                asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
                if asked.returncode == 0:
                    self._sleep(_REQUEUE)
                    if self.told == "TERM":
                        return 143
                else:
                    sys.stderr.write(asked.stderr.decode("utf-8", "replace"))
            except (OSError, subprocess.TimeoutExpired) as e:
                sys.stderr.write(f"scontrol requeue: {e}\n")
        return self._report("time", code or 143, problem)

    # --- after it -----------------------------------------------------------------------------------------------

    def _leave_failed(self) -> None:
        """A failed attempt goes where people look for it, unless the task can resume from it or a result is there."""
        final = self.spec["final"]
        if self.spec["resume"]:
            return
        try:
            if not os.path.exists(os.path.join(final, self.names["record"])):
                if os.path.lexists(final):
                    job_files.clear(self.spec)
                os.rename(self.directory, final)
                self.directory = final
                self._forget_attempts_folder()
        except Exception as e:
            sys.stderr.write(f"{self.directory} stays where it is: {e}\n")

    def _forget_attempts_folder(self) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(self.spec["attempts"])

    def _report(self, outcome: str, code: int = 0, reason: str = "") -> int:
        """The last word of this job. One about a failure gives way when another attempt has made the result."""
        if code and outcome != "memory" and self.wanted and self._is_made():
            outcome, code, reason = "kept", 0, ""
        good = code == 0
        result = {
            "outcome": outcome,
            "exit_code": code,
            "reason": reason,
            "job": self.job,
            "host": host(),
            "directory": self.spec["final"] if good else self.directory,
            "requeued": self.requeued,
            "outputs": self.outputs if good and outcome != "superseded" else None,
            "digests": self._digests() if outcome == "complete" else [],
        }
        try:
            job_files.write_json(os.path.join(self.folder, "results", f"{self.index}.json"), result)
        except OSError as e:
            # The folder goes when the task was cancelled; the record says all that counts.
            sys.stderr.write(f"{outcome}: {reason} ({e})\n")
        return code

    def _digests(self) -> list[list]:
        """What was digested, under the names that the files have in the task's place."""
        attempt = os.path.relpath(self.directory, self.base) + os.sep
        final = os.path.relpath(self.spec["final"], self.base) + os.sep
        return [
            [final + key[len(attempt) :] if key.startswith(attempt) else key, *entry]
            for key, *entry in self.cache.learned()
        ]

    def _write(self, name: str, text: str) -> None:
        with open(os.path.join(self.directory, name), "w", encoding="utf-8", errors="surrogateescape") as f:
            f.write(text)


def _exit_reason(code: int) -> str:
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"exit code {code} (killed by {signal.Signals(code - 128).name})"
    return f"exit code {code}"


def _note_of(mark: dict) -> str:
    """What a record says of an attempt before the one that made it."""
    why = mark.get("ended") or "it ended without a word"
    return f"attempt {mark.get('attempt')} on {mark.get('host')} ({mark.get('job')}) was not the last: {why}"


def main(arguments: list[str]) -> int:
    tasks, index = arguments[0], int(arguments[1])
    return Job(job_files.read_spec(tasks, index), os.path.dirname(os.path.abspath(tasks)), index).run()
