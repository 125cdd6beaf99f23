"""Every static error, its place, and its related place.

In the tables `«` stands just before the place that the error must point at and `»` before the related place.
"""

from __future__ import annotations

import pytest

from ducttape.plan.planner import make_plan
from ducttape.syntax.diagnostics import TapeError
from ducttape.workflow.loader import load

SWITCHES = "global {\n  ducttape_experimental_packages=true\n  ducttape_experimental_submitters=true\n}\n"


def marked(text: str) -> tuple[str, int | None, int | None]:
    """The text without marks, and the offsets of the marks."""
    here = there = None
    out = []
    for character in text:
        if character == "«":
            here = len(out)
        elif character == "»":
            there = len(out)
        else:
            out.append(character)
    return "".join(out), here, there


def check(tmp_path, text: str, message: str, hint: str | None = None) -> None:
    text, here, there = marked(text)
    tape = tmp_path / "x.tape"
    tape.write_text(text)
    with pytest.raises(TapeError) as caught:
        make_plan(load(tape, user_file=False))
    matching = [d for d in caught.value.diagnostics if message in d.message]
    assert matching, str(caught.value)
    found = matching[0]
    if here is not None:
        assert found.span is not None and found.span.start == here, found.render()
    if there is not None:
        assert found.other is not None and found.other.start == there, found.render()
    if hint is not None:
        assert found.hint and hint in found.hint, found.render()


def task(name: str, header: str, body: str = ":") -> str:
    return f"task {name} {header} {{\n  {body}\n}}\n"


A = task("a", "> out :: p=1")

STRUCTURE = [
    (task("t", ":: »x=1 «x=2"), "variable 'x' is defined twice"),
    (task("t", "< »x=/dev/null\n > «x"), "variable 'x' is defined twice"),
    (task("t", ":: »x=1 .«x=2"), "variable 'x' is defined twice"),
    (task("»t", "> x") + task("«t", "> y"), "task 't' is defined twice"),
    (task("t", "> x=«(A: a b)"), "output 'x' of task 't' has a branch point"),
    ("global {\n  »x=1\n}\nglobal {\n  «x=2\n}\n" + A, "global 'x' is defined twice"),
    ("«global name {\n  x=1\n}\n" + A, "global blocks cannot have a name"),
    (task("t", '< x=«""'), "input 'x' has an empty name"),
    (task("t", '> x=«""'), "output 'x' has an empty name"),
    ('global {\n  g=«""\n}\n' + task("t", "< x=$g"), "input 'g' has an empty name"),
    ("group «g {\n}\n", "not supported yet"),
    ("branch «g {\n}\n", "not supported yet"),
    ("task t calls «f > x\n" + "func g > x {\n}\n", "unknown function 'f'"),
    ("func f > »x {\n}\n" + "task «t calls f > y\n", "call of 'f' does not give its output 'x'"),
    (task("t", ":: p=(»A: x y)") + task("u", ":: p=(«A: y x)"), "baseline 'y' here and 'x' elsewhere"),
    (task("t", ":: p=(»A: x y)") + task("u", ":: p=(«A: x z)"), "different branches here"),
    ("global {\n  g=(»A: x y)\n}\n" + task("u", ":: p=(«A: x y z)"), "adds z"),
    (task("t", ":: p=(A: x=1 «x=2)"), "branch"),
    (task("t", ":: p=(«Baseline: x y)"), "reserved"),
]

RESOLUTION = [
    (task("t", ":: p=«$nope"), "unknown global 'nope'"),
    ("global {\n  seed=1\n}\n" + task("t", ":: p=«$sed"), "unknown global 'sed'"),
    (task("t", ":: p=«@"), "unknown global 'p'"),
    ("global {\n  x=«$y\n  »y=$x\n}\n" + task("t", ":: p=$y"), "is defined by itself"),
    (A + task("t", "< x=«$out@aa"), "unknown task 'aa'"),
    (A.replace("task a", "task »a") + task("t", "< x=«$ou@a"), "task 'a' has no output 'ou'"),
    (A.replace("task a", "task »a") + task("t", "< x=«$p@a"), "is a param of task 'a', but an input can read only"),
    (A.replace("task a", "task »a") + task("t", ":: x=«$out@a"), "is an output of task 'a', but a param can read only"),
    (task("t", "< x=«$y@t > y"), "reads its own output"),
    (task("t", "< x=«$y@u > y") + task("u", "< x=»$y@t > y"), "in a cycle: t -> u -> t"),
    (task("t", ":: p=«$p@u") + task("u", ":: »p=$p@t"), "is defined by itself"),
    (task("t", ":: q=1 > x=«$q@t"), "must be a literal, $param or $global"),
    (A + task("t", "< x=$out@a[«Z:z]"), "unknown branch point 'Z'"),
    (task("a", "> out :: p=(»A: x y)") + task("t", "< x=$out@a[«A:z]"), "branch point 'A' has no branch 'z'"),
    (
        A + task("b", ":: p=(»A: x y)") + task("t", "< x=$out@a[«A:y]"),
        "impossible graft: $out@a has no branch point 'A'",
    ),
    (task("a", "> out :: p=(A: x y)") + task("t", "< x=$out@a[A:x,«A:y]"), "grafted twice"),
    (
        "global {\n  g=(A: x=1 y=2)\n}\n" + task("t", ":: p=(A: »x=$g[«A:y] y=$g[A:x])"),
        "swaps branches",
    ),
]

PACKAGES = [
    (A + task("t", ": «p > x"), "unknown package 'p'"),
    ("package «p :: x=1 {\n}\n" + A, "package 'p' names no versioner"),
    ("package p :: .versioner=«gti {\n}\n" + A, "unknown versioner 'gti'"),
    ("package «p :: .versioner=git .repo=x {\n}\n" + A, "does not give the param '.ref'"),
    ("package p :: .versioner=disk .path=/x «y=(A: a b) {\n}\n" + A, "must be a literal"),
    ("package p :: .versioner=disk .path=/x < «y=/z {\n}\n" + A, "cannot have inputs"),
    ("versioner «v :: url {\n  action checkout > dir {\n  }\n}\n" + A, "lacks the action 'repo_version'"),
    ("submitter «s :: q {\n  action go {\n  }\n}\n" + A, "lacks the action 'run'"),
    (A + task("t", ":: .submitter=«slrum > x"), "unknown submitter 'slrum'"),
    (
        "submitter s :: »q COMMANDS {\n  action run {\n  }\n}\n" + task("«t", ":: .submitter=s > x"),
        "does not give '.q', which submitter 's' needs",
    ),
    (A + "summary s {\n  of «b > x {\n  }\n}\n", "unknown task 'b'"),
]


@pytest.mark.parametrize("text, message", STRUCTURE + RESOLUTION)
def test_error_points_at_its_place(tmp_path, text, message):
    check(tmp_path, text, message)


@pytest.mark.parametrize("text, message", PACKAGES)
def test_package_and_submitter_errors(tmp_path, text, message):
    check(tmp_path, SWITCHES + text, message)


def test_experimental_features_must_be_enabled(tmp_path):
    package = "package p :: .versioner=disk .path=/x {\n}\n"
    check(tmp_path, package + task("t", ": «p > x"), "uses packages", "ducttape_experimental_packages=true")
    check(tmp_path, task("t", ":: «.submitter=shell > x"), "uses submitters", "ducttape_experimental_submitters=true")
    off = "global {\n  ducttape_experimental_submitters=false\n}\n"
    check(tmp_path, off + task("t", ":: «.submitter=shell > x"), "forbids")


def test_hints_name_the_nearest_candidate(tmp_path):
    check(tmp_path, "global {\n  seed=1\n}\n" + task("t", ":: p=$sede"), "unknown global", "did you mean 'seed'?")
    check(tmp_path, A + task("t", "< x=$uot@a"), "has no output", "did you mean 'out'?")


def test_several_errors_in_one_run(tmp_path):
    tape = tmp_path / "x.tape"
    tape.write_text(
        task("t", ":: a=1 a=2 > x") + task("t", "> x") + task("u", ":: p=(A: x y)") + task("v", ":: p=(A: y x)")
    )
    with pytest.raises(TapeError) as caught:
        load(tape, user_file=False)
    assert len(caught.value.diagnostics) == 3
    tape.write_text(task("t", ":: a=$x b=$y") + task("u", "< x=$y@nowhere"))
    with pytest.raises(TapeError) as caught:
        load(tape, user_file=False)
    assert len(caught.value.diagnostics) == 3


@pytest.mark.parametrize("name", ["ducttape_experimental_multiproc", "ducttape_versioned_tasks"])
def test_bad_boolean(tmp_path, name):
    check(tmp_path, f"global {{\n  {name}=«maybe\n}}\n" + A, "must be true or false, not 'maybe'", "true or false")


def test_flat_structure_forbids_branch_points(tmp_path):
    flat = "global {\n  ducttape_structure=flat\n}\n"
    check(tmp_path, flat + task("«t", "> x :: p=(»A: a b)"), "ducttape_structure=flat forbids")


@pytest.mark.parametrize(
    "body, names",
    [
        ('echo "$missing"', ["missing"]),
        ('for i in 1 2; do echo "$i"; done', []),
        ('x=1; echo "$x" $HOME $TASK', []),
        ('echo "$p" > "$out"', []),
        ("echo ${p}x ${typo:-}", ["typo"]),
    ],
)
def test_undeclared_variables(tmp_path, body, names):
    tape = tmp_path / "x.tape"
    tape.write_text("global {\n  ducttape_undeclared_vars=warn\n}\n" + task("t", "> out :: p=1", body))
    warnings = load(tape, user_file=False).warnings
    assert [w.message.split("'")[3] for w in warnings] == names
    for warning, name in zip(warnings, names, strict=True):
        assert name in warning.span.text and warning.severity == "warning"


def test_unused_variables(tmp_path):
    check(
        tmp_path,
        "global {\n  ducttape_unused_vars=error\n}\n" + task("t", ":: «p=1 .cpus=2 > out", "echo hi"),
        "never uses its variable 'p'",
    )
