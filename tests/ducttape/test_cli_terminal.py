"""What the command looks like on a real (pseudo) terminal."""

import os
import pty
import subprocess

import pytest
from tapes_by_hand import Place, command, environment

TAPE = (
    "task slow > out {\n  echo working hard >&2; sleep 0.7; echo a result; echo > $out\n}\n"
    "task bad > out {\n  exit 3\n}\n"
)


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.tape(TAPE)
    return place


def on_terminal(place: Place, *arguments, keys: bytes = b"", **more) -> tuple[int, str]:
    """Exit code and everything shown; `keys` are typed once something was shown."""
    pytest.importorskip("rich")
    master, slave = pty.openpty()
    env = {**environment(TERM="xterm-256color", COLUMNS="100", LINES="40"), "NO_COLOR": "", **more}
    process = subprocess.Popen(
        command("x.tape", "-O", "out", *arguments),
        cwd=place.folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=env,
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
        if keys and b"[y/n]" in shown:
            os.write(master, keys)
            keys = b""
    os.close(master)
    return process.wait(), shown.decode()


def test_the_live_view_shows_running_tasks_and_the_failures_remain(place):
    code, shown = on_terminal(place, "-y", "-j2")
    assert code == 1
    assert "running" in shown and "working hard" in shown and "1/2 settled, 1 running, 1 failed" in shown
    assert "bad/Baseline.baseline: exit code 3" in shown and "slow/Baseline.baseline: working" not in shown
    assert "slow/Baseline.baseline: a result" in shown, "what a task prints remains, its log does not"
    assert "1 made, 1 failed" in shown and "\x1b[?25h" in shown, "the cursor is shown again"


def test_colours_and_their_switches(place):
    assert "\x1b[32mRUN:" in on_terminal(place, "--dry-run")[1]
    assert "\x1b[" not in on_terminal(place, "--dry-run", "-n")[1]
    assert "\x1b[" not in on_terminal(place, "--dry-run", NO_COLOR="1")[1]


def test_plain_lines_on_request(place):
    shown = on_terminal(place, "-y", "--no-live")[1]
    assert "slow/Baseline.baseline: working hard" in shown and "settled" not in shown


def test_the_question_is_answered_by_typing(place):
    code, shown = on_terminal(place, keys=b"n\n")
    assert code == 0 and "doing nothing" in shown
