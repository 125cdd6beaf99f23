"""The `sge` submitter with a real Grid Engine."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tapes_by_hand import Place, command, environment

pytestmark = pytest.mark.slow
SWITCH = "global {\n  ducttape_experimental_submitters=true\n}\n"
RESULT = "a/Baseline.baseline"


@pytest.fixture
def place(tmp_path, grid_engine, monkeypatch):
    for name, value in grid_engine.items():
        monkeypatch.setenv(name, value)
    yield Place(tmp_path)
    subprocess.run(["qdel", "-u", "*"], capture_output=True)
    until(lambda: not jobs())


def task(body: str, more: str = "", time: str = "00:10:00") -> str:
    ask = f".submitter=sge .vmem=4G .walltime='{time}' .q=main.q .poll=0.5"
    return f'task a > out :: x="two\nlines" {ask} {more} {{\n  {body}\n}}\n' + SWITCH


def until(true, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def jobs() -> list[str]:
    said = subprocess.run(["qstat"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in said.splitlines()[2:]]


def test_values_output_and_exit_code(place):
    place.tape(task('printf "%s|" "$TASK" "$x" > $out\n  echo said; echo "$JOB_ID" > job'))
    done = place.run("-y")
    assert done.returncode == 0, done.stderr
    assert place.read(f"{RESULT}/out") == "a|two\nlines|" and place.read(f"{RESULT}/job").strip().isdigit()
    assert place.read(f"{RESULT}/ducttape_stdout.txt") == "said\n"
    place.tape(task("echo bad >&2; exit 9"))
    assert "exit code 9" in place.run("-y").stderr
    assert "bad\n" in place.read(f"{RESULT}/ducttape_stderr.txt")


def test_many_run_side_by_side(place):
    place.tape(task("echo $n > $out", "n=(N: 1..8)"))
    done = place.run("-y", "-j", "8")
    assert done.returncode == 0, done.stderr
    assert {p.read_text() for p in (place.folder / "out/a").glob("*/out")} == {f"{i}\n" for i in range(1, 9)}


def test_a_deleted_job_and_one_over_its_time_fail(place):
    place.tape(task("echo > $out; touch ready; sleep 100"))
    running = place.start("-y")
    until((place.folder / "out" / RESULT / "ready").exists)
    subprocess.run(["qdel", *jobs()], capture_output=True, check=True)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1 and "failed a/Baseline.baseline" in said, said
    place.tape(task("echo > $out; sleep 100", time="00:00:02"))
    done = place.run("-y")
    assert done.returncode == 1 and "exit code" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_controller_takes_its_job_back(place, number):
    place.tape(task("sleep 300"))
    running = subprocess.Popen(command("x.tape", "-O", "out", "-y"), cwd=place.folder, env=environment(), stderr=-3)
    until(jobs)
    running.send_signal(number)
    running.wait(timeout=30)
    until(lambda: not jobs())


def test_what_a_dead_machine_left_is_taken_back_first(place):
    place.tape(task("echo old >> $out; sleep 100; echo old >> $out"))
    running = subprocess.Popen(command("x.tape", "-O", "out", "-y"), cwd=place.folder, env=environment(), stderr=-3)
    until((place.folder / "out" / RESULT / "out").exists)
    for pid in below(running.pid):
        os.kill(pid, signal.SIGKILL)
    running.wait(timeout=20)
    assert len(jobs()) == 1
    place.tape(task("echo new >> $out"))
    done = place.run("-y")
    assert done.returncode == 0, done.stderr
    until(lambda: not jobs())
    assert place.read(f"{RESULT}/out") == "new\n"


def below(pid: int) -> list[int]:
    """A process and all its children, the supervisor first."""
    children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    supervisor = [c for c in children if b"supervisor" in Path(f"/proc/{c}/cmdline").read_bytes()]
    return [*supervisor, pid, *[d for c in children if c not in supervisor for d in below(c)]]
