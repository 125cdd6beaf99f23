"""`explain`: what every plan has, what it leaves out, and which line or graft is to blame."""

import json

import pytest
from tapes_by_hand import Place

TAPE = """\
task prep > out :: lang=(Lang: en de fr) {
  echo > $out
}
task train < in=$out@prep > model :: size=(Size: small big) seed=(Seed: 1..3) {
  echo > $model
}
task test < model=$model@train[Size:big] > out {
  echo > $out
}
task old > out {
  echo > $out
}
"""
PLANS = """\
plan main {
  reach train via (Size: *)
  reach test via (Seed: 1 baseline 2)
}
plan other {
  reach prep via (Lang: it)
  reach prep
}
"""


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.tape(TAPE + PLANS)
    return place


def test_branches_are_left_out_by_lines_children_and_grafts(place):
    text = place.run("explain").stdout
    assert text.startswith("plan main (x.tape:13)\n  prep: 1 realization, needed by train\n    Lang: en\n")
    assert "      without de fr: no planned realization of train has it\n" in text
    assert "  train: 3 realizations, reached by line 14, needed by test\n" in text
    assert "      without 3: line 15 lists only 1 2\n" in text
    assert "      without 3: line 14 does not list Seed, so its baseline 1; no planned" in text
    assert "  needed by no goal: old\nplan other (x.tape:17)\n" in text
    assert "x.tape:18:18: the plan includes zero tasks (no listed branch of 'Lang' exists; known names" in text
    place.tape(TAPE + "plan {\n  reach test\n}\n")
    assert "      without small: test takes $model@train[Size:big]\n" in place.run("explain", "train").stdout


def test_plans_are_chosen(place):
    text = place.run("explain", "-p", "other").stdout
    assert "plan other" in text and "plan main" not in text
    assert "unknown plan 'mian'" in place.run("explain", "-p", "mian").stderr


@pytest.mark.parametrize(
    ("glob", "message"),
    [
        ("Size.big", "  Size.big (Lang.en+Seed.1+Size.big)\n"),
        ("Seed.3+*", "Seed.3+* is not in it: Seed: line 14 does not list Seed"),
        ("Sise.big", "train has no branch point 'Sise' (did you mean 'Size'?)"),
        ("Size.huge", "'Size' has no such branch"),
        ("Seed.2+Size.small", "each of these branches is taken, but not together"),
    ],
)
def test_one_realization(place, glob, message):
    assert message in place.run("explain", "-p", "main", "train", glob).stdout


def test_without_plans_and_without_the_task(place):
    place.tape(TAPE)
    text = place.run("explain", "train").stdout
    assert text.startswith("no plan: every task with at most one branch off the baseline")
    assert "train: 10 realizations, needed by test\n" in text and "without" not in text.split("\n", 2)[2]
    assert "did you mean 'train'" in place.run("explain", "trian").stderr


def test_json(place):
    main, other = json.loads(place.run("explain", "train", "--json").stdout)
    assert main["plan"] == "main" and main["at"] == "x.tape:13:1" and other["unused"] == ["train"]
    (task,) = main["tasks"]
    assert task["points"][1] == {"point": "Size", "taken": ["small", "big"], "left_out": []}
    assert task["realizations"][0] == {"name": "Baseline.baseline", "full_name": "Lang.en+Seed.1+Size.small"}
