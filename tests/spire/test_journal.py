"""Journals: what counts after a kill, and what is refused."""

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spire.errors import UserError
from spire.journal import Journal

STREAMS = ("a", "b")


def row(i):
    return {"a": bytes([i]) * (i % 5), "b": b"%d\n" % i}


def content(folder):
    return {name: (folder / name).read_bytes() for name in STREAMS}


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 9)), max_size=6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_of_kills_ends_the_same(tmp_path_factory, history):
    """Runs that write some rows, perhaps make a checkpoint, and are lost with some rows and bytes after it."""
    folder = tmp_path_factory.mktemp("journal")
    for count, saved, garbage in history:
        journal = Journal(folder, STREAMS, every=1e9)
        for i in range(journal.rows, min(journal.rows + count, 20)):
            journal.append(row(i), {"n": i})
        if saved:
            journal.checkpoint()
        for file in journal._files.values():
            file.write(b"?" * garbage)
        lose(journal)
    with Journal(folder, STREAMS) as journal:
        for i in range(journal.rows, 20):
            journal.append(row(i), {"n": i})
        assert journal.counts == {"n": sum(range(20))}
    assert content(folder) == {n: b"".join(row(i)[n] for i in range(20)) for n in STREAMS}


def lose(journal):
    """What the end of a process does: files are closed, nothing is recorded."""
    import os

    for file in journal._files.values():
        file.close()
    os.close(journal._lock)


def test_an_exception_keeps_the_rows(tmp_path):
    with pytest.raises(KeyError), Journal(tmp_path, STREAMS) as journal:
        journal.append(row(1), {})
        raise KeyError
    with Journal(tmp_path, STREAMS) as journal:
        assert journal.rows == 1
        journal.discard()
    assert not tmp_path.exists()


def test_half_a_row_does_not_count(tmp_path):
    """Ctrl-C, or a full disk, between the streams of a row."""
    with pytest.raises(KeyboardInterrupt), Journal(tmp_path, STREAMS) as journal:
        journal.append(row(1), {"n": 1})
        journal.checkpoint()

        class Interrupted:
            def write(self, data):
                raise KeyboardInterrupt

        journal._files["b"], kept = Interrupted(), journal._files["b"]
        try:
            journal.append(row(2), {"n": 1})
        finally:
            journal._files["b"] = kept
    with Journal(tmp_path, STREAMS) as journal:
        assert (journal.rows, journal.counts) == (1, {"n": 1})
    assert content(tmp_path) == row(1)


def test_one_process_at_a_time(tmp_path):
    with Journal(tmp_path, STREAMS):
        code = f"from spire.journal import Journal; Journal({str(tmp_path)!r}, {STREAMS!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "another process works on this part" in done.stderr


@pytest.mark.parametrize("state", ["", "{}", "[]", '{"rows": 1, "bytes": {"a": 1}, "counts": {}}', '{"rows": "x"}'])
def test_a_damaged_state_is_refused(tmp_path, state):
    (tmp_path / "state.json").write_text(state)
    for _ in range(2):  # and the folder is free again after that
        with pytest.raises(UserError, match="state.json: not a state"):
            Journal(tmp_path, STREAMS)


def test_a_stream_that_lost_bytes_is_refused(tmp_path):
    with Journal(tmp_path, STREAMS) as journal:
        journal.append(row(4), {})
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(UserError, match="0 bytes, 4 were written"):
        Journal(tmp_path, STREAMS)
    assert json.loads((tmp_path / "state.json").read_text())["rows"] == 1
