"""docs/vocabulary.md: its ids, options and fields are those of the code."""

import re
import runpy
from dataclasses import fields
from pathlib import Path

import pytest

from spire.vocabulary.extend import MARKS, SPECIALS
from spire.vocabulary.layout import Layout

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "vocabulary.md").read_text("utf-8")


def test_the_table_of_ids_is_the_layout():
    marks = ", ".join(f"`{m}`" for m in MARKS).replace("<|", r"<\|").replace("|>", r"\|>")
    layout = Layout(base=32000, specials=list(SPECIALS), units=5000, instruct=list(MARKS))
    first, last = layout.first_unit, layout.first_unit + layout.units - 1
    for row in (
        f"| 3 to {layout.base - 1} |",
        f"| {layout.base} to {first - 1} | " + " ".join(f"`{s}`" for s in SPECIALS),
        f"| {first} to {last} | unit 0 to unit {layout.units - 1} |",
        f"| {last + 1}, {last + 2} | {marks} |",
        f"| {layout.size} to {layout.padded_size - 1} | padding",
    ):
        assert row in PAGE


def test_every_field_of_the_file_is_described():
    for name in (f.name for f in fields(Layout)):
        assert f"`{name}`" in PAGE


def test_every_option_exists(capsys):
    shown = ""
    for script in ("vocabulary_extend", "vocabulary_unit_bpe", "units_label"):
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / "scripts" / f"{script}.py"))["main"](["--help"])
        shown += capsys.readouterr().out
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)):
        assert option in shown
