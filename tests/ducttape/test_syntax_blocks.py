"""Blocks and headers: every kind, every layout the language allows, every error with its place."""

import pytest

from ducttape.syntax.diagnostics import TapeError
from ducttape.syntax.parser import parse
from ducttape.syntax.source import Source
from ducttape.syntax.tree import (
    Assignment,
    Call,
    Goal,
    Group,
    Import,
    Literal,
    PlanBranches,
    Reach,
    SameGlobal,
    TaskLike,
    Variables,
)


def only(text):
    (block,) = parse(Source("t", text)).blocks
    return block


def item(name, value=None, dot=False):
    return Assignment(name, Literal(value, None) if isinstance(value, str) else value, None, None, dot)


def test_all_clauses_on_one_line():
    task = only("task t < in=x > out o2=y/z :: p=1 .mem = 8 q= @ : git moses {\n}\n")
    assert [clause.kind for clause in task.clauses] == ["input", "output", "param", "package"]
    assert task.items("input") == (item("in", "x"),)
    assert task.items("output") == (item("out"), item("o2", "y/z"))
    assert task.items("param") == (item("p", "1"), item("mem", "8", dot=True), item("q", SameGlobal(None)))
    assert task.items("package") == (item("git"), item("moses"))


def test_clauses_on_lines_of_their_own_with_comments_between():
    task = only(
        "#!/usr/bin/env ducttape\n/* a /* nested */ comment */ // more\ntask t # first\n  < a=b # second\n"
        "  /* third */ < c=(B: x\n    y) // fourth\n\n\t:: p=q\n  # { < d=e\n  > out\n\n{\n  echo\n}\n"
    )
    assert [clause.kind for clause in task.clauses] == ["input", "input", "param", "output"]
    assert task.body.text == "\n  echo\n"


def test_spans_point_at_the_words():
    text = "task name < in=val {\n}\n"
    task = only(text)
    assert task.name_span.text == "name"
    assert task.span.text == text.rstrip()
    assert task.clauses[0].span.text == "< in=val"
    assert (task.clauses[0].items[0].name_span.text, task.clauses[0].items[0].value.span.text) == ("in", "val")
    assert task.body.span.text == task.body.text == "\n"


def test_call():
    call = only("task a calls f\n  < in=$x@y\n  # comment\n  > out\n")
    assert isinstance(call, Call)
    assert (call.name, call.function, call.function_span.text) == ("a", "f", "f")
    assert [clause.kind for clause in call.clauses] == ["input", "output"]
    assert call.span.text.endswith("> out")


def test_a_task_may_be_named_like_a_keyword():
    assert [block.name for block in parse(Source("t", "task plan {\n}\ntask calls {\n}\n")).blocks] == ["plan", "calls"]


@pytest.mark.parametrize("kind", ["func", "action"])
def test_formal_headers_have_bare_names(kind):
    block = only(f"{kind} f < in in2 > out :: p {{ echo }}")
    assert (block.items("input"), block.items("param")) == ((item("in"), item("in2")), (item("p"),))


@pytest.mark.parametrize("kind", ["task", "package", "of", "baseline", "branch"])
def test_task_like_blocks(kind):
    block = only(f"{kind} x > out :: .a=b {{\n}}")
    assert isinstance(block, TaskLike)
    assert block.kind == kind


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("submitter s :: A B {\n  # c\n  action run > x {\n echo\n  }\n}\n", ["run"]),
        (
            "versioner v\n  :: repo\n{\n  action checkout > dir { echo } \n  action repo_version > version {\n}\n}\n",
            ["checkout", "repo_version"],
        ),
        ("summary s {\n  of a > x {\n  }\n  of b > y {\n  }\n}", ["a", "b"]),
        ("summary s {\n}", []),
        (
            "group g {\n  task a { echo }\n  task b calls f > out\n  branchpoint p {\n    baseline x {\n }\n }\n}\n",
            ["a", "b", "p"],
        ),
    ],
)
def test_groups(text, members):
    group = only(text)
    assert isinstance(group, Group)
    assert [member.name for member in group.members] == members


def test_globals_and_configs():
    block = only('global { # first\n  a=1 // c\n  b = "x y" /* c\n c */\n\n  # c\n c=(P: x\n y)\n d=@t\n} # last\n')
    assert isinstance(block, Variables)
    assert [assignment.name for assignment in block.assignments] == ["a", "b", "c", "d"]
    assert only("config {\n}\n").name is None
    assert only("config x\n{\n}\n").name == "x"


def test_imports():
    tree = parse(Source("t", "import \"a b.tape\"\nimport c.tape // d\nimport 'e'\n"))
    assert [block.path.value for block in tree.blocks] == ["a b.tape", "c.tape", "e"]
    assert all(isinstance(block, Import) for block in tree.blocks)


def reach(goals, **points):
    cross = tuple(PlanBranches(point, branches and tuple(branches.split()), None) for point, branches in points.items())
    return Reach(tuple(Goal(goal, None) for goal in goals.split()), cross, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reach a", [reach("a")]),
        ("reach a, b ,c\n  reach d", [reach("a b c"), reach("d")]),
        ("reach a via (B: x)", [reach("a", B="x")]),
        ("reach a via (B: *)", [reach("a", B=None)]),
        ("reach a via (B:*)*(C:x  y)", [reach("a", B=None, C="x y")]),
        ("reach a via # c\n { (B: x /* c */ y) // c\n * # c\n (C: # c\n *) }", [reach("a", B="x y", C=None)]),
        (
            "reach a via\n    (B: x)\n    * (C: 10k -1 1.5 /p/q baseline)",
            [reach("a", B="x", C="10k -1 1.5 /p/q baseline")],
        ),
        ("reach a via (B: one 1..3 5..1..-2)", [reach("a", B="one 1 2 3 5")]),
        ("reach a via (B: 1e2..3e2..1e2)", [reach("a", B="1E+2 2E+2 3E+2")]),
        ("reach a via (B: 1E+2 x)\n # c\n\n reach b via { (C: d) }", [reach("a", B="1E+2 x"), reach("b", C="d")]),
        ("", []),
    ],
)
def test_plans(text, expected):
    plan = only(f"plan p {{\n  # c\n  {text}\n}}\n")
    assert plan.reaches == tuple(expected)
    assert only(f"plan {{\n{text}\n  }}").name is None


ERRORS = [
    ("task t{\n}\n", "1:7", "unexpected '{' after the name 't'", "put a space before '{'"),
    ("task {\n}\n", "1:6", "expected the name of the task, found '{'", None),
    ("task\n", "1:5", "expected a space and a name after 'task', found the end of the line", None),
    ("task 1a {\n}\n", "1:6", "expected the name of the task, found '1a'", None),
    ("task a-b {\n}\n", "1:7", "unexpected '-b' after the name 'a'", None),
    ("task a", "1:7", "expected '{' and the body of task 'a', found the end of the file", None),
    (
        "task a :: p=x{\n}\n",
        "2:1",
        "expected '{' and the body of task 'a', found '}'",
        "put a space before '{': as it stands, it belongs to the value before it",
    ),
    ("task a > out{\n}\n", "1:13", "expected a space, found '{'", "put a space before '{'"),
    (
        "task a\n < x=y\n z=w\n{\n}\n",
        "3:2",
        "expected '{' and the body of task 'a', found 'z=w'",
        "every line of a header starts with '<', '>', '::' or ':'",
    ),
    (
        "task a < x=y /* c */ z=w {\n}\n",
        "1:22",
        "expected '{' and the body of task 'a', found 'z=w'",
        "comments cannot stand between the items of a clause",
    ),
    ("task a <x=y {\n}\n", "1:9", "expected a space after '<', found 'x=y'", "put a space after '<'"),
    ("task a <\n x=y {\n}\n", "1:8", "nothing after '<': expected an input", None),
    ("task a > {\n}\n", "1:8", "nothing after '>': expected an output", None),
    ("task a < b = c {\n}\n", "1:10", "input 'b' needs a value", "no blanks around '=' in inputs: write b=value"),
    ("task a < b= c {\n}\n", "1:12", "expected a value right after 'b='", None),
    ("task a < b {\n}\n", "1:10", "input 'b' needs a value", "as in b=value, or b=@ for the global of that name"),
    ("task a :: b {\n}\n", "1:11", "parameter 'b' needs a value", None),
    ("task a :: b= {\n}\n", "1:14", "'b=' has no value", 'write "" for an empty value'),
    ("task a > .b {\n}\n", "1:10", "an output cannot start with a dot", None),
    ("task a : b=c {\n}\n", "1:10", "a package takes no value here", None),
    ("task a > b,c {\n}\n", "1:11", "unexpected ',c' after the name 'b'", None),
    ("task a > 1b {\n}\n", "1:10", "expected the name of an output, found '1b'", None),
    ("task a :: b=c) {\n}\n", "1:14", "unexpected ')'", None),
    ("func f < a=b {\n}\n", "1:10", "'a' cannot have a value in this header", None),
    ("task a calls f {\n}\n", "1:16", "a task that calls a function has no body", None),
    ("task a calls 1 {\n}\n", "1:14", "expected the name of a function, found '1'", None),
    ("tsak a {\n}\n", "1:1", "unknown block 'tsak'", "did you mean 'task'?"),
    ("}\n", "1:1", "unexpected '}'", None),
    ("x=1\n", "1:1", "unknown block 'x=1'", "variables are set inside a block: global { ... }"),
    ('"x"\n', "1:1", "unexpected '\"x\"' at the top level", None),
    ("/* a /* b */\n", "1:1", "comment is never closed", None),
    ("plan { reach a }\n", "1:8", "expected a new line after '{', found 'reach'", None),
    ("global { a=1 }\n", "1:10", "expected a new line after '{', found 'a=1'", None),
    ("plan p{\n}\n", "1:7", "unexpected '{' after the name 'p'", "put a space before '{'"),
    ("plan {\n  rech a\n}\n", "2:3", "expected 'reach' and a task, found 'rech'", None),
    ("plan {\n  reach a b\n}\n", "2:11", "expected 'reach' and a task, found 'b'", None),
    ("plan {\n  reach a via (B: *) (C: x)\n}\n", "2:22", "expected '*' between branch points", None),
    ("plan {\n  reach a via B\n}\n", "2:15", "expected '(' and a branch point, found 'B'", None),
    ("plan {\n  reach a via (B: * x)\n}\n", "2:21", "expected ')' after '*', found 'x)'", None),
    ("plan {\n  reach a via (B: x=y)\n}\n", "2:20", "expected a space or ')' after the branch, found '=y)'", None),
    ("plan {\n  reach a via (B: x) * (B: y)\n}\n", "2:24", "branch point 'B' is listed twice", None),
    ("plan {\n  reach a via (B: )\n}\n", "2:15", "no branches of 'B' are listed", None),
    ("global {\n  a\n}\n", "2:3", "variable 'a' needs a value", "as in a=value"),
    ("global {\n  .a=1\n}\n", "2:3", "expected the name of a variable, found '.a=1'", None),
    ("global {\n  a=1\n", "1:8", "missing closing brace", None),
    ("global {\n  a=1\n\ntask t {\n}\n", "1:8", "missing closing brace", None),
    ("global {\n  a=1\n} x\n", "3:3", "only blanks may follow a closing brace on its line", None),
    ("import\n", "1:7", "expected a file name after 'import', found the end of the line", None),
    ('import ""\n', "1:8", "empty file name", None),
    ("summary s {\n  task x {\n  }\n}\n", "2:3", "'task' cannot stand inside a summary", None),
    ("group g {\n  foo x {\n  }\n}\n", "2:3", "unknown block 'foo'", None),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), ERRORS)
def test_errors(text, place, message, hint):
    with pytest.raises(TapeError) as caught:
        parse(Source("t", text))
    found = caught.value.diagnostics[0]
    assert (str(found.span), found.message) == (f"t:{place}", message)
    if hint is not None:
        assert found.hint == hint
    assert found.render().startswith(f"t:{place}: error: {message}")


def test_nested_groups_do_not_exhaust_the_stack():
    with pytest.raises(TapeError, match="nested more than"):
        parse(Source("t", "group g {\n" * 3000))
