"""The rules of the language, one row a rule, by their section in the specification.

`PLANS` says which tasks a tape plans, `VALUES` what a body sees, `ERRORS` what is wrong and at which line and column.
Rules with files of their own (the test of the planner, of names, of bodies) are not repeated here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ducttape.plan.planner import make_plan
from ducttape.store.layout import Layout
from ducttape.syntax.diagnostics import TapeError
from ducttape.workflow.loader import load

BASE = "Baseline.baseline"
PQ = "task t > out :: p=(P: one two) q=(Q: a b c) {\n  :\n}\n"


def planned(tmp_path: Path, text: str, *names: str):
    tape = tmp_path / "x.tape"
    tape.write_bytes(text.encode())
    return make_plan(load(tape, user_file=False), names)


def values(tmp_path: Path, text: str, key: str) -> dict[str, str]:
    """The variables of one task, with the folder of the tape as `TAPE` and that of results as `BASE`."""
    plan = planned(tmp_path, text)
    (task,) = [t for k, t in plan.tasks.items() if str(k) == key]
    found = Layout(Path("/BASE")).variables(task, plan.tasks, {})
    return {name: value.replace(str(tmp_path), "TAPE").replace("/BASE", "BASE") for name, value in found.items()}


# --- what is planned ----------------------------------------------------------------------------------------------

PLANS = {
    "1 a first line #! is a comment": ("#!/usr/bin/env ducttape\ntask a {\n}\n", "a"),
    "1 a byte order mark and carriage returns are harmless": ("\ufefftask a > b\r\n{\r\n  :\r\n}\r\n", "a"),
    "1 tabs are blanks": ("task\ta\t<\tx=/dev/null\t>\tout\t{\n}\n", "a"),
    "1 comments of all kinds before a block": ("# a\n// b\n/* c\n/* nested */ */ task a {\n}\n", "a"),
    "1 comments between clauses and before the brace": (
        "task a # one\n  < x=/dev/null // two\n  /* three */ > out\n  :: p=1\n  # four\n  /* five */ {\n}\n",
        "a",
    ),
    "1 comments in reach lines": (
        PQ
        + "plan { # here\n  # there\n  reach t via (P: # the\n /* list */ two // ends\n ) * # x\n (Q: b)\n // end\n}\n",
        "t/P.two+Q.b",
    ),
    "1 branch names may start with a digit, a dot or a sign": (
        "task a :: x=(X: 10k 1.5 -1 .5 -1.0=v) {\n}\n",
        "a a/X.1.5 a/X.-1 a/X..5 a/X.-1.0",
    ),
    "1 an implied branch name may hold any other character": (
        "task a :: x=(X: a b;c d{e f#g 2..4,5 é) {\n}\n",
        "a a/X.b;c a/X.d{e a/X.f#g a/X.2..4,5 a/X.é",
    ),
    "2 the order of blocks is free": ("plan {\n  reach b\n}\ntask b < x=$out@a {\n}\ntask a > out {\n}\n", "a b"),
    "2 all blocks may be empty": ("global {\n}\nconfig {\n}\nsummary s {\n}\ntask a {\n}\n", "a"),
    "2 a brace on a later line": ("task a > out\n\n\n{\n  :\n}\n", "a"),
    "2 a body on the header's line": ("task a { echo hi }\ntask b > out { echo hi > $out; }\n", "a b"),
    "2 an indented closing brace with blanks behind": ("task a {\n  :\n    }  \t\ntask b {\n}\n", "a b"),
    "2 the last block may lack its newline": ("task a {\n}", "a"),
    "2 names of different kinds do not clash": (
        "func a > a {\n}\nplan a {\n  reach a\n}\ntask a > b :: c=(a: x y) {\n}\nsummary a {\n}\n",
        "a",
    ),
    "2 a call is a task": ("func f < i > o {\n}\ntask a calls f < i=/dev/null > o\ntask b < x=$o@a {\n}\n", "a b"),
    "2 calls may come before their function and over several lines": (
        "task a calls f\n  < i=/dev/null\n  > o\n\nfunc f < i > o {\n}\n",
        "a",
    ),
    "2.1 clauses in any order, any number of each": (
        "task a :: p=1 > o1 < i=/dev/null :: q=2\n  > o2\n  < j=/dev/null {\n}\n",
        "a",
    ),
    "2.1 a branch point over several lines inside a clause": (
        "task a :: x=(\n    X:\n    one\n    two\n  ) y=2 > out {\n}\n",
        "a a/X.two",
    ),
    "2.2 names of branches are inferred from variables and inner points": (
        "global {\n  g=1\n}\ntask s > o {\n}\ntask a < x=(X: /dev/null $o@s) :: y=(Y: (In: i j) $g) {\n}\n",
        "s a a/In.j a/Y.g a/X.o",
    ),
    "2.2 other mentions may order the branches off the baseline otherwise": (
        "task a :: x=(X: p q r) y=(X: p r=1 q=2) {\n}\n",
        "a a/X.q a/X.r",
    ),
    "2.2 sequences are not compared": (
        "task a > o :: n=(N: 1..2) {\n}\ntask b :: n=(N: 1..3) {\n}\n",
        "a a/N.2 b b/N.2 b/N.3",
    ),
    "2.2 a lone range among branches is a text": ("task a :: x=(X: 1 2..4) {\n}\n", "a a/X.2..4"),
    "2.2 a point of one branch": ("task a :: x=(X: only) {\n}\n", "a"),
    "2.3 plans of one name are united": (
        PQ + "plan x {\n  reach t via (P: two)\n}\nplan x {\n  reach t via (Q: c)\n}\n",
        "t/Q.c t/P.two",
    ),
    "2.3 braces around via, newlines anywhere": (
        PQ + "plan\n{\n  reach\n    t\n    via\n    {\n      (P: *)\n      *\n      (Q: b)\n    }\n}\n",
        "t/Q.b t/P.two+Q.b",
    ),
    "2.3 a range with a step in a plan": (
        "task a :: n=(N: 1..9) {\n}\nplan {\n  reach a via (N: 9..1..-4)\n}\n",
        "a a/N.5 a/N.9",
    ),
    "3 a param reference brings the param's points only": (
        PQ + "task u :: x=$p@t {\n}\nplan {\n  reach u via (P: *) * (Q: *)\n}\n",
        "u u/P.two",
    ),
    "3 a param may come from a task that comes later": (
        "task a :: x=$p@b {\n}\ntask b < i=$o@c :: p=1 {\n}\ntask c > o {\n}\nplan {\n  reach a\n}\n",
        "a",
    ),
    "3 a global may be a branch point of outputs": (
        PQ + "global {\n  g=(Src: t=$out@t none=/dev/null)\n}\ntask u < x=$g {\n}\nplan {\n  reach u via (Src: *)\n}\n",
        "t u u/Src.none",
    ),
    "4 a task inherits the points of all ancestors": (
        PQ + "task u < x=$out@t > y {\n}\ntask v < x=$y@u {\n}\nplan {\n  reach v via (P: two) * (Q: c)\n}\n",
        "t/P.two+Q.c u/P.two+Q.c v/P.two+Q.c",
    ),
    "4 a grafted point may come back by another input": (
        PQ + "task u < x=$out@t[P:one] > y {\n}\ntask v < a=$y@u b=$out@t {\n}\nplan {\n  reach v via (P: two)\n}\n",
        "t t/P.two u v/P.two",
    ),
    "4 a param's graft chooses inside the param": (
        "task t :: p=(P: one two) {\n}\ntask u :: x=$p@t[P:two] {\n}\nplan {\n  reach u via (P: *)\n}\n",
        "u",
    ),
    "4 a graft inside a branch": (
        PQ + "task u < x=(R: n=/dev/null g=$out@t[P:two,Q:c]) {\n}\nplan {\n  reach u via (R: *) * (P: *)\n}\n",
        "t/P.two+Q.c u u/R.g",
    ),
    "4 a graft glob needs all branches together": (
        PQ + "task u < x=$out@t[P:*] {\n}\nplan {\n  reach u via (Q: b)\n}\n",
        "t/Q.b t/P.two+Q.b u/Q.b",
    ),
    "4 the same output twice, plain and grafted": (
        PQ + "task u < x=$out@t y=$out@t[P:two] {\n}\nplan {\n  reach u\n}\n",
        "t t/P.two u",
    ),
    "4.1 inner points stay one branch off too": (
        "task a :: x=(X: p=(Y: 1 2) q=(Z: 3 4)) {\n}\n",
        "a a/Y.2 a/X.q",
    ),
    "4.2 nothing but plans when there is a plan": (PQ + "task u {\n}\nplan {\n  reach u\n}\n", "u"),
    "4.2 a plan in a config's place works like any other": (PQ + "config {\n  x=1\n}\nplan {\n  reach t\n}\n", "t"),
}


@pytest.mark.parametrize("rule", PLANS)
def test_what_is_planned(tmp_path, rule):
    text, expected = PLANS[rule]
    keys = [str(key).removesuffix(f"/{BASE}") for key in planned(tmp_path, text).tasks]
    assert keys == expected.split(" ")


# --- what a body sees ---------------------------------------------------------------------------------------------

GLOBALS = (
    "global {\n  lit=text\n  other=$lit\n  point=(P: one two)\n  deep=(D: d=$point e=5)\n"
    "  made=$out@src\n  chosen=$point[P:two]\n  all=$point[P:*]\n  file=data.txt # comment\n  spaced = v // too\n}\n"
    "task src > out :: own=mine n=(N: 1..3) {\n}\n"
)

VALUES = {
    "1 nothing is expanded in literals": (
        'task t :: a="$x ${y} `z` ~ *" b=\'$x\' c="""$x\\n""" {\n}\n',
        {"a": "$x ${y} `z` ~ *", "b": "$x", "c": "$x\\n"},
    ),
    "1 quoted texts may span lines": ('task t :: a="one\ntwo" b=3 {\n}\n', {"a": "one\ntwo", "b": "3"}),
    "1 a quoted text may be followed by a parenthesis": ('task t :: a=(A: x="p q") {\n}\n', {"a": "p q"}),
    "1 the sign of a number does not matter outside sequences": (
        "task t :: a=-1 b=1e5 {\n}\n",
        {"a": "-1", "b": "1e5"},
    ),
    "2.1 blanks around = in params": ("task t :: a = 1 b= 2 c =3 {\n}\n", {"a": "1", "b": "2", "c": "3"}),
    "2.1 dot-params reach the body without their dot": ("task t :: .mem=4g a=1 {\n}\n", {"mem": "4g", "a": "1"}),
    "2.2 literals and globals": (
        GLOBALS + "task t :: a=$lit b=${lit} c=$other lit=@ spaced=@ {\n}\n",
        {"a": "text", "b": "text", "c": "text", "lit": "text", "spaced": "v"},
    ),
    "2.2 variables of tasks": (
        GLOBALS + "task t < a=$out@src b=${out}@src out=@src :: c=$own@src own=@src {\n}\n",
        {
            "a": f"BASE/src/{BASE}/out",
            "b": f"BASE/src/{BASE}/out",
            "out": f"BASE/src/{BASE}/out",
            "c": "mine",
            "own": "mine",
        },
    ),
    "2.2 grafts on globals": (
        GLOBALS + "task t :: a=$chosen b=$all c=$point[P:two] {\n}\n",
        {"a": "two", "b": "one two", "c": "two"},
    ),
    "2.2 grafts on tasks": (
        GLOBALS + "task t < a=$out@src[N:2] out=@src[N:3] b=$out@src[N:*] {\n}\n",
        {
            "a": "BASE/src/N.2/out",
            "out": "BASE/src/N.3/out",
            "b": f"BASE/src/{BASE}/out BASE/src/N.2/out BASE/src/N.3/out",
        },
    ),
    "3 a global of an output": (GLOBALS + "task t < x=$made {\n}\n", {"x": f"BASE/src/{BASE}/out"}),
    "3 a nested global": (GLOBALS + "task t :: x=$deep {\n}\n", {"x": "one"}),
    "3 globals do not reach a body by themselves": (GLOBALS + "task t :: x=1 {\n}\n", {"x": "1"}),
    "3 relative inputs": (
        GLOBALS + "task t < a=./data.txt b=sub/../data.txt c=$file {\n}\n",
        {"a": "TAPE/data.txt", "b": "TAPE/data.txt", "c": "TAPE/data.txt"},
    ),
    "3 absolute inputs, and those of a home": (
        "task t < a=/dev/null b=~/x c=~nobodyatall/x {\n}\n",
        {"a": "/dev/null", "b": "/HOME/x", "c": "/home/nobodyatall/x"},
    ),
    "3 a pattern stays unexpanded": ('task t < a="*.txt" {\n}\n', {"a": "TAPE/*.txt"}),
    "3 a literal param is no path": ("task t :: a=./data.txt b=~/x {\n}\n", {"a": "./data.txt", "b": "~/x"}),
    "3 outputs": (
        "task t > a b=c/d.txt e=/abs/f {\n}\n",
        {"a": f"BASE/t/{BASE}/a", "b": f"BASE/t/{BASE}/c/d.txt", "e": "/abs/f"},
    ),
}


@pytest.mark.parametrize("rule", VALUES)
def test_what_a_body_sees(tmp_path, monkeypatch, rule):
    monkeypatch.setenv("HOME", "/HOME")
    text, expected = VALUES[rule]
    found = values(tmp_path, text, f"t/{BASE}")
    assert found == expected


# --- what is wrong, and where -------------------------------------------------------------------------------------

ERRORS = {
    "1 a comment in the middle of a clause": ("task a :: x=1 # c\n  y=2 {\n}\n", "2:3", "expected '{'"),
    "1 = in an unquoted text": ("task a :: x=k=v {\n}\n", "1:14", "'=' cannot stand in an unquoted value"),
    "1 text glued to a quoted text": ('task a :: x="k"v {\n}\n', "1:16", "expected a space after quoted text"),
    "2 a block after a brace": ("task p {\n  :\n} task q {\n  :\n}\n", "1:8", "missing closing brace"),
    "2 reach on the line of its plan": ("task a {\n}\nplan { reach a }\n", "3:8", "expected a new line after '{'"),
    "2 a body behind a call": ("task a calls f {\n}\nfunc f {\n}\n", "1:16", "has no body"),
    "2 group": ("group g {\n}\n", "1:7", "not supported yet"),
    "2 branchpoint": ("branchpoint g {\n}\n", "1:13", "not supported yet"),
    "2 branch at the top level": ("branch g {\n}\n", "1:8", "not supported yet"),
    "2 of at the top level": ("of g {\n}\n", "1:4", "not supported yet"),
    "2 action at the top level": ("action g {\n}\n", "1:8", "not supported yet"),
    "2 a value in a function's header": ("func f :: a=1 {\n}\n", "1:11", "cannot have a value in this header"),
    "2.1 no blank after a mark": ("task a >out {\n}\n", "1:9", "expected a space after '>'"),
    "2.1 an input without a value": ("task a < x {\n}\n", "1:10", "input 'x' needs a value"),
    "2.2 a shorthand as a branch": ("task a :: x=(X: @) {\n}\n", "1:17", "this branch needs a name"),
    "2.2 a branch point without a name": ("task a :: x=(a b) {\n}\n", "1:14", "branch point without a name"),
    "2.2 a sequence with something beside it": ("task a :: x=(X: 1..3 9) {\n}\n", "1:22", "must be alone"),
    "2.2 another baseline": (
        "task a :: x=(X: p q) {\n}\ntask b :: x=(X: q p) {\n}\n",
        "3:14",
        "has baseline 'q' here and 'p' elsewhere",
    ),
    "2.2 another set": ("task a :: x=(X: p q) {\n}\ntask b :: x=(X: p) {\n}\n", "3:14", "it lacks q"),
    "2.2 another baseline of a sequence": (
        "task a :: x=(X: 1..3) {\n}\ntask b :: x=(X: 2..3) {\n}\n",
        "3:14",
        "has baseline '2' here and '1' elsewhere",
    ),
    "2.3 an unknown task": (PQ + "plan {\n  reach tt\n}\n", "5:9", "unknown task 'tt'"),
    "2.3 an unknown point": (PQ + "plan {\n  reach t via (R: x)\n}\n", "5:15", "unknown branch point 'R'"),
    "2.3 nothing is reached": (PQ + "plan {\n  reach t via (P: x)\n}\n", "5:15", "zero tasks"),
    "2.3 an empty plan": (PQ + "plan {\n}\n", "4:1", "zero tasks"),
    "3 one name twice in a header": ("task a < x=/dev/null :: x=1 {\n}\n", "1:25", "variable 'x' is defined twice"),
    "3 one name as dot-param and param": ("task a :: x=1 .x=1 {\n}\n", "1:16", "variable 'x' is defined twice"),
    "3 a global twice": ("global {\n  g=1\n}\nglobal {\n  g=2\n}\n", "5:3", "global 'g' is defined twice"),
    "3 a named global block": ("global g {\n}\n", "1:1", "global blocks cannot have a name"),
    "3 a global by itself": ("global {\n  g=$h\n  h=$g\n}\ntask a :: x=$g {\n}\n", "3:5", "is defined by itself"),
    "3 an input from a param": (
        PQ + "task u < x=$p@t {\n}\n",
        "4:12",
        "'p' is a param of task 't', but an input can read only an output",
    ),
    "3 a param from an output": (
        PQ + "task u :: x=$out@t {\n}\n",
        "4:13",
        "'out' is an output of task 't', but a param can read only a param",
    ),
    "3 a global of an output as a param": (
        PQ + "global {\n  g=$out@t\n}\ntask u :: x=$g {\n}\n",
        "5:5",
        "a param can read only a param",
    ),
    "3 an empty input": ('task a < x="" {\n}\n', "1:12", "empty name"),
    "3 an empty output": ('task a > x="" {\n}\n', "1:12", "empty name"),
    "3 an output with a branch point": ("task a > x=(X: p q) {\n}\n", "1:12", "has a branch point"),
    "4 a graft on a point that is not there": (
        PQ + "task s > o :: r=(R: x y) {\n}\ntask u < x=$o@s[P:one] {\n}\n",
        "6:17",
        "impossible graft",
    ),
    "4 a graft on a point that is nowhere": (PQ + "task u < x=$out@t[R:x] {\n}\n", "4:19", "unknown branch point 'R'"),
    "4 a graft on a branch that is nowhere": (PQ + "task u < x=$out@t[P:x] {\n}\n", "4:19", "has no branch 'x'"),
    "4 a graft glob on a text": (
        "global {\n  g=1\n}\n" + PQ + "task u :: x=$g[P:*] {\n}\n",
        "7:16",
        "impossible graft",
    ),
    "4 a graft on a point that an inner graft hides": (
        PQ + "global {\n  g=$out@t[P:two]\n}\ntask u < x=$g[P:one] {\n}\n",
        "7:15",
        "grafted to 'P:two' already",
    ),
    "4 a graft that swaps branches": (
        "global {\n  g=(X: p=1 q=2)\n}\ntask a :: x=(X: p=$g[X:q] q=$g) {\n}\n",
        "4:22",
        "swaps branches",
    ),
    "4 a task of its own output": ("task a < x=$y@a > y {\n}\n", "1:12", "reads its own output"),
    "4 two tasks in a cycle": (
        "task a < x=$y@b > y {\n}\ntask b < x=$y@a > y {\n}\n",
        "1:12",
        "in a cycle: a -> b -> a",
    ),
    "4 a cycle through a global": (
        "global {\n  g=$y@a\n}\ntask a < x=$g > y {\n}\n",
        "2:5",
        "reads its own output",
    ),
    "9 a bad boolean": (
        "global {\n  ducttape_experimental_packages=perhaps\n}\ntask a {\n}\n",
        "2:34",
        "must be true or false",
    ),
    "9 a bad choice": ("global {\n  ducttape_structure=deep\n}\ntask a {\n}\n", "2:22", "must be one of hyper, flat"),
    "9 a directive that is no literal": (
        "global {\n  ducttape_output=(X: a b)\n}\ntask a {\n}\n",
        "2:3",
        "must be a literal",
    ),
    "9 a missing import": ('import "none.tape"\ntask a {\n}\n', "1:8", "there is no file"),
    "11 a task twice": ("task a {\n}\ntask a {\n}\n", "3:6", "task 'a' is defined twice"),
    "11 a task and a call of one name": (
        "func f {\n}\ntask a {\n}\ntask a calls f\n",
        "5:6",
        "task 'a' is defined twice",
    ),
    "11 an unknown function": ("task a calls f\n", "1:14", "unknown function 'f'"),
    "11 an unknown global": ("task a :: x=@ {\n}\n", "1:13", "unknown global 'x'"),
    "11 an unknown task": ("task a < x=@b {\n}\n", "1:12", "unknown task 'b'"),
    "11 an unknown package": (
        "global {\n  ducttape_experimental_packages=true\n}\ntask a : p {\n}\n",
        "4:10",
        "unknown package 'p'",
    ),
    "11 packages that are not enabled": (
        'package p :: .versioner=disk .path="." {\n}\ntask a : p {\n}\n',
        "3:10",
        "not enabled",
    ),
    "11 a package twice in a header": (
        "global {\n  ducttape_experimental_packages=true\n}\n"
        'package p :: .versioner=disk .path="." {\n}\ntask a : p p {\n}\n',
        "6:12",
        "defined twice",
    ),
}


@pytest.mark.parametrize("rule", ERRORS)
def test_what_is_wrong(tmp_path, rule):
    text, place, message = ERRORS[rule]
    with pytest.raises(TapeError) as caught:
        planned(tmp_path, text)
    found = next((d for d in caught.value.diagnostics if message in d.message), None)
    assert found is not None, str(caught.value)
    line, column = found.span.source.position(found.span.start)
    assert f"{line}:{column}" == place, found.render()
