"""Lines of units in three forms, and the filter that drops repeats."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire.errors import UserError
from spire.units.lines import FORMS, LineForm, deduplicate_line, parse_line
from spire.units.text import deduplicate, to_pua

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

units = st.lists(st.integers(0, 3) | st.integers(0, 65_533), max_size=30)


@given(units, st.sampled_from(FORMS))
def test_lines_and_units_are_inverse(ids, form):
    assert parse_line(LineForm(form).line(ids), form) == ids


@given(units, st.sampled_from(FORMS))
def test_deduplicating_lines_is_deduplicating_units(ids, form):
    once = deduplicate_line(LineForm(form).line(ids), form)
    assert once == LineForm(form).line(deduplicate(ids))
    assert deduplicate_line(once, form) == once


def test_padding_goes_before_repeats_are_looked_for():
    assert LineForm().units([3, -1, 3, 4, 4, -1]) == [3, 4]
    assert LineForm(deduplicated=False).units([3, -1, 3, 4, 4, -1]) == [3, 3, 4, 4]


def test_text_around_units_is_kept():
    """Defect 16 of the published filter: doubled letters and digits were lost."""
    prompt = f"Speech: {to_pua([1, 1, 2])} 1100 bookkeeper {to_pua([2, 2])}"
    assert deduplicate_line(prompt, "pua") == f"Speech: {to_pua([1, 2])} 1100 bookkeeper {to_pua([2])}"
    with pytest.raises(UserError, match="no private-use character") as e:
        deduplicate_line("11 11 12", "pua")
    assert "--form indices" in e.value.hint


@pytest.mark.parametrize("line", ["1 x", "-1", "65534", "1.0", "²"])
def test_what_is_no_number(line):
    with pytest.raises(UserError, match="not a unit number"):
        deduplicate_line(line, "indices")


def run(arguments, data):
    command = [sys.executable, str(SCRIPTS / "units_deduplicate.py"), *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=60)


def test_the_filter(tmp_path):
    lines = [to_pua([5, 5, 6]), "", to_pua([7])]
    done = run([], "\n".join(lines).encode() + b"\n")
    assert done.returncode == 0 and done.stdout.decode() == f"{to_pua([5, 6])}\n\n{to_pua([7])}\n"
    (tmp_path / "in").write_bytes(b"1 1 2\n\n3\n")
    done = run(["--form", "indices", "--input", str(tmp_path / "in"), "--out", str(tmp_path / "out")], b"")
    assert done.returncode == 0 and (tmp_path / "out").read_bytes() == b"1 2\n\n3\n"
    (tmp_path / "out").unlink()
    (tmp_path / "in").write_bytes(b"1 1 2\nx\n")
    done = run(["--form", "indices", "--input", str(tmp_path / "in"), "--out", str(tmp_path / "out")], b"")
    assert done.returncode == 1 and b"in:2:" in done.stderr and not (tmp_path / "out").exists()
    assert b"standard input:1: byte 0" in run([], b"\xff\n").stderr


def test_the_filter_streams():
    sys.path.insert(0, str(SCRIPTS))
    from units_deduplicate import deduplicated

    source = io.BytesIO(b"1 1\n2 2\nx\n")
    lines = deduplicated(source, "indices", "s")
    assert [next(lines), next(lines)] == ["1", "2"]
    with pytest.raises(UserError, match="s:3"):
        next(lines)
