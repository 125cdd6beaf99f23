"""What tasks ask for (cores, memory, GPUs, time, new tries) and what they get on this machine."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hand_plans import BASELINE, names, read, run, states, store, task
from hypothesis import given
from hypothesis import strategies as st

from ducttape.run.events import Events
from ducttape.run.launch import check
from ducttape.run.progress import Silent
from ducttape.run.resources import Needs, Pool, needs, seconds, size
from ducttape.run.scheduler import Scheduler
from ducttape.syntax.diagnostics import TapeError


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1", 60),
        ("90:30", 5430),
        ("1:30:00", 5400),
        ("2-0", 172800),
        ("1-12:30", 131400),
        ("1-1:1:1", 90061),
        ("0", None),
        ("", None),
        ("1:2:3:4", None),
        ("-1", None),
        ("1h", None),
    ],
)
def test_times_have_the_forms_of_slurm(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("500M", 500 << 20),
        ("8G", 8 << 30),
        ("8gb", 8 << 30),
        ("1.5GiB", 3 << 29),
        ("4096", 4 << 30),
        ("2T", 2 << 40),
        ("64K", 65536),
        *((bad, None) for bad in ("0", "G", "8 G", "-1G", "8X")),
    ],
)
def test_sizes(text, expected):
    assert size(text) == expected


@given(st.text(max_size=12))
def test_any_text_is_a_need_or_a_clear_error(text):
    for name in ("cpus", "mem", "gpus", "time", "retries", "retry_delay", "resume"):
        try:
            assert isinstance(needs(task("a", params={f".{name}": text})), Needs)
        except TapeError as e:
            assert f".{name} must be" in str(e)


def test_a_submitter_of_the_tape_gives_its_params_their_meaning():
    asked = {".submitter": "mine", ".mem": "lots", ".time": "soon", ".gpus": "any", ".retries": "2"}
    assert needs(task("a", params=asked)) == Needs(retries=2)
    with pytest.raises(TapeError, match=r"\.mem must be a size"):
        needs(task("a", params=asked | {".submitter": "slurm"}))


def test_memory_is_shared_and_a_task_too_large_runs_alone(tmp_path):
    pool = Pool(4, memory=8 << 30, gpus=[])
    big, small = Needs(memory=6 << 30), Needs(memory=2 << 30)
    first = pool.take(big)
    assert not pool.has_room(big) and pool.has_room(small)
    second = pool.take(small)
    assert not pool.has_room(small)
    pool.give_back(first)
    pool.give_back(second)
    assert pool.take(Needs(memory=99 << 30)).memory == 8 << 30
    body = f"ls {tmp_path}/running >> $out; touch {tmp_path}/running/$TASK; sleep 0.2; rm {tmp_path}/running/$TASK"
    (tmp_path / "running").mkdir()
    tasks = [task(f"t{i}", body, params={".mem": "5G"}) for i in range(3)]
    assert run(tmp_path / "out", *tasks, jobs=3, pool=Pool(3, memory=8 << 30, gpus=[])).ok
    assert [read(tmp_path / "out", f"t{i}") for i in range(3)] == ["", "", ""]


def test_gpus_are_distinct_and_counted(tmp_path):
    body = f"""
        mkdir {tmp_path}/gpu-$CUDA_VISIBLE_DEVICES
        sleep 0.2
        rmdir {tmp_path}/gpu-$CUDA_VISIBLE_DEVICES
        echo $CUDA_VISIBLE_DEVICES > $out
    """
    tasks = [task(f"t{i}", body, params={".gpus": "1"}) for i in range(5)]
    assert run(tmp_path / "out", *tasks, jobs=5, pool=Pool(5, gpus=["2", "GPU-7f"])).ok
    assert {read(tmp_path / "out", f"t{i}").strip() for i in range(5)} == {"2", "GPU-7f"}


def test_a_task_without_a_gpu_does_not_wait_for_one(tmp_path):
    tasks = [
        task("a", "sleep 0.6; date +%s%N > $out", params={".gpus": "1"}),
        task("b", "date +%s%N > $out", params={".gpus": "1"}),
        task("c", "date +%s%N > $out"),
    ]
    assert run(tmp_path, *tasks, jobs=2, pool=Pool(2, gpus=["0"])).ok
    a, b, c = (int(read(tmp_path, name)) for name in "abc")
    assert c < a < b


def test_zero_gpus_means_to_see_none_and_nothing_said_leaves_them(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    body = "echo [$CUDA_VISIBLE_DEVICES] > $out"
    assert run(
        tmp_path, task("a", body, params={".gpus": "0"}), task("b", body), task("c", body, params={".gpus": "2"})
    ).ok
    assert [read(tmp_path, name) for name in "abc"] == ["[]\n", "[0,1]\n", "[0,1]\n"]


def test_more_gpus_than_there_are_is_said_before_anything_runs():
    with pytest.raises(TapeError, match="asks for 3 GPUs, and this machine has 2"):
        check(task("a", params={".gpus": "3"}), Pool(1, gpus=["0", "1"]))
    check(task("a", params={".gpus": "3", ".submitter": "slurm"}), Pool(1, gpus=[]))


def test_two_pools_never_lend_the_same_gpu():
    name = f"test-{os.getpid()}"
    first, second = Pool(1, gpus=[name]), Pool(1, gpus=[name])
    share = first.take(Needs(gpus=1))
    assert share.gpus == [name] and second.take(Needs(gpus=1)) is None
    first.give_back(share)
    assert second.take(Needs(gpus=1)).gpus == [name]


def test_a_task_that_runs_too_long_is_ended(tmp_path):
    slow = task("a", "trap '' TERM; sleep 60", params={".time": "0:01"})
    began = time.monotonic()
    outcome = run(tmp_path, slow)
    assert "ran longer than its .time=0:01" in outcome.failed[0].reason
    assert 1 <= time.monotonic() - began < 9


def test_new_tries_with_growing_pauses(tmp_path):
    body = f"date +%s.%N >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) = 3; echo made > $out"
    again = task("a", body, params={".retries": "3", ".retry_delay": "0.2"})
    seen = []

    class Watching(Silent):
        def retrying(self, task, reason, delay):
            seen.append((reason, delay))

    outcome = run(
        tmp_path / "out", again, task("b", "cat $in > $out", inputs={"in": ("a", "out")}), reporter=Watching()
    )
    assert outcome.ok and read(tmp_path / "out", "b") == "made\n"
    assert seen == [("exit code 1", 0.2), ("exit code 1", 0.4)]
    first, second, third = map(float, (tmp_path / "tries").read_text().split())
    assert second - first >= 0.2 and third - second >= 0.4
    assert json.loads(read(tmp_path / "out", "a", "ducttape_record.json"))["attempts"] == 3


def test_tries_run_out_and_retries_for_all(tmp_path):
    outcome = run(
        tmp_path,
        task("a", "exit 3", params={".retry_delay": "0.01"}),
        task("b", "exit 4", params={".retries": "0"}),
        retries=2,
    )
    assert [f.reason for f in outcome.failed] == ["exit code 4", "exit code 3 (tried 3 times)"]


COUNTING = """
    for earlier in $DUCTTAPE_PREVIOUS; do
      if [ -e "$earlier/count" ]; then cp "$earlier/count" count; break; fi
    done
    echo x >> count
    if [ $(wc -l < count) -lt 3 ]; then exit 9; fi
    echo "$DUCTTAPE_ATTEMPT" > $out
    cat count >> $out
"""


def test_a_resumable_task_goes_on_from_what_was_left(tmp_path):
    resumable = task("a", COUNTING, params={".resume": "yes", ".retries": "5", ".retry_delay": "0"})
    assert run(tmp_path, resumable).ok
    assert read(tmp_path, "a") == "3\nx\nx\nx\n"
    assert not list((tmp_path / "a").glob("*.attempts"))


def test_resuming_across_runs_and_never_from_another_result(tmp_path):
    first = task("a", COUNTING, params={".resume": "yes", "n": "1"})
    assert not run(tmp_path, first).ok and not run(tmp_path, first).ok
    attempts = tmp_path / "a" / f"{BASELINE}.attempts"
    assert sorted(os.listdir(attempts)) == ["1"]
    other = task("a", COUNTING, params={".resume": "yes", "n": "2"})
    assert not run(tmp_path, other).ok
    assert not attempts.exists()
    assert (tmp_path / "a" / BASELINE / "count").read_text() == "x\n"
    assert not run(tmp_path, other).ok and run(tmp_path, other).ok


def test_without_resume_every_attempt_starts_from_nothing(tmp_path):
    assert not run(tmp_path, task("a", COUNTING, params={".retries": "2", ".retry_delay": "0"})).ok
    assert (tmp_path / "a" / BASELINE / "count").read_text() == "x\n"


@pytest.mark.parametrize("damage", ["printf cut > {0}", "rm {0}", "touch -d '2 days ago' {0}; printf no > {0}"])
def test_an_output_that_was_damaged_is_not_read_by_the_next_task(tmp_path, damage):
    made = tmp_path / "a" / BASELINE / "out"
    tasks = [
        task("a", "printf whole > $out"),
        task("break", damage.format(made), inputs={"in": ("a", "out")}, outputs=()),
        task("b", f"cp $in {tmp_path}/read; cp $in $out", inputs={"in": ("a", "out"), "after": ("wait", "out")}),
        task("wait", "echo > $out", inputs={"in": ("a", "out")}),
    ]
    order = {t.key: i for i, t in enumerate([tasks[0], tasks[1], tasks[3], tasks[2]])}
    s = store(tmp_path, tasks[0], tasks[1], tasks[3], tasks[2])
    outcome = Scheduler(s, {}, Silent(), order=order).run(s.survey())
    assert [f.key.task for f in outcome.failed] == ["wait"] and names(outcome.blocked) == ["b"]
    assert "output out of a/Baseline.baseline" in outcome.failed[0].reason
    assert not (tmp_path / "read").exists()
    assert run(tmp_path, *[t for t in tasks if t.key.task != "break"]).ok
    assert (tmp_path / "read").read_text() == "whole"


def test_events_tell_a_program_what_happened(tmp_path):
    log = tmp_path / "log.jsonl"
    tasks = [task("a", "echo > $out"), task("b", "exit 3", params={".retries": "1", ".retry_delay": "0"})]
    with Events(log, 2, Silent()) as events:
        run(tmp_path / "out", *tasks, reporter=events)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(e["event"], e.get("task")) for e in lines] == [
        ("run", None),
        *((event, "a") for event in ("start", "done")),
        *((event, "b") for event in ("start", "retry", "start", "fail")),
        ("end", None),
    ]
    assert lines[2]["cpu_seconds"] >= 0 and lines[6]["reason"] == "exit code 3 (tried 2 times)"


def test_a_controller_that_dies_while_a_try_waits_leaves_nothing_behind(tmp_path):
    tape = tmp_path / "t.tape"
    tape.write_text("task a > out :: .retries=5 .retry_delay=60 {\n  test -e ../../../now\n  echo 1 > $out\n}\n")
    command = [sys.executable, "-m", "ducttape", str(tape), "-O", str(tmp_path / "out"), "-y"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert any("next try in" in line for line in process.stderr)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    (tmp_path / "now").touch()
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert states(tmp_path / "out", task("a", textwrap.dedent("\n  test -e ../../../now\n  echo 1 > $out\n")))
    assert Path(tmp_path / "out" / "a" / BASELINE / "out").read_text() == "1\n"
