"""The stand-in for Slurm answers as the real one did, and lies as it is told."""

import subprocess
import time

import pytest

STATES = "%i|%T|%r|%j|%k|%N"


def run(*command, directory=None, input=None) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=directory, input=input)


def wait(
    slurm, *names: str, states=("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
) -> list:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = [j for j in slurm.jobs() if not names or j["id"] in names]
        if found and all(j["state"] in states for j in found):
            return found
        time.sleep(0.02)
    raise AssertionError(slurm.jobs())


def until(path, text: str) -> None:
    deadline = time.monotonic() + 20
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, f"{path} never said {text!r}"
        time.sleep(0.02)


def test_an_array_runs_and_every_task_has_its_own_exit_code(fake_slurm, tmp_path):
    script = tmp_path / "job.sh"
    words = "echo $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $1 $X ${SLURM_RESTART_COUNT-unset}"
    script.write_text(f"#!/bin/sh\n{words}\nexit $SLURM_ARRAY_TASK_ID\n")
    options = ["--parsable", "--array=0-3%2", "--comment=T", "-J", "n", "--export=ALL,X=x", "-o", "o_%a"]
    done = run("sbatch", *options, str(script), "arg", directory=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n")
    jobs = wait(fake_slurm)
    assert [j["exit"] for j in jobs] == [[0, 0], [1, 0], [2, 0], [3, 0]]
    assert (tmp_path / "o_3").read_text() == "1 3 arg x unset\n"
    lines = run("squeue", "-h", "-t", "all", "-o", STATES).stdout.splitlines()
    assert lines[:2] == ["1_0|COMPLETED|None|n|T|n0", "1_1|FAILED|NonZeroExitCode|n|T|n0"]
    shown = run("scontrol", "show", "job", "-o", "1").stdout.splitlines()
    assert len(shown) == 4 and "ArrayJobId=1 ArrayTaskId=3" in shown[3] and "ExitCode=3:0" in shown[3]
    # The last task of an array has the id of the array.
    assert [j["raw"] for j in jobs] == [2, 3, 4, 1]


def test_pending_arrays_are_one_line_unless_asked(fake_slurm):
    run("sbatch", "--hold", "--array=0-9%2", "-J", "held", "--wrap", "true")
    assert run("squeue", "-h", "-o", "%i|%F|%K|%T|%r|%k").stdout == "1_[0-9%2]|1|0-9%2|PENDING|JobHeldUser|(null)\n"
    assert run("squeue", "-h", "-r", "-o", "%i").stdout.split() == [f"1_{i}" for i in range(10)]
    assert run("squeue", "-h", "-j", "1", "-n", "other", "-o", "%i").stdout == ""
    run("scancel", "1_[2-9]")
    assert run("squeue", "-h", "-o", "%i").stdout == "1_[0-1%2]\n"


def test_refusals_have_the_words_of_slurm(fake_slurm, tmp_path):
    unknown = run("squeue", "-h", "-j", "99")
    assert (unknown.returncode, unknown.stderr) == (1, "slurm_load_jobs error: Invalid job id specified\n")
    assert run("scancel", "99").returncode == 0
    assert run("sacct", "-X").stderr == "Slurm accounting storage is disabled\n"
    assert run("sbatch", "--foo").returncode == 255
    refused = run("sbatch", "-p", "nope", "--wrap", "true")
    assert refused.returncode == 1 and "Invalid partition name specified" in refused.stderr
    assert "not available" in run("sbatch", "--mem=999999", "--wrap", "true").stderr
    assert "not look like a batch script" in run("sbatch", input="hello").stderr
    assert run("sbatch", "--parsable", input="#!/bin/sh\ntrue\n", directory=tmp_path).stdout == "1\n"


def test_a_requeued_job_gets_term_and_starts_again(fake_slurm, tmp_path):
    first = "trap 'echo term; exit 1' TERM; sleep 30 & wait"
    script = f'echo start ${{SLURM_RESTART_COUNT-unset}}; [ -n "$SLURM_RESTART_COUNT" ] || {{ {first}; }}'
    run("sbatch", "--open-mode=append", "-o", "log", "--wrap", script, directory=tmp_path)
    until(tmp_path / "log", "start unset")
    assert run("scontrol", "requeue", "1").returncode == 0
    assert wait(fake_slurm)[0]["restarts"] == 1
    said = (tmp_path / "log").read_text()
    assert "DUE TO JOB REQUEUE" in said and "term\n" in said and said.endswith("start 1\n")
    run("sbatch", "--hold", "--wrap", "true")
    assert run("scontrol", "requeue", "2").stderr == "2: Job is pending execution\n"


def test_nodes_crash_and_jobs_start_elsewhere_or_fail(fake_slurm, tmp_path):
    run(
        "sbatch",
        "-o",
        "log%j",
        "--wrap",
        "sleep ${SLURM_RESTART_COUNT:+0}${SLURM_RESTART_COUNT:-30}",
        directory=tmp_path,
    )
    run("sbatch", "--no-requeue", "--wrap", "sleep 30", directory=tmp_path)
    wait(fake_slurm, states=("RUNNING",))
    fake_slurm.tell("kill-node", "n0")
    first, second = wait(fake_slurm)
    assert (first["state"], first["restarts"], second["state"]) == ("COMPLETED", 1, "NODE_FAIL")
    assert "n0 down" in run("sinfo", "-h", "-o", "%N %T").stdout


def test_time_limits_signal_first(fake_slurm, tmp_path):
    fake_slurm.set(minute=1.0)
    run(
        "sbatch",
        "--time=1",
        "--signal=B:USR1@30",
        "-o",
        "log",
        "--wrap",
        "trap 'echo usr1' USR1; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.3; done",
        directory=tmp_path,
    )
    assert wait(fake_slurm)[0]["state"] == "TIMEOUT"
    said = (tmp_path / "log").read_text()
    assert "usr1\n" in said and "DUE TO TIME LIMIT" in said


def test_memory_preemption_and_cancelling(fake_slurm, tmp_path):
    fake_slurm.set(oom={"below_mib": 100, "after": 0}, accounting=True)
    run("sbatch", "--mem=50M", "--wrap", "sleep 30", directory=tmp_path)
    assert wait(fake_slurm, "1")[0]["exit"] == [0, 125]
    for _ in range(2):
        run("sbatch", "--wrap", "sleep 30", directory=tmp_path)
    wait(fake_slurm, "2", "3", states=("RUNNING",))
    run("scancel", "2")
    wait(fake_slurm, "2")
    fake_slurm.tell("preempt", "3")
    wait(fake_slurm, "3", states=("PENDING", "RUNNING"))
    run("scancel", "--name=wrap")
    wait(fake_slurm)
    rows = run("sacct", "-X", "-n", "-P", "-o", "JobID,State,ExitCode").stdout.splitlines()
    assert rows[:2] == ["1|OUT_OF_MEMORY|0:125", "2|CANCELLED by 0|0:0"]
    assert run("sacct", "--array").stderr == "sacct: unrecognized option '--array'\n"


def test_dependencies(fake_slurm, tmp_path):
    def submit(*options: str, script: str = "true") -> str:
        return run("sbatch", "--parsable", *options, "--wrap", script, directory=tmp_path).stdout.strip()

    array = submit("--array=0-1", script="exit $SLURM_ARRAY_TASK_ID")
    one = submit(f"--dependency=afterok:{array}_0")
    whole = submit(f"--dependency=afterok:{array}")
    killed = submit("-d", f"afterok:{array}_1", "--kill-on-invalid-dep=yes")
    # Observed: a job that Slurm does not know, or no longer, holds nobody back.
    unknown = submit("-d", "afterok:99")
    wait(fake_slurm, one, killed, unknown)
    states = {j["id"]: (j["state"], j["reason"]) for j in fake_slurm.jobs()}
    assert states[one] == states[unknown] == ("COMPLETED", "None")
    assert states[whole] == ("PENDING", "DependencyNeverSatisfied")
    assert states[killed] == ("CANCELLED", "DependencyNeverSatisfied")


@pytest.mark.parametrize(
    ("kind", "status", "out", "err", "submitted"),
    [
        ("empty", 0, "", "", 0),
        ("socket", 1, "", "Socket timed out on send/recv operation", 0),
        ("done_but_error", 1, "", "Socket timed out on send/recv operation", 1),
        ("done_but_empty", 0, "", "", 1),
        ("warn_stdout", 0, "warning: the controller is busy\n1\n", "", 1),
        ("retry", 0, "1\n", "temporarily unable to accept job, sleeping and retrying", 1),
        ("duplicate", 0, "1\n1\n", "", 1),
        ("truncate", 0, "1", "", 1),
    ],
)
def test_lies(fake_slurm, kind, status, out, err, submitted):
    fake_slurm.lie("sbatch", kind, times=1, seconds=0)
    done = run("sbatch", "--hold", "--parsable", "--wrap", "true")
    assert (
        done.returncode == status
        and done.stdout.endswith(out)
        and bool(done.stdout) == bool(out)
        and err in done.stderr
    )
    assert len(fake_slurm.jobs()) == submitted
    assert run("sbatch", "--hold", "--parsable", "--wrap", "true").stdout == f"{submitted + 1}\n"


def test_jobs_may_show_late_and_be_forgotten(fake_slurm):
    fake_slurm.set(invisible=1000)
    run("sbatch", "--wrap", "true", "-o", "/dev/null")
    assert run("squeue", "-h", "-t", "all").stdout == "" and run("scontrol", "show", "job", "1").returncode == 1
    wait(fake_slurm)
    fake_slurm.set(invisible=0)
    assert run("squeue", "-h", "-t", "all", "-o", "%i").stdout == "1\n"
    fake_slurm.set(min_job_age=0)
    assert run("squeue", "-h", "-t", "all", "-o", "%i").stdout == ""
    assert len(fake_slurm.calls("squeue")) == 3 and 1 <= fake_slurm.most_calls_in_a_second() <= 5


def test_nothing_is_left_when_it_ends(fake_slurm, tmp_path):
    run("sbatch", "--wrap", "sleep 300", "-o", "/dev/null")
    pid = wait(fake_slurm, states=("RUNNING",))[0]["pid"]
    fake_slurm.close()
    assert run("ps", "-o", "stat=", "-p", str(pid)).stdout.strip() in ("", "Z")
