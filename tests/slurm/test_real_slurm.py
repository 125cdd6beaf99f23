"""The `slurm` submitter with a real Slurm of two nodes: what only a real one can show, with crashes of its parts."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from doc_examples import sections
from tapes_by_hand import Place, command, environment

pytestmark = pytest.mark.slow
SWITCH = "global {\n  ducttape_experimental_submitters=true\n}\n"
BASE = "Baseline.baseline"


@pytest.fixture
def place(tmp_path, real_slurm, monkeypatch):
    for name, value in real_slurm.environment.items():
        monkeypatch.setenv(name, value)
    yield Place(tmp_path)
    real_slurm.run("scancel", "--user=root")
    until(lambda: not real_slurm.run("squeue", "-h"), 60)


def until(true, seconds: float = 120):
    """What `true()` gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return found


def task(body: str, more: str = "", name: str = "a", inputs: str = "") -> str:
    return f"task {name} {inputs} > out :: .submitter=slurm {more} {{\n  {body}\n}}\n"


def controller(place: Place, *arguments: str) -> subprocess.Popen:
    command_line = command("x.tape", "-O", "out", "-y", *arguments)
    log = open(place.folder / "controller.log", "ab")  # noqa: SIM115
    return subprocess.Popen(
        command_line, cwd=place.folder, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )


def attempts(place: Place, directory: str = f"a/{BASE}") -> list[Path]:
    return sorted((place.folder / "out" / f"{directory}.attempts").glob("[0-9]*"))


def ours(slurm, place: Place) -> list[dict[str, str]]:
    """The jobs of this test, as Slurm has them: those that write below its folder."""
    return [job for job in slurm.jobs() if str(place.folder) in job.get("StdOut", "") + job.get("WorkDir", "")]


def log(place: Place) -> str:
    return (place.folder / "controller.log").read_text()


def test_one_array_and_every_task_has_its_exit_code(place, real_slurm):
    place.tape(SWITCH + task('echo "$n $SLURM_ARRAY_TASK_ID $(pwd)" > $out; echo said $n', "n=(N: 1..12)"))
    done = place.run("-y")
    assert done.returncode == 0, done.stderr
    assert len({job["ArrayJobId"] for job in ours(real_slurm, place)}) == 1
    results = sorted(p for p in (place.folder / "out/a").iterdir() if not p.is_symlink())
    assert len(results) == 12
    for directory in results:
        record = json.loads((directory / "ducttape_record.json").read_text())
        assert record["job"].startswith("slurm ") and record["host"] in ("n0", "n1")
        assert (directory / "ducttape_stdout.txt").read_text().startswith("said ")
    assert "nothing to do" in place.run("-y").stderr
    place.tape(SWITCH + task("if [ $n = 3 ]; then exit 7; fi; echo > $out", "n=(N: 1..4)", name="b"))
    done = place.run("-y")
    assert done.returncode == 1 and "exit code 7" in done.stderr and "3 made, 1 failed" in done.stderr, done.stderr
    assert sorted(job["ExitCode"] for job in ours(real_slurm, place) if job["JobState"] == "FAILED") == ["7:0"]


def test_tasks_ask_for_what_they_need(place, real_slurm):
    place.tape(
        SWITCH
        + task("echo $SLURM_CPUS_PER_TASK $OMP_NUM_THREADS > $out", ".cpus=2 .mem=500M .time=30 .partition=urgent")
        + task("echo $CUDA_VISIBLE_DEVICES $SLURMD_NODENAME > $out; sleep 4", ".gpus=1 n=(N: 1..4)", name="g")
    )
    done = place.run("-y")
    assert done.returncode == 0, done.stderr
    assert place.read(f"a/{BASE}/out") == "2 2\n"
    asked = next(job for job in ours(real_slurm, place) if job["Partition"] == "urgent")
    assert asked["TimeLimit"] == "00:30:00" and asked["MinMemoryNode"] == "500M" and asked["CPUs/Task"] == "2"
    # Two nodes with two GPUs each: four tasks at once, each with a device of its own.
    used = {p.read_text() for p in (place.folder / "out/g").glob("*/out")}
    assert used == {"0 n0\n", "1 n0\n", "0 n1\n", "1 n1\n"}


@pytest.mark.parametrize("seed", range(3))
def test_a_controller_killed_at_any_instant_loses_and_repeats_nothing(place, real_slurm, seed):
    runs = place.folder / "runs"
    runs.mkdir()
    count = f'echo >> "{runs}/$TASK.$REALIZATION"; sleep 0.$((RANDOM % 9))'
    place.tape(
        SWITCH
        + task(f"{count}; echo $n > $out", "n=(N: 1..5)")
        + task(f"{count}; cat $i $i > $out", name="b", inputs="< i=$out@a")
    )
    chance = random.Random(seed)
    for _ in range(6):
        running = controller(place)
        time.sleep(chance.uniform(0.1, 5.0))
        running.send_signal(signal.SIGKILL)
        running.wait()
    done = place.run("-y")
    assert done.returncode == 0, log(place) + done.stderr
    ran = {p.name: len(p.read_text()) for p in runs.iterdir()}
    assert len(ran) == 10 and set(ran.values()) == {1}, ran
    assert len(ours(real_slurm, place)) == 10
    for n in range(1, 6):
        where = BASE if n == 1 else f"N.{n}"
        assert place.read(f"b/{where}/out") == f"{n}\n{n}\n"
    # What a kill left of submissions that are over goes with the next look at them.
    assert "no jobs in flight" in place.run("-y", "cancel").stderr
    assert not list((place.folder / "out/.jobs").iterdir())


def test_two_controllers_share_the_work(place, real_slurm):
    place.tape(SWITCH + task("sleep 1; echo $n > $out", "n=(N: 1..6)"))
    both = [controller(place), controller(place)]
    assert [one.wait(timeout=120) for one in both] == [0, 0], log(place)
    assert len(ours(real_slurm, place)) == 6


RESUMES = """
  if [ -n "$DUCTTAPE_PREVIOUS" ]; then
    cat "${DUCTTAPE_PREVIOUS%%$'\\n'*}/half" > $out; echo "$DUCTTAPE_ATTEMPT" >> $out; exit
  fi
  trap 'echo saved >> half; exit 1' TERM
  echo half > half
  for i in {1..3000}; do sleep 0.1; done
"""


def started(place: Place, slurm) -> tuple[subprocess.Popen, dict[str, str]]:
    """A controller with task `a`, which can resume, and its job once the body has begun."""
    running = controller(place)
    until(lambda: any((attempt / "half").exists() for attempt in attempts(place)))
    return running, next(job for job in ours(slurm, place) if job["JobState"] == "RUNNING")


def test_a_requeued_job_resumes(place, real_slurm):
    place.tape(SWITCH + task(RESUMES))
    running, job = started(place, real_slurm)
    real_slurm.run("scontrol", "requeue", job["JobId"])
    assert running.wait(timeout=120) == 0, log(place)
    assert place.read(f"a/{BASE}/out") == "half\nsaved\n2\n"
    assert not attempts(place)


def test_a_preempted_job_resumes(place, real_slurm):
    place.tape(SWITCH + task(RESUMES, ".cpus=4 .nodelist=n0"))
    running, job = started(place, real_slurm)
    script = "#!/bin/sh\nsleep 3\n"
    urgent = ["sbatch", "--partition=urgent", "--nodelist=n0", "--cpus-per-task=4", "--output=/dev/null"]
    subprocess.run(urgent, input=script, text=True, check=True, capture_output=True, env=environment())
    assert running.wait(timeout=120) == 0, log(place)
    assert place.read(f"a/{BASE}/out") == "half\nsaved\n2\n"


def test_a_time_limit_requeues(place, real_slurm):
    place.tape(SWITCH + task(RESUMES, ".time=1"))
    assert place.run("-y").returncode == 0
    assert place.read(f"a/{BASE}/out") == "half\nsaved\n2\n"


def test_a_time_limit_that_may_not_requeue_fails(place, real_slurm):
    place.tape(SWITCH + task(RESUMES, ".time=1 .requeue=no"))
    done = place.run("-y")
    assert done.returncode == 1 and "time limit" in done.stderr, done.stderr


def test_a_crashed_node_costs_an_attempt(place, real_slurm):
    place.tape(SWITCH + task(RESUMES))
    running, job = started(place, real_slurm)
    node = int(job["NodeList"][1:])
    real_slurm.kill_node(node)
    try:
        assert running.wait(timeout=180) == 0, log(place)
    finally:
        real_slurm.start_node(node)
    # Nobody could ask it to end.
    assert place.read(f"a/{BASE}/out") == "half\n2\n"
    until(lambda: real_slurm.idle() == {"n0", "n1"})


def test_a_lost_node_and_its_successor_never_write_the_same_directory(place, real_slurm):
    """The node is cut off and its job goes on, while Slurm starts it again elsewhere."""
    body = 'echo "$SLURMD_NODENAME" >> $out; for i in {1..200}; do sleep 0.1; done; echo end >> $out'
    place.tape(SWITCH + task(body))
    running = controller(place)
    until(lambda: any((attempt / "out").exists() for attempt in attempts(place)))
    job = next(job for job in ours(real_slurm, place) if job["JobState"] == "RUNNING")
    node = int(job["NodeList"][1:])
    real_slurm.kill_daemon(node)
    try:
        assert running.wait(timeout=180) == 0, log(place)
    finally:
        real_slurm.start_node(node)
    lines = place.read(f"a/{BASE}/out").split()
    assert len(lines) == 2 and lines[0] in ("n0", "n1") and lines[1] == "end"
    until(lambda: real_slurm.idle() == {"n0", "n1"})


def test_detached_plans_run_in_order(place, real_slurm):
    place.tape(
        SWITCH
        + task("sleep 1; echo $n > $out", "n=(N: 1..3)")
        + task("cat $i $i > $out", name="b", inputs="< i=$out@a")
        + task("cat $i > $out", name="c", inputs="< i=$out@b[N:*]")
    )
    begin = time.monotonic()
    left = place.run("-y", "--detach")
    assert left.returncode == 0 and time.monotonic() - begin < 30, left.stderr
    assert len({job["ArrayJobId"] for job in ours(real_slurm, place) if "ArrayJobId" in job}) <= 3
    until(lambda: all(job["JobState"] == "COMPLETED" for job in ours(real_slurm, place)))
    done = place.run("-y")
    assert done.returncode == 0, done.stderr
    assert place.read(f"c/{BASE}/out").split() == ["1", "1", "2", "2", "3", "3"]


def test_a_failed_dependency_of_a_detached_plan_does_not_wait_for_ever(place, real_slurm):
    place.tape(SWITCH + task("sleep 8; exit 3") + task("cat $i > $out", name="b", inputs="< i=$out@a"))
    assert place.run("-y", "--detach").returncode == 0
    until(lambda: not real_slurm.run("squeue", "-h"))
    states = {job["JobState"] for job in ours(real_slurm, place)}
    assert states == {"FAILED", "CANCELLED"}
    status = place.run("status")
    assert "exit code 3" in status.stdout + status.stderr, status.stdout
    place.tape(SWITCH + task("echo 1 > $out") + task("cat $i > $out", name="b", inputs="< i=$out@a"))
    done = place.run("-y")
    assert done.returncode == 0 and place.read(f"b/{BASE}/out") == "1\n", done.stderr


def test_cancel(place, real_slurm):
    place.tape(SWITCH + task("sleep 300", "n=(N: 1..12)"))
    running = controller(place)
    until(lambda: sum(job["JobState"] == "RUNNING" for job in ours(real_slurm, place)) > 2)
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=30) == 130
    assert "cancel" in log(place) and real_slurm.run("squeue", "-h")
    done = place.run("-y", "cancel")
    assert done.returncode == 0, done.stderr
    assert not real_slurm.run("squeue", "-h")
    assert "nothing to do" in place.run("-y", "cancel").stderr


PROGRAM = """
import os, sys
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
x = torch.full((4,), float(dist.get_rank() + 1))
dist.all_reduce(x)
if dist.get_rank() == 0:
    open(sys.argv[2], "w").write(f"{dist.get_world_size()} {x.tolist()}\\n")
dist.destroy_process_group()
"""


def test_the_template_for_several_nodes(place, real_slurm, monkeypatch):
    """That of docs/clusters.md, with one process a node, and addresses where the names of the nodes are none."""
    pytest.importorskip("torch")
    page = (Path(__file__).parents[2] / "docs/clusters.md").read_text()
    tape = next(f.text for s in sections(page) for f in s.fences if f.words.get("name") == "multinode.tape")
    for of_the_page, here in {
        '$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)': "127.0.0.1",
        "launch 4": "launch 1",
        ".gpus=4": ".gpus=1",
        ".cpus=16": ".cpus=1",
    }.items():
        assert of_the_page in tape
        tape = tape.replace(of_the_page, here)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    (place.folder / "train.py").write_text(PROGRAM)
    place.tape(SWITCH + tape)
    done = place.run("-y")
    assert done.returncode == 0, done.stderr
    assert place.read(f"train/{BASE}/model") == "2 [3.0, 3.0, 3.0, 3.0]\n"
