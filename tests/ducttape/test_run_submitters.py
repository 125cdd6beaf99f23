"""Submitters: srun against a stand-in, cuda_shell, and those of a tape; test_run_queues.py has sge, torque and pbs."""

import os
from pathlib import Path

import pytest
from tapes_by_hand import Place

from ducttape.workflow.library import library

SWITCH = "global {\n  ducttape_experimental_submitters=true\n}\n"
BASE = "out/a/Baseline.baseline"

# It notes its arguments and runs the job here.
COMMANDS = {
    "srun": 'while [[ $1 == --* ]]; do echo "$1"; shift; done > "$LOG"\nexec "$@"\n',
}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "bin").mkdir()
    for name, text in COMMANDS.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\nset -e\n{text}")
        path.chmod(0o755)
    return Place(tmp_path)


def run(place: Place, *arguments, **more):
    path = f"{place.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return place.run("-y", *arguments, PATH=path, LOG=str(place.folder / "log"), **more)


def task(params: str, body: str = 'printf "%s|" "$TASK" "$x" > $out\n  echo said', name: str = "a") -> str:
    return f'task {name} > out :: x="two\nlines" {params} {{\n  {body}\n}}\n' + SWITCH


def logged(place: Place) -> list[str]:
    return (place.folder / "log").read_text().splitlines()


def test_slurm_asks_for_what_the_task_asks_for_and_nothing_else(place):
    place.tape(task('.submitter=srun .cpus=2 .mem=8000 .gres="gpu:1" .partition=long'))
    # A variable of the caller is no request.
    assert run(place, time="5:00").returncode == 0
    assert logged(place) == [
        "--job-name=a",
        "--ntasks=1",
        "--export=ALL",
        "--cpus-per-task=2",
        "--mem=8000",
        "--gres=gpu:1",
        "--partition=long",
    ]
    assert place.read("a/Baseline.baseline/out") == "a|two\nlines|"
    assert place.read("a/Baseline.baseline/ducttape_stdout.txt") == "said\n"


def test_cuda_shell_takes_the_gpu_of_its_slot(place):
    place.tape(
        "task a > out :: n=(N: 0..3) .submitter=cuda_shell {\n  sleep 0.05; echo $CUDA_VISIBLE_DEVICES > $out\n}\n"
        + SWITCH
    )
    assert run(place, "-j", "2").returncode == 0
    found = {path.read_text().strip() for path in (place.folder / "out/a").glob("*/out")}
    assert found == {"0", "1"}


MINE = """
submitter mine :: name :: mem=4G
  :: COMMANDS TASK_VARIABLES TASK REALIZATION CONFIGURATION THREAD_ID {
  action run {
    printf '%s\\n' "$name $mem $TASK $REALIZATION $CONFIGURATION $THREAD_ID ${extra:-}" > asked
    printf '%s' "$TASK_VARIABLES" > variables
    code=0
    bash -c "$COMMANDS" || code=$?
    exit $((code * 2))
  }
}
"""


def test_a_submitter_of_the_tape(place):
    place.tape(MINE + task(".submitter=mine .name=n .extra=e"))
    (place.folder / "c.tconf").write_text("global {\n}\n")
    assert run(place, "-C", "c.tconf").returncode == 0
    assert place.read("a/Baseline.baseline/asked") == "n 4G a Baseline.baseline c 0 e\n"
    assert place.read("a/Baseline.baseline/variables").startswith(f"out={place.folder / BASE}/out\nx=two\nlines\n")
    place.tape(MINE + task(".submitter=mine .name=n .mem=8G", "exit 4"))
    assert "exit code 8" in run(place).stderr
    assert place.read("a/Baseline.baseline/asked") == "n 8G a Baseline.baseline  0 \n"


def test_submitters_are_no_part_of_a_result(place):
    place.tape(task(".submitter=srun .mem=1"))
    run(place)
    place.tape(task(".submitter=shell"))
    assert "nothing to do" in run(place).stderr


def test_the_submitter_may_vary_by_branch(place):
    place.tape(MINE + task(".submitter=(Where: shell mine) .name=n"))
    assert run(place).returncode == 0
    assert (place.folder / "out/a/Where.mine/asked").exists() and not (place.folder / BASE / "asked").exists()


def test_a_submitter_of_the_tape_wins_over_the_library(place):
    own = MINE.replace("submitter mine :: name :: mem=4G", "submitter shell").replace("$name $mem", "own")
    place.tape(own + "task a > out {\n  echo > $out\n}\n")
    assert run(place).returncode == 0
    assert place.read("a/Baseline.baseline/asked").startswith("own a")


@pytest.mark.parametrize(
    ("tape", "message", "places"),
    [
        (MINE + task(".submitter=mine"), "does not give '.name', which submitter 'mine' needs", 2),
        (task(".submitter=sge .vmem=1 .q=x"), "does not give '.walltime', which submitter 'sge' needs", 2),
        (task(".submitter=slrum"), "unknown submitter 'slrum'", 1),
        (MINE.replace("=4G", "=$g") + task(".submitter=mine"), "the default of 'mem' must be a literal", 1),
    ],
)
def test_errors_name_both_places(place, tape, message, places):
    place.tape(tape)
    done = place.run("list")
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("^\n") >= places, done.stderr


def test_jobs_elsewhere_take_one_slot_and_any_cpus(place):
    place.tape(task(".submitter=srun .cpus=64"))
    assert run(place).returncode == 0 and "--cpus-per-task=64" in logged(place)
    place.tape(task('.submitter=srun .cpus="4-8"', name="b"))
    assert run(place).returncode == 0 and "--cpus-per-task=4-8" in logged(place)


def test_the_library_is_shipped():
    assert set(library("submitter")) == {"shell", "cuda_shell", "srun", "sge", "torque", "pbs"}
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert "library/*.tape" in project
