"""Whatever Slurm's programs answer, every task runs to its end, once, and nothing is left behind."""

from dataclasses import replace

import pytest
from hand_plans import read
from slurm_by_hand import HASTY, Run, make, reasons, task

SBATCH = [
    {"kind": "done_but_error"},
    {"kind": "done_but_empty"},
    {"kind": "warn_stdout"},
    {"kind": "warn_stderr"},
    {"kind": "retry", "seconds": 0.3},
    {"kind": "socket"},
    {"kind": "empty"},
    {"kind": "fail", "text": "Slurm temporarily unable to accept job, sleeping and retrying"},
    {"kind": "duplicate"},
    {"kind": "warn_stdout", "text": "12 jobs of yours are waiting\n99 bottles"},
]
SQUEUE = [
    {"kind": "empty", "times": 4},
    {"kind": "socket", "times": 2},
    {"kind": "hang", "times": 1},
    {"kind": "duplicate"},
    {"kind": "reverse"},
    {"kind": "truncate", "share": 0.4, "times": 6},
    {"kind": "warn_stdout"},
    {"kind": "warn_stdout", "text": "slurm_load_jobs: (null)|\n|||||\n1|x|RUNNING"},
    {"kind": "fail", "text": "Slurm backup controller in standby mode", "times": 2},
]


def tasks(tmp_path):
    count = 'echo $DUCTTAPE_ATTEMPT >> "$log"; sleep 0.6; echo $n > $out'
    return [
        task("a", count, params={"n": str(i), "log": str(tmp_path / f"log{i}")}, real=f"N.{i}") for i in range(3)
    ] + [task("b", "cat $x > $out", {"x": ("a", "out", "N.1")})]


def check(tmp_path, outcome) -> None:
    assert outcome.ok, reasons(outcome)
    assert [read(tmp_path / "out", "a", real=f"N.{i}") for i in range(3)] == ["0\n", "1\n", "2\n"]
    assert read(tmp_path / "out", "b") == "1\n"
    assert [(tmp_path / f"log{i}").read_text() for i in range(3)] == ["1\n"] * 3
    assert list((tmp_path / "out" / ".jobs").iterdir()) == []
    assert not list(tmp_path.rglob("*.attempts"))


@pytest.mark.parametrize("lie", SBATCH, ids=lambda lie: lie["kind"])
def test_lies_of_sbatch(fake_slurm, tmp_path, lie):
    fake_slurm.lie("sbatch", **{"times": 1, **lie})
    check(tmp_path, make(tmp_path / "out", *tasks(tmp_path)))
    # At most one job for every task, unless sbatch said that it did nothing.
    assert len(fake_slurm.jobs()) == 4


@pytest.mark.parametrize("lie", SQUEUE, ids=lambda lie: lie["kind"])
def test_lies_of_squeue(fake_slurm, tmp_path, lie):
    fake_slurm.lie("squeue", **lie)
    check(tmp_path, make(tmp_path / "out", *tasks(tmp_path), patience=replace(HASTY, lost=2.0, call=0.5)))
    assert len(fake_slurm.jobs()) == 4 and len(fake_slurm.calls("sbatch")) == 2


def test_everything_fails_for_a_while(fake_slurm, tmp_path):
    fake_slurm.lie("*", "socket", times=5)
    check(tmp_path, make(tmp_path / "out", *tasks(tmp_path)))


def test_jobs_that_show_late_are_not_sent_again(fake_slurm, tmp_path):
    fake_slurm.set(invisible=1.0)
    check(tmp_path, make(tmp_path / "out", *tasks(tmp_path), patience=replace(HASTY, lost=2.0)))
    assert len(fake_slurm.jobs()) == 4


def test_a_call_that_slurm_took_twice_is_cancelled_once(fake_slurm, tmp_path):
    """sbatch says nothing, squeue hides the job until it was sent again: then there are two."""
    fake_slurm.lie("sbatch", "done_but_error", times=2)
    fake_slurm.lie("squeue", "empty", times=6)

    def stop(reporter) -> bool:
        if any(job["state"] == "CANCELLED" for job in fake_slurm.jobs()):
            (tmp_path / "go").touch()
        return False

    body = f"until [[ -e {tmp_path}/go ]]; do sleep 0.05; done; echo > $out"
    outcome = make(tmp_path / "out", task("a", body), patience=replace(HASTY, lost=0.2), reporter=Run(stop))
    assert outcome.ok and list((tmp_path / "out" / ".jobs").iterdir()) == []
    states = [job["state"] for job in fake_slurm.jobs()]
    assert len(states) > 1 and states.count("COMPLETED") == 1 and states.count("RUNNING") == 0
    assert not list(tmp_path.rglob("*.attempts/*/ducttape_record.json"))


def test_a_controller_that_does_not_answer_is_asked_less_and_less(fake_slurm, tmp_path):
    fake_slurm.lie("squeue", "socket")
    one = task("a", "sleep 2; echo > $out")
    assert make(tmp_path / "out", one, patience=replace(HASTY, interval=0.1)).ok
    times = [call["time"] for call in fake_slurm.calls("squeue")]
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert 2 <= len(times) <= 6 and gaps == sorted(gaps)


def test_a_job_that_nobody_knows_any_more_is_sent_again_and_then_given_up(fake_slurm, tmp_path):
    """Slurm has lost its state: neither squeue nor accounting knows the job, and no file tells of an end."""
    fake_slurm.lie("squeue", "empty")
    one = task("a", "sleep 600", requeue=1)
    outcome = make(tmp_path / "out", one)
    assert reasons(outcome) == [
        "neither Slurm nor its directory knows of its job (started again 1 times, see .requeue)"
    ]
    assert len(fake_slurm.calls("sbatch")) == 2


@pytest.mark.parametrize("source", ["accounting", "jobcomp", "queue"])
def test_an_end_without_a_word_is_found_out(fake_slurm, tmp_path, source):
    """The runner is killed before it can say anything; Slurm's books tell that the job failed."""
    if source != "queue":
        fake_slurm.set(min_job_age=0.0, **{source: True})
    outcome = make(tmp_path / "out", task("a", "kill -9 $PPID; sleep 5"))
    assert len(reasons(outcome)) == 1 and "its job ended (failed)" in reasons(outcome)[0]
    assert list((tmp_path / "out" / ".jobs").iterdir()) == []
