"""Lists `[a $x@t (P: b c)]`: how they read, print and format, what they mean, what they refuse, and a run."""

from __future__ import annotations

import time

import pytest
from doc_examples import run

from ducttape.plan.planner import make_plan
from ducttape.plan.tasks import FromTask
from ducttape.syntax.diagnostics import TapeError
from ducttape.syntax.formatter import format_text
from ducttape.syntax.parser import parse
from ducttape.syntax.printer import print_value
from ducttape.syntax.source import Source
from ducttape.syntax.tree import BranchPoint, Grafted, ListOf, Literal
from ducttape.workflow.loader import load

PREFIX = "global {\n  x="


def value_of(text):
    return parse(Source("t", f"{PREFIX}{text}\n}}\n")).blocks[0].assignments[0].value


def load_text(tmp_path, text):
    tape = tmp_path / "x.tape"
    tape.write_text(text)
    return load(tape, user_file=False)


def planned(tmp_path, text):
    return make_plan(load_text(tmp_path, text))


def block(name, header):
    return f"task {name} {header} {{\n  :\n}}\n"


def sources(plan, key):
    """The sources of the first input of a task: `task/realization` or the name of a file."""
    task = next(t for k, t in plan.tasks.items() if str(k) == key)
    return [str(s.key) if isinstance(s, FromTask) else s.path.name for s in task.inputs[0].sources]


def params(plan):
    return {str(k): p.value for k, t in plan.tasks.items() for p in t.params if p.name == "p"}


# --- syntax -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("[a]", "[a]"),
        ("[ a\n\tb\r\n c ]", "[a b c]"),
        ("[a.txt $g $o@t $o@t[P:x,Q:*] @ @t]", "[a.txt $g $o@t $o@t[P:x,Q:*] @ @t]"),
        ("[$o@t[P:*]]", "[$o@t[P:*]]"),
        ("[\"a b\" ']' '']", "[\"a b\" ']' '']"),
        ('["""]"""]', '["""]"""]'),
        ("[(P: a b) (Q: 1..3)]", "[(P: a b) (Q: 1..3)]"),
        ("[(P:a b=$x@t[Q:y])(Q: 1..3)]", None),
        ("(P: a=[b c] d)", "(P: a=[b c] d)"),
        ("[1..3 --flag 'k=v']", "['1..3' --flag 'k=v']"),
        ("['>' '}']", "['>' '}']"),
    ],
)
def test_a_list_reads_and_prints(written, printed):
    if printed is None:
        with pytest.raises(TapeError, match="expected a space after the value"):
            value_of(written)
        return
    value = value_of(written)
    # A text that looks like a sequence gets quotes of the plain kind.
    assert print_value(value).replace('"1..3"', "'1..3'") == printed
    assert value_of(print_value(value)) == value


def test_the_items_of_a_list():
    value = value_of("[a.txt $o@t[P:x] (Q: b c)]")
    assert isinstance(value, ListOf)
    assert [type(item) for item in value.items] == [Literal, Grafted, BranchPoint]
    assert value.span.text == "[a.txt $o@t[P:x] (Q: b c)]"


@pytest.mark.parametrize(
    ("written", "column", "message", "hint"),
    [
        ("[]", 1, "empty list", "at least one value"),
        ("[ \n ]", 1, "empty list", None),
        ("[a [b]]", 4, "a list cannot stand inside a list", "a list is flat"),
        ("[[a]]", 2, "a list cannot stand inside a list", None),
        ("[(P: a=[b] c)]", 8, "a list cannot stand inside a list", "name in a global block"),
        ("[a $o@t [P:x]]", 9, "a list cannot stand inside a list", None),
        ("[a", 1, "list is never closed", "close it with ']'"),
        ("[a (P: b", 4, "branch point is never closed", None),
        ("[(P: a b]", 9, "expected a space or ')' after the branch, found ']'", "close the branch point"),
        ("[a)]", 3, "expected a space or ']' after the value, found ')]'", None),
        ("[a]b", 4, "expected a space after the value, found 'b'", None),
        ("[a]{", 4, "expected a space after the value, found '{'", "put a space before '{'"),
        ("[a, b=c]", 5, "'b=' cannot stand in a list", "close the list with ']'"),
        ("[k=v]", 2, "'k=' cannot stand in a list", "put the text in quotes"),
        ("[P:x]", 3, "a list is no branch point and no graft: unexpected ':'", "(Point: ...)"),
        ("[http://x]", 6, "':' cannot stand in an unquoted value", 'quote it: "http://x"'),
        ("[a+b]", 3, "'+' cannot stand in an unquoted value", 'quote it: "a+b"'),
        ("[a # why\n b]", 4, "comments are not allowed inside a list", None),
        ("[a // why\n b]", 4, "comments are not allowed inside a list", None),
        ('["a"b]', 5, "expected a space after quoted text, found 'b]'", None),
        ("[*]", 2, "a value cannot start with '*'", None),
        ("[@[P:x]]", 3, "a bare '@' cannot have grafts", None),
        ("[(P: [a b] c)]", 6, "a list cannot stand inside a list", None),
        ("(P: [a b] c)", 5, "this branch needs a name", "as in name=[a b]"),
        ("(P: a=[] c)", 7, "empty list", None),
        ("a]", 2, "']' cannot stand in an unquoted value", None),
        ("$a]", 3, "expected a space after the value, found ']'", "no '['"),
        ('"a"]', 4, "expected a space after quoted text, found ']'", None),
    ],
)
def test_errors(written, column, message, hint):
    open_ended = "never closed" in message
    with pytest.raises(TapeError) as caught:
        parse(Source("t", PREFIX + written + ("" if open_ended else "\n}\n")))
    found = caught.value.diagnostics[0]
    assert (found.span.start - len(PREFIX) + 1, found.message) == (column, message)
    assert hint is None or hint in found.hint


@pytest.mark.parametrize("follows", ["> out {", ":: p=1 {", ": package {", "{", "< b=c {"])
def test_a_list_that_is_not_closed_is_noticed_at_what_follows(follows):
    text = f"task t < a=[x\n      y\n  {follows}\n  echo\n}}\n"
    with pytest.raises(TapeError) as caught:
        parse(Source("t", text))
    (found,) = caught.value.diagnostics
    mark = follows.split()[0]
    assert found.message == f"'{mark}' cannot stand in a list" and "close the list with ']'" in found.hint
    assert (found.span.line, found.span.column, found.span.text) == (3, 3, mark)
    assert (found.other.start, found.other_label) == (text.index("["), "the list starts here")


def test_after_a_broken_list_the_next_block_is_read():
    with pytest.raises(TapeError) as caught:
        parse(Source("t", "task t < a=[x [y]] {\n}\ntask u < a=x] {\n}\n"))
    messages = [d.message for d in caught.value.diagnostics]
    assert messages == ["a list cannot stand inside a list", "']' cannot stand in an unquoted value"]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("global {\n a=[ x   $y ]\n}", "global {\n  a=[x $y]\n}\n"),
        ("global {\n a=[x\n\n y (P:b\n c) ]\n}", "global {\n  a=[x\n      y (P: b\n          c)]\n}\n"),
        ("global {\n a=[\nx\ny\n]\n}", "global {\n  a=[\n      x\n      y\n  ]\n}\n"),
        ("task t < a=[ x y ] > o { echo }", "task t < a=[x y] > o { echo }\n"),
        ("task t < a=[ x\n y ] { echo }", "task t\n    < a=[x\n        y]\n{ echo }\n"),
    ],
)
def test_layout(written, wanted):
    done = format_text(Source("t", written))
    assert done == wanted
    assert format_text(Source("t", done)) == done


def test_a_long_list_takes_linear_time():
    text = PREFIX + "[" + " ".join(f"$o{n}@t[P:x]" for n in range(20_000)) + "]\n}\n"
    started = time.process_time()
    format_text(Source("t", text))
    assert time.process_time() - started < 2
    with pytest.raises(TapeError):
        parse(Source("t", PREFIX + "[" * 50_000))
    with pytest.raises(TapeError, match="nested more than"):
        parse(Source("t", PREFIX + "[" + "(P: a=" * 5000))


# --- meaning ----------------------------------------------------------------------------------------------------

MAKE = block("make", "> o :: lang=(Lang: en de) n=(N: 1 2)")
BASE = "Baseline.baseline"


def test_sources_are_in_the_order_written(tmp_path):
    text = MAKE + block("t", "< x=[a.txt $o@make[Lang:de,N:2] $o@make[Lang:*,N:1] b.txt] > out")
    plan = planned(tmp_path, text + "plan {\n  reach t\n}\n")
    assert sources(plan, f"t/{BASE}") == ["a.txt", "make/Lang.de+N.2", f"make/{BASE}", "make/Lang.de", "b.txt"]
    (task,) = [t for k, t in plan.tasks.items() if k.task == "t"]
    assert [k.task for k in task.parents] == ["make"] * 3


def test_branch_points_inside_are_chosen_once(tmp_path):
    text = block("t", ":: p=[-a (P: x=1 y=2) (P: x=3 y=4) (Q: k l)] q=(P: x y) > out")
    found = params(planned(tmp_path, text + "plan {\n  reach t via (P: *) * (Q: *)\n}\n"))
    assert found == {f"t/{BASE}": "-a 1 3 k", "t/P.y": "-a 2 4 k", "t/Q.l": "-a 1 3 l", "t/P.y+Q.l": "-a 2 4 l"}


def test_branch_points_that_depend_on_each_other(tmp_path):
    text = block("t", ":: p=[(P: x=(Q: k=1 l=2) y=3) (Q: k=4 l=(P: x=5 y=6))] > out")
    found = params(planned(tmp_path, text + "plan {\n  reach t via (P: *) * (Q: *)\n}\n"))
    assert found == {f"t/{BASE}": "1 4", "t/Q.l": "2 5", "t/P.y": "3 4", "t/P.y+Q.l": "3 6"}


@pytest.mark.parametrize(
    ("globals_", "param", "expected"),
    [
        ("g=[a b]", "$g", "a b"),
        ("g=[a b]", "[$g c $g]", "a b c a b"),
        ("g=[a b]\n  p=[c $g]", "@", "c a b"),
        ("g=[a (P: x y)]", "$g[P:y]", "a y"),
        ("g=[a (P: x y)]", "$g[P:*]", "a x a y"),
        ("g=[a (P: x y)]", "[$g[P:*] $g[P:x]]", "a x a y a x"),
        ("g=(P: x=[a b] y=c)", "[$g[P:y] $g]", "c a b"),
        ("g=1", '["" "two words" (S: 1..2) $g]', " two words 1 1"),
    ],
)
def test_lists_through_globals_and_grafts(tmp_path, globals_, param, expected):
    text = f"global {{\n  {globals_}\n}}\n" + block("t", f":: p={param} > out") + "plan {\n  reach t\n}\n"
    assert params(planned(tmp_path, text)) == {f"t/{BASE}": expected}


def test_a_param_of_another_task_may_be_a_list(tmp_path):
    text = block("s", ":: p=[a (P: x y)] > out") + block("t", ":: p=[$p@s b] > out") + "plan {\n  reach t\n}\n"
    assert params(planned(tmp_path, text)) == {f"t/{BASE}": "a x b"}


A_LIST = "an output is one file and cannot be a list"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (block("t", "> out=«[a b]"), "output 'out' of task 't' must be a literal"),
        (block("t", "> out=$p :: p=«[a b]"), A_LIST),
        (block("t", "> out=$p :: p=(P: x=1 y=«[a b])"), A_LIST),
        ("global {\n  g=«[a b]\n}\n" + block("t", "> out=$g"), A_LIST),
        (MAKE + block("t", "< x=[a $o@make[«P:x]]"), "unknown branch point 'P'"),
        ("global {\n  g=[a (P: x y)]\n}\n" + block("t", ":: q=(Q: 1 2) p=$g[«Q:1]"), "impossible graft"),
        (block("t", ":: p=[a «$nope]"), "unknown global 'nope'"),
        (block("t", '< p=[a «""]'), "input 'p' has an empty name"),
        ("global {\n  g=[a «$g]\n}\n" + block("t", ":: p=$g"), "is defined by itself"),
        (block("t", "< x=[a «$o@t] > o"), "reads its own output"),
        (block("t", ":: p=[(P: a b) («P: b a)]"), "has baseline 'b' here"),
        (
            "global {\n  ducttape_experimental_submitters=true\n}\n" + block("t", ":: .submitter=«[shell slurm]"),
            "has a list of submitters",
        ),
        ("global {\n  «ducttape_output=[a b]\n}\n" + block("t", "> o"), "ducttape_output"),
        ("submitter s :: p=«[a b] {\n  action run {\n  }\n}\n", "literal"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    plain = text.replace("«", "")
    with pytest.raises(TapeError) as caught:
        planned(tmp_path, plain)
    (found,) = [d for d in caught.value.diagnostics if message in d.message]
    assert found.span.start == text.index("«"), found.render()


def test_commas_inside_are_noticed(tmp_path):
    workflow = load_text(tmp_path, block("t", "< x=[a, b] > out"))
    assert [w.message for w in workflow.warnings] == ["the comma belongs to the value 'a,'"]


def test_ten_thousand_realizations_of_lists(tmp_path):
    header = "> x :: " + " ".join(f"p{n}=[a (P{n}: {' '.join(f'b{k}' for k in range(10))}) $g]" for n in range(4))
    text = "global {\n  g=[x y z]\n}\n" + block("a", header)
    text += "plan {\n  reach a via " + " * ".join(f"(P{n}: *)" for n in range(4)) + "\n}\n"
    workflow = load_text(tmp_path, text)
    started = time.process_time()
    assert len(make_plan(workflow).tasks) == 10_000
    assert time.process_time() - started < 0.7


# --- a run ------------------------------------------------------------------------------------------------------

TAPE = """\
task clean > out :: lang=(Lang: en de) {
  echo $lang > $out
}
task join
  < files=[a.txt
           $out@clean[Lang:*]]
  > out
  :: flags=[-x (Size: small large)]
{
  cat $files > $out
  echo $flags >> $out
}
plan {
  reach join via (Size: *)
}
"""


def test_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "x.tape").write_text(TAPE)
    text, code = run("ducttape x.tape -O o -y", tmp_path)
    assert code == 1 and any("input files does not exist: /study/a.txt" in line for line in text)
    assert any(line == "hint: relative paths are looked up from /study" for line in text), text
    (tmp_path / "a.txt").write_text("a\n")
    assert run("ducttape x.tape -O o -y", tmp_path)[1] == 0
    assert (tmp_path / "o/join/Size.large/out").read_text() == "a\nen\nde\n-x large\n"
    assert run("ducttape x.tape -O o -y", tmp_path)[0] == ["nothing to do: 4 tasks complete"]
    # Another order is another input.
    (tmp_path / "x.tape").write_text(
        TAPE.replace("[a.txt\n           $out@clean[Lang:*]]", "[$out@clean[Lang:*] a.txt]")
    )
    text, code = run("ducttape x.tape -O o -y", tmp_path)
    assert code == 0 and sum("stale: input files" in line for line in text) == 2, text
    assert (tmp_path / "o/join/Size.large/out").read_text() == "en\nde\na\n-x large\n"
    (tmp_path / "a.txt").write_text("b\n")
    assert run("ducttape x.tape -O o -y", tmp_path)[1] == 0
    assert (tmp_path / "o/join/Baseline.baseline/out").read_text() == "en\nde\nb\n-x small\n"
    text, _ = run("ducttape x.tape -O o why o/join/Baseline.baseline/out", tmp_path)
    assert any("a.txt" in line for line in text) and any("clean/Lang.de" in line for line in text)
    text, _ = run("ducttape x.tape -O o env join 'Size.large'", tmp_path)
    assert "files=/study/o/clean/Baseline.baseline/out /study/o/clean/Lang.de/out /study/a.txt" in text
