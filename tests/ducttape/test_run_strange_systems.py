"""File systems that show files late, clocks that jump, places that cannot be written, names that bite."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tapes_by_hand import Place, environment
from test_run_crash import wait_until

STRANGE = str(Path(__file__).with_name("strange_systems.py"))


def start(place: Place, kind: str, seconds: float, *arguments) -> subprocess.Popen:
    command = [sys.executable, STRANGE, kind, str(seconds), "x.tape", "-O", "out", *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=place.folder, text=True, env=environment(), **pipes)


@pytest.mark.parametrize("seconds", [0.4, 1.5])
def test_a_result_that_is_seen_late_is_not_made_twice(tmp_path, seconds):
    place, go, log = Place(tmp_path), tmp_path / "go", tmp_path / "log"
    place.tape(
        f"task a > out :: go={go} log={log} {{\n  echo a >> $log\n  while [ ! -e $go ]; do sleep 0.02; done\n"
        "  echo 1 > $out\n}\n"
        f"task b < in=$out@a > out :: log={log} {{\n  echo b >> $log\n  cat $in > $out\n}}\n"
    )
    first = place.start("-y")
    wait_until(lambda: log.exists())
    other = start(place, "late", seconds, "-y")
    wait_until(lambda: other.stderr.readline().startswith("wait "))
    go.touch()
    assert first.wait(30) == 0
    assert other.wait(30) == 0, other.stderr.read()
    assert log.read_text() == "a\nb\n"
    first.communicate(), other.communicate()


def test_what_failed_elsewhere_is_not_tried_again_here(tmp_path):
    place, go = Place(tmp_path), tmp_path / "go"
    place.tape(
        f"task a > out :: go={go} {{\n  while [ ! -e $go ]; do sleep 0.02; done\n"
        "  echo x >> ../../../log\n  exit 3\n}\n"
    )
    first = place.start("-y")
    wait_until(lambda: (tmp_path / "out/a/Baseline.baseline").exists())
    second = place.start("-y")
    wait_until(lambda: second.stderr.readline().startswith("wait "))
    go.touch()
    said = second.communicate(timeout=30)[1]
    first.communicate(timeout=30)
    assert second.returncode == 1 and "failed with exit code 3 under " in said
    assert (tmp_path / "log").read_text() == "x\n"


@pytest.mark.parametrize("seconds", [2, 100_000])
def test_a_clock_that_jumps_changes_no_result(tmp_path, seconds):
    place = Place(tmp_path)
    place.tape(
        "task a > out :: x=(X: 1 2 3) .time='1:00' .retries=1 .retry_delay=0.1 {\n"
        "  echo $x > $out\n  test $DUCTTAPE_ATTEMPT = 1 || exit 0\n}\n"
        "task b < in=$out@a > out {\n  cat $in > $out\n}\nplan {\n  reach b via (X: *)\n}\n"
    )
    run = start(place, "clock", seconds, "-y", "-j2")
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 0, said
    again = start(place, "clock", seconds, "-y")
    assert "nothing to do" in again.communicate(timeout=60)[1]
    assert [place.read(f"b/X.{x}/out" if x > 1 else "b/Baseline.baseline/out") for x in (1, 2, 3)] == [
        "1\n",
        "2\n",
        "3\n",
    ]


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self/mounts").exists(), reason="needs Linux's mounts")
def test_a_place_that_cannot_be_written_stops_before_any_task(tmp_path):
    place, disk = Place(tmp_path), tmp_path / "out"
    place.tape(f"task a > out {{\n  echo x >> {tmp_path}/ran\n  echo 1 > $out\n}}\n")
    disk.mkdir()
    if os.geteuid() != 0:
        disk.chmod(0o500)
    elif subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a read-only tmpfs is not allowed here")
    try:
        done = place.run("-y")
        looked = [place.run(mode) for mode in ("list", "status", "report")]
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(disk)], check=True)
    assert done.returncode == 1 and "hint: choose a folder that you may write to with -O DIR" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert [mode.returncode for mode in looked] == [0, 0, 0]


BITING = [
    "$(touch pwned)",
    "`touch pwned`",
    "a; touch pwned",
    "--version",
    "../../../escaped",
    "..",
    "naïve – 日本語 🦆",
    "two\nlines",
    "'\"\\",
    "x" * 10_000,
]


@pytest.mark.parametrize("value", BITING, ids=range(len(BITING)))
def test_values_of_configs_and_of_the_command_line_never_execute_or_escape(tmp_path, value):
    place = Place(tmp_path / "deep" / "er")
    place.folder.mkdir(parents=True)
    place.tape(
        "task a > out :: x=$x name=(Name: one two) {\n  printf '%s' \"$x\" > $out\n}\n"
        'task b < in=$out@a > out :: x=$x {\n  cat "$in" > $out\n}\n'
        "plan {\n  reach b via (Name: *)\n}\nglobal {\n  x=before\n}\n"
    )
    before = set(tmp_path.rglob("*"))
    done = place.run("-y", "-D", f"x={value}")
    if done.returncode == 0:
        assert place.read("b/Name.two/out") == value
    else:
        assert "error: " in done.stderr and "hint: " in done.stderr
    assert place.run("-D", f"x={value}", "status", "--json").returncode == done.returncode
    made = {p for p in tmp_path.rglob("*") if p not in before}
    assert all(place.folder / "out" in [p, *p.parents] for p in made), made
    assert not list(tmp_path.rglob("pwned")) and not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("name", ["../up", "a/b", "-rf", "$(touch pwned)", "x" * 300, "é" * 200, "a b", ".", ".."])
def test_names_of_branches_that_are_no_names_are_refused_or_stay_inside(tmp_path, name):
    place = Place(tmp_path / "deep")
    place.folder.mkdir()
    place.tape(
        f"task a > out :: x=(Name: one '{name}'=2) {{\n  echo $x > $out\n}}\nplan {{\n  reach a via (Name: *)\n}}\n"
    )
    before = set(tmp_path.rglob("*"))
    done = place.run("-y")
    made = {p for p in tmp_path.rglob("*") if p not in before}
    assert all(place.folder / "out" in [p, *p.parents] for p in made), made
    assert not list(tmp_path.rglob("pwned"))
    assert done.returncode == 0 or "error: " in done.stderr


def test_an_output_cannot_leave_its_directory_by_dots(tmp_path):
    place = Place(tmp_path)
    place.tape("task a > out=../../../gone.txt {\n  echo 1 > $out\n}\n")
    done = place.run("-y")
    assert done.returncode == 1 and "error: " in done.stderr
    assert not (tmp_path / "gone.txt").exists()


def test_time_passes_while_nobody_looks(tmp_path):
    """A lock of a controller that lives is never taken, however old it is."""
    place = Place(tmp_path)
    place.tape("task a > out {\n  sleep 1\n  echo 1 > $out\n}\n")
    first = place.start("-y")
    wait_until(lambda: list((tmp_path / "out/a").glob("*.LOCK")))
    for lock in (tmp_path / "out/a").glob("*.LOCK"):
        os.utime(lock, (time.time() - 1e6, time.time() - 1e6))
    second = place.run("-y")
    first.communicate()
    assert first.returncode == 0 and second.returncode == 0 and "already complete" in second.stderr
