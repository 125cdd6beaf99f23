"""Names of realizations and choosing by globs."""

from __future__ import annotations

import hashlib

import pytest

from ducttape.plan.planner import make_plan
from ducttape.plan.select import select_tasks
from ducttape.syntax.diagnostics import TapeError
from ducttape.workflow.loader import load

TAPE = """
task train > model :: z=(Zed: a b) m=(Mid: 1 2 3) v=(Ver: 1.0 1.5 2.x) {
  :
}
task test < model=$model@train > score {
  :
}
plan {
  reach test via (Zed: *) * (Mid: *) * (Ver: *)
}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    tape = tmp_path_factory.mktemp("names") / "x.tape"
    tape.write_text(TAPE)
    return make_plan(load(tape, user_file=False))


def one(tmp_path, text):
    tape = tmp_path / "x.tape"
    tape.write_text(text)
    return [t.realization for t in make_plan(load(tape, user_file=False)).tasks.values()]


def test_names_drop_baselines_and_sort_points(plan):
    names = {t.realization.name: t.realization.full_name for t in plan.tasks.values() if t.key.task == "test"}
    assert len(names) == 18
    assert names["Baseline.baseline"] == "Mid.1+Ver.1.0+Zed.a"
    assert names["Mid.3+Zed.b"] == "Mid.3+Ver.1.0+Zed.b"
    assert names["Ver.2.x"] == "Mid.1+Ver.2.x+Zed.a"


def test_sorting_is_by_character_code(tmp_path):
    names = one(
        tmp_path,
        "task t :: a=(b: 1 2) c=(B: 1 2) d=(a: 1 2) {\n  :\n}\nplan {\n  reach t via (b: 2) * (B: 2) * (a: 2)\n}\n",
    )
    assert [r.name for r in names] == ["B.2+a.2+b.2"]


def test_long_names_are_hashed(tmp_path):
    branch = "x" * 100
    header = " ".join(f"p{i}=(P{i}: a {branch})" for i in range(3))
    via = " * ".join(f"(P{i}: {branch})" for i in range(3))
    (found,) = one(tmp_path, f"task t :: {header} {{\n  :\n}}\nplan {{\n  reach t via {via}\n}}\n")
    joined = "+".join(f"P{i}.{branch}" for i in range(3))
    assert found.name == hashlib.md5(joined.encode()).hexdigest().upper()
    assert found.full_name == joined


def test_delimiter(tmp_path):
    text = "global {\n  ducttape_branchpoint_delimiter=-\n}\n" + TAPE
    assert "Mid.3-Zed.b" in [r.name for r in one(tmp_path, text)]
    for bad in ('"/"', "a", '""'):
        with pytest.raises(TapeError, match="delimiter"):
            one(tmp_path, text.replace("=-", "=" + bad))


def test_slashes_of_implied_names_stay_out_of_paths(tmp_path):
    names = one(tmp_path, "task t < x=(F: /dev/null /../etc) {\n  :\n}\n")
    assert [r.name for r in names] == ["Baseline.baseline", "F.%2F..%2Fetc"]
    assert names[1].branches == (("F", "/../etc"),)


GLOBS = [
    (("*", ["*"]), 36),
    (("test", ["*"]), 18),
    (("te?t", ["*"]), 18),
    (("t{est,rain}", ["*"]), 36),
    (("test", ["Baseline.baseline"]), 1),
    (("test", ["Zed.b"]), 1),
    (("test", ["Zed.*"]), 2),
    (("test", ["Zed.b+*"]), 9),
    (("test", ["Zed.b+Mid.{2,3}"]), 2),
    (("test", ["Zed.{a,b}+Mid.?"]), 6),
    (("test", ["Ver.1.*+*"]), 12),
    (("test", ["Ver.1.5"]), 1),
    (("test", ["Ver.{1.5,2.x}+*"]), 12),
    (("test", ["Zed.b", "Mid.2"]), 2),
    (("test", ["Mid.1+Ver.1.0+Zed.b"]), 1),
    (("test", ["Baseline.baseline+*"]), 18),
]


@pytest.mark.parametrize("globs, count", GLOBS)
def test_globs(plan, globs, count):
    assert len(select_tasks(plan, *globs)) == count


@pytest.mark.parametrize(
    "globs, message",
    [
        (("tset", ["*"]), "no planned task matches 'tset'"),
        (("test", ["Zed.c"]), "matches 'Zed.c'"),
        (("test", ["*", "Nope.x+*"]), "matches 'Nope.x"),
        (("{test", ["*"]), "without '}'"),
        (("test", [""]), "matches ''"),
    ],
)
def test_globs_without_match(plan, globs, message):
    with pytest.raises(TapeError) as caught:
        select_tasks(plan, *globs)
    assert message in str(caught.value) and caught.value.diagnostics[0].hint


def test_hashed_names_still_know_their_baselines(tmp_path):
    branch = "x" * 100
    header = " ".join(f"p{i}=(P{i}: a {branch})" for i in range(3))
    tape = tmp_path / "x.tape"
    via = " * ".join(f"(P{i}: *)" for i in range(3))
    tape.write_text(f"task t :: {header} {{\n  :\n}}\nplan {{\n  reach t via {via}\n}}\n")
    plan = make_plan(load(tape, user_file=False))
    assert len(select_tasks(plan, "t", ["P0.x*"])) == 1
    hashed = next(t.realization.name for t in plan.tasks.values() if len(t.realization.name) == 32)
    assert [t.realization.name for t in select_tasks(plan, "t", [hashed])] == [hashed]
