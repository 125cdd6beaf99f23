"""What people who are new to the language get wrong, and what they are told."""

from __future__ import annotations

import pytest

from ducttape.plan.planner import make_plan
from ducttape.syntax.diagnostics import TapeError, did_you_mean
from ducttape.workflow.loader import load

A = "task a > out :: x=(Size: small big) y=(Seed: 1 2) {\n  :\n}\n"

# What is written, where the error is, what it says, and a part of its hint.
MISTAKES = [
    (A[:-2] + "\n\ntask b {\n}\n", "1:51", "missing closing brace", "lone brace"),
    ("plan {\n  reach a via (Size: bgi)\n}\n" + A, "2:15", "zero tasks", "did you mean 'big'?"),
    ("plan {\n  reach a via (size: big)\n}\n" + A, "2:15", "unknown branch point 'size'", "did you mean 'Size'?"),
    ("plan {\n  reach a via (Size: big), (Seed: 1)\n}\n" + A, "2:26", "expected '*'", "(Size: small) * (Seed: *)"),
    ("plan {\n  reach a, via (Size: big)\n}\n" + A, "2:12", "expected the name of a task", None),
    ("task b < in=out@a {\n}\n" + A, "1:16", "'@' cannot stand inside a value", "write $out@a"),
    ("task b < in=out@a[Size:big] {\n}\n" + A, "1:16", "'@' cannot stand inside", "write $out@a[Size:big]"),
    ("task b < in=$out@a, z=$out@a {\n}\n" + A, "1:19", "found ','", "without commas"),
    ("task b < in=$out@a(Size:big) {\n}\n" + A, "1:19", "found '(Size:big)'", "grafts are written"),
    ("task b < in=$out@a[Size:big][Seed:1] {\n}\n" + A, "1:29", "found '[Seed:1]'", "[Point:branch,Other:branch]"),
    ("global {\n  y = 1 2\n}\n", "2:9", "unexpected '2' after the value of 'y'", "quotes"),
    ("global {\n  y = one two\n}\n", "2:11", "unexpected 'two' after the value of 'y'", "quotes"),
    ('config {\n  import "x.tape"\n}\n', "2:3", "'import' needs a value", "outside of blocks"),
    ("import x.tape y.tape\n", "1:15", "unexpected 'y.tape'", "one by one"),
    ("function f > out {\n}\n", "1:1", "unknown block 'function'", "did you mean 'func'?"),
    ("task a :: x=(Size: small=1 big=) {\n}\n", "1:32", "expected a value, found ')'", "empty value"),
    ("task a :: x=(Size: small= 1) {\n}\n", "1:26", "expected a value", "no blanks around '='"),
    ("task a :: x=$(date) {\n}\n", "1:14", "found '('", "commands run in bodies only"),
    ("summary s {\n  of a > x\n}\n", "3:1", "the body of the 'of' block of 'a'", "a body in braces"),
    ("task a calls f > out\n", "1:14", "unknown function 'f'", "func f > out"),
    ("task a :: x=$y {\n}\n", "1:13", "unknown global 'y'", "-D y="),
    ("task a>out {\n}\n", "1:7", "unexpected '>out'", "put a space before '>'"),
    ("task my-task {\n}\n", "1:8", "unexpected '-task'", "letters, digits and underscores"),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), MISTAKES)
def test_mistakes_are_explained(tmp_path, text, place, message, hint):
    tape = tmp_path / "x.tape"
    tape.write_text(text)
    with pytest.raises(TapeError) as caught:
        make_plan(load(tape, user_file=False))
    found = next(d for d in caught.value.diagnostics if message in d.message)
    assert str(found.span).removeprefix(f"{tape}:") == place, found.render()
    assert hint is None or hint in found.hint, found.render()


def test_a_missing_brace_names_the_next_block(tmp_path):
    tape = tmp_path / "x.tape"
    tape.write_text("task a {\n  :\n\ntask b {\n}\n")
    with pytest.raises(TapeError) as caught:
        load(tape, user_file=False)
    (found,) = caught.value.diagnostics
    assert str(found.other) == f"{tape}:4:1" and found.other_label == "the next block starts here"


def warnings(tmp_path, text, **defines) -> list[str]:
    tape = tmp_path / "x.tape"
    tape.write_text(text)
    return [w.message for w in load(tape, defines=defines, user_file=False).warnings]


def test_commas_and_semicolons_are_noticed_unless_quoted(tmp_path):
    text = "task a :: x=(Size: small, big) y=1; z=(Z: v='q;') w=',' {\n}\n"
    assert warnings(tmp_path, text) == [
        "the comma belongs to the value 'small,'",
        "the semicolon belongs to the value '1;'",
    ]


def test_defines_that_nothing_reads_are_noticed(tmp_path):
    text = (
        "global {\n  used=1\n  folder=.\n  through=$deep\n  ducttape_experimental_packages=true\n}\n"
        "package p :: .versioner=disk .path=$folder {\n}\n"
        "task a : p :: used=@ x=(X: 1 y=(Y: z=$in_branch)) g=$through n=$grafted[X:1] {\n}\n"
        "global {\n  deep=1\n  grafted=(X: 1 y=2)\n  in_branch=1\n}\n"
    )
    fine = dict.fromkeys(["used", "deep", "in_branch", "folder", "ducttape_output"], "1")
    assert warnings(tmp_path, text, **fine) == []
    (found,) = warnings(tmp_path, text, usde="2")
    assert found == "-D usde=2 has no effect: nothing reads the global 'usde'"


def test_misspelled_directives_are_noticed(tmp_path):
    text = "global {\n  ducttape_strcture=flat\n  ducttape_of_mine=1\n}\ntask a {\n}\n"
    assert warnings(tmp_path, text) == ["'ducttape_strcture' is no directive"]


@pytest.mark.parametrize(
    ("name", "candidates", "expected"),
    [
        ("size", ["Size", "sizes"], "did you mean 'Size'?"),
        ("function", ["action", "func"], "did you mean 'func'?"),
        ("train_cot", ["train", "train_cpt"], "did you mean 'train_cpt'?"),
        ("xyz", ["a", "b"], "known names: a, b"),
        ("xyz", [], None),
    ],
)
def test_nearest_name(name, candidates, expected):
    assert did_you_mean(name, candidates) == expected
