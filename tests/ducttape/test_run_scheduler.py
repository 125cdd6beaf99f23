"""Order, slots, failures, values: what a run does with the tasks of a plan."""

import os
import time
from pathlib import Path

import pytest
from hand_plans import BASELINE, PYTHON, names, plan, read, run, states, task
from tapes_by_hand import SOURCE

from ducttape.run.launch import check
from ducttape.run.progress import Silent
from ducttape.run.resources import Pool, needs
from ducttape.syntax.diagnostics import TapeError

HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "-n",
    "--help",
    "a\nb\n\n",
    " leading and trailing ",
    "$HOME ${x} \\ * ? ~ !",
    "ünïcödé 🦆",
    "EOF\n} </dev/null\ntouch pwned\n",
    "",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_values_reach_bash_unchanged_and_never_as_code(tmp_path, value):
    assert run(tmp_path, task("a", 'printf "%s" "$x" > $out', params={"x": value})).ok
    directory = tmp_path / "a" / BASELINE
    assert (directory / "out").read_bytes() == value.encode()
    assert not list(tmp_path.rglob("pwned"))


def test_paths_with_hostile_characters(tmp_path):
    base = tmp_path / "a b'$(touch pwned)\"c"
    assert run(base, task("a", 'echo 1 > "$out"'), task("b", 'cat "$in" > "$out"', inputs={"in": ("a", "out")})).ok
    assert read(base, "b") == "1\n" and not list(tmp_path.rglob("pwned"))


def test_the_body_sees_what_it_was_promised(tmp_path):
    body = """
        pwd > $out
        echo "$TASK $REALIZATION $CONFIGURATION $THREAD_ID" >> $out
        printf '%s' "$TASK_VARIABLES" >> $out
        which python >> $out
        cat >> $out
        echo end >> $out
        set -o | grep -c -E '(errexit|pipefail|nounset) *[[:blank:]]on' >> $out
    """
    run(tmp_path, task("a", body, params={".mem": "1G", "x": "1"}), configuration="mini")
    directory = tmp_path / "a" / BASELINE
    lines = (directory / "out").read_text().splitlines()
    assert lines[0] == str(directory) and lines[1] == f"a {BASELINE} mini 0"
    assert lines[2:5] == [f"out={directory}/out", "mem=1G", "x=1"]
    assert lines[5] == os.path.join(os.path.dirname(PYTHON), "python")
    assert lines[6:] == ["end", "3"]


@pytest.mark.parametrize(
    "body",
    ["false; echo late > $out", "false | true; echo late > $out", "echo $unset_variable; echo late > $out", "exit 7"],
)
def test_a_failing_command_fails_the_task(tmp_path, body):
    outcome = run(tmp_path, task("a", body))
    assert not outcome.ok and not (tmp_path / "a" / BASELINE / "out").exists()
    assert states(tmp_path, task("a", body))[f"a/{BASELINE}"].reasons[0].startswith("failed with exit code")


def test_exit_code_zero_without_the_output_is_a_failure(tmp_path):
    outcome = run(tmp_path, task("a", "true"))
    assert "did not make its output out" in outcome.failed[0].reason
    assert states(tmp_path, task("a", "true"))[f"a/{BASELINE}"].reasons == ["output out is missing"]


def test_a_body_may_be_empty_or_only_a_comment(tmp_path):
    assert run(tmp_path, task("a", "", outputs=()), task("b", "# nothing", outputs=())).ok


def test_a_long_body_and_a_last_line_without_newline(tmp_path):
    body = "\n".join(f"echo {i} {'x' * 90} >> $out" for i in range(3000)) + "\nprintf end >> $out"
    assert run(tmp_path, task("a", body)).ok
    assert read(tmp_path, "a").endswith("end")


def test_a_value_too_large_for_an_environment_fails_clearly(tmp_path):
    outcome = run(tmp_path, task("a", "echo > $out", params={"x": "y" * 200_000}))
    assert "too large" in outcome.failed[0].reason
    assert run(tmp_path / "2", task("a", "echo > $out", params={f"x{i}": "y" * 60_000 for i in range(5)})).ok


def diamond(broken=False):
    return (
        task("top", "echo t > $out"),
        task("left", "false" if broken else "cat $in > $out", inputs={"in": ("top", "out")}),
        task("right", "cat $in > $out", inputs={"in": ("top", "out")}),
        task("below_left", "cat $in > $out", inputs={"in": ("left", "out")}),
        task("below_right", "cat $in > $out", inputs={"in": ("right", "out")}),
        task("join", "cat $in > $out", inputs={"in": [("below_left", "out"), ("below_right", "out")]}),
    )


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_failure_costs_its_descendants_only(tmp_path, jobs):
    outcome = run(tmp_path, *diamond(broken=True), jobs=jobs)
    assert [f.key.task for f in outcome.failed] == ["left"]
    assert sorted(names(outcome.made)) == ["below_right", "right", "top"]
    assert names(outcome.blocked) == ["below_left", "join"]
    assert run(tmp_path, *diamond(), jobs=jobs).ok
    assert read(tmp_path, "join") == "t\nt\n"


def test_fail_fast_starts_nothing_more(tmp_path):
    outcome = run(tmp_path, task("a", "false"), task("b", "echo > $out"), fail_fast=True)
    assert names(outcome.blocked) == ["b"] and not (tmp_path / "b" / BASELINE).exists()


def test_jobs_run_at_the_same_time_and_cpus_count(tmp_path):
    def sleepers(cpus):
        return [task(f"s{i}", "sleep 0.4; echo > $out", params={".cpus": cpus}) for i in range(2)]

    began = time.monotonic()
    run(tmp_path / "1", *sleepers("1"), jobs=2)
    assert time.monotonic() - began < 0.75
    began = time.monotonic()
    run(tmp_path / "2", *sleepers("2"), jobs=2)
    assert time.monotonic() - began > 0.8


def test_cpus_are_capped_and_checked():
    assert Pool(2).take(needs(task("a", params={".cpus": "8"}))).slots == [0, 1]
    with pytest.raises(TapeError, match="whole number"):
        needs(task("a", params={".cpus": "many"}))


def test_values_that_no_process_can_hold_are_refused_before_anything_runs():
    for value in ("a\0b", "\ud800"):
        with pytest.raises(TapeError, match="no environment variable can hold"):
            check(task("a", params={"x": value}), Pool(1))
    with pytest.raises(TapeError, match="name of a file of the engine"):
        check(task("a", outputs=("out=ducttape_record.json",)), Pool(1))


def test_background_processes_end_with_their_task(tmp_path):
    run(tmp_path, task("a", "sleep 300 & echo $! > $out"))
    pid = int(read(tmp_path, "a"))
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_costs_are_measured(tmp_path):
    body = f'{PYTHON} -c "x = bytearray(150_000_000); sum(range(3_000_000))"; echo > $out'
    outcome = run(tmp_path, task("a", body))
    found = states(tmp_path, task("a", body))[f"a/{BASELINE}"].record
    assert found.peak_memory_bytes > 140e6 and 0.02 < found.cpu_seconds < 20
    assert outcome.cpu_seconds == pytest.approx(found.cpu_seconds, abs=0.01)


def test_the_full_name_link_leads_to_the_directory(tmp_path):
    run(
        tmp_path, task("a", "echo 1 > $out", real="B.two", full="A.one+B.two"), task("b", "echo > $out", full="x" * 300)
    )
    assert os.readlink(tmp_path / "a/A.one+B.two") == "B.two"


def test_outputs_with_paths_of_their_own(tmp_path):
    shared = tmp_path / "elsewhere.txt"
    made = task("a", "mkdir sub; echo 1 > $x; echo 2 > $y", outputs=("x=sub/f", f"y={shared}"))
    assert run(tmp_path / "base", made, task("b", "cat $in > $out", inputs={"in": ("a", "y")})).ok
    assert read(tmp_path / "base", "a", "sub/f") == "1\n" and read(tmp_path / "base", "b") == "2\n"
    shared.unlink()
    assert states(tmp_path / "base", made)[f"a/{BASELINE}"].reasons == ["output y is missing"]


def test_early_cutoff_goes_on_below_the_equal_part(tmp_path):
    def tasks(text):
        return (
            task("a", f"echo {text} > $out"),
            task("b", "wc -l < $in > $out", inputs={"in": ("a", "out")}),
            task("c", "cat $in > $out", inputs={"in": ("b", "out")}),
        )

    run(tmp_path, *tasks("1"))
    outcome = run(tmp_path, *tasks("2"), reporter=Silent())
    assert names(outcome.made) == ["a", "b"] and names(outcome.reused) == ["c"]


def test_importing_the_engine_imports_no_heavy_library():
    import subprocess

    program = (
        "import sys, ducttape, ducttape.cli.main, ducttape.cli.execute\n"
        "assert not {'numpy', 'torch', 'rich'} & set(sys.modules), sorted(sys.modules)\n"
        "assert callable(ducttape.plan) and callable(ducttape.run) and ducttape.plan.tasks\n"
    )
    subprocess.run([PYTHON, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(SOURCE)})


def test_a_plan_without_tasks_is_done(tmp_path):
    assert run(tmp_path).ok and not plan().tasks


@pytest.mark.parametrize("asked, expected", [({}, "1 1 PASSIVE"), ({".cpus": "3"}, "3 3 PASSIVE")])
def test_numerical_libraries_are_held_to_the_cores_asked_for(tmp_path, asked, expected, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    body = 'echo "$OMP_NUM_THREADS $OPENBLAS_NUM_THREADS $OMP_WAIT_POLICY" > $out'
    assert run(tmp_path, task("a", body, params=asked), jobs=2).ok
    assert read(tmp_path, "a") == expected + "\n"
