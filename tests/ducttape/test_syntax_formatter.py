"""The formatter keeps meaning, comments and bodies, and is idempotent."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_syntax_fuzz import SEED_TAPE
from test_syntax_roundtrip import FILES

from ducttape.syntax.diagnostics import TapeError
from ducttape.syntax.formatter import format_text
from ducttape.syntax.parser import parse
from ducttape.syntax.printer import print_file
from ducttape.syntax.source import Source
from ducttape.syntax.tree import File, Group, Plan, TaskLike, Variables

ROOT = Path(__file__).parents[2]
TAPES = [
    ROOT / "main.tape",
    *sorted(ROOT.glob("t*/*.tape")),
    *sorted(ROOT.glob("configs/*.tconf")),
    *sorted(ROOT.glob("src/ducttape/library/*.tape")),
    *(
        path
        for path in sorted(ROOT.glob("tests/ducttape/research/**/*"))
        if path.suffix in (".tape", ".tconf", ".conf")
    ),
]
# Wrong on purpose.
TAPES.remove(ROOT / "tests/ducttape/research/course/3.tape")
COMMENTS = [
    "# c@ { '\n",
    "// c@ */\n",
    "#c@\n\n\n\n",
    "/* c@ */",
    " /* c@ /* deep */ } */\n",
    "\n\n\n# c@\n",
    "\n/* c@\n */ ",
]


def fmt(text):
    return format_text(Source("x.tape", text))


def places(node):
    """Offsets at which a comment may stand."""
    yield node.span.start
    match node:
        case Variables():
            yield from (item.span.start for item in node.assignments)
        case Plan():
            for reach in node.reaches:
                yield reach.span.start
                yield from (part.span.start for part in (*reach.goals, *reach.cross))
    yield from (clause.span.start for clause in getattr(node, "clauses", ()))
    if isinstance(node, TaskLike):
        yield node.body.span.start - 1
    if isinstance(node, Group):
        for member in node.members:
            yield from places(member)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(FILES.map(lambda blocks: File(tuple(blocks), None)), st.data())
def test_tree_and_comments_survive_and_a_second_time_changes_nothing(tree, data):
    text = print_file(tree)
    spots = sorted({at for block in parse(Source("printed", text)).blocks for at in places(block)} | {len(text)})
    chosen = sorted(data.draw(st.lists(st.sampled_from(spots), max_size=6)), reverse=True)
    for number, at in enumerate(chosen):
        comment = data.draw(st.sampled_from(COMMENTS)).replace("@", str(len(chosen) - number))
        text = text[:at] + comment + text[at:]
    try:
        commented = parse(Source("commented", text))
    except TapeError:
        # A comment behind a body can make its end ambiguous.
        assume(False)
    assume(commented == tree)
    done = fmt(text)
    assert parse(Source("formatted", done)) == tree
    assert re.findall(r"[#/*] ?c(\d+)", done) == [str(number + 1) for number in range(len(chosen))]
    assert fmt(done) == done


@pytest.mark.parametrize("path", TAPES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_tapes_of_the_project(path):
    text = path.read_text()
    done = fmt(text)
    assert parse(Source("formatted", done)) == parse(Source("written", text))
    assert fmt(done) == done


LAYOUTS = {
    "blanks": ("task  a   <  x=y   >  z   ::  p  =  1 {\n}", "task a < x=y > z :: p=1 {\n}\n"),
    "a broken header": ("task a < x=y\n > z {\n}", "task a\n    < x=y\n    > z\n{\n}\n"),
    "a long header": (
        f"task a < x={'y' * 50} > z={'w' * 50} {{\n}}",
        f"task a\n    < x={'y' * 50}\n    > z={'w' * 50}\n{{\n}}\n",
    ),
    "a brace alone": ("task a > x\n\n{\n}", "task a > x {\n}\n"),
    "a comment in a header": ("task a # why\n> x {\n}", "task a # why\n    > x\n{\n}\n"),
    "variables": ("global {\na = 1  # one\n\n\n\n  b=2 c=3\n}", "global {\n  a=1 # one\n\n  b=2\n  c=3\n}\n"),
    "a branch point": ("global {\n a=( P:  b\n\n c=( Q:1 2 ) )\n}", "global {\n  a=(P: b\n      c=(Q: 1 2))\n}\n"),
    "a sequence": ("global {\n a=( P:  1..3 )\n}", "global {\n  a=(P: 1..3)\n}\n"),
    "branches like punctuation": (
        "plan {\nreach a via (P: x , { } via)\n}",
        "plan {\n  reach a via (P: x , { } via)\n}\n",
    ),
    "a list": ("task a < x=[ b   $c@d\n $e  ]\n> y {\n}", "task a\n    < x=[b $c@d\n        $e]\n    > y\n{\n}\n"),
    "a plan": ("plan p {\nreach a ,b   via (P:x)*( Q: * )\n}", "plan p {\n  reach a, b via (P: x) * (Q: *)\n}\n"),
    "blank lines": ("\n\nimport a\n\n\n\nimport b\nimport c\n\n", "import a\n\n\nimport b\nimport c\n"),
    "CRLF": ("task a  > x {\r\n  y\r\n}\r\n\r\n# c\r\n", "task a > x {\r\n  y\r\n}\r\n\r\n# c\r\n"),
    "only comments": ("  # a  \n\n/* b */", "# a\n\n/* b */\n"),
    "nothing": (" \n", ""),
    "a body": ("task a {\n  x  \n\n\n\ty }", "task a {\n  x  \n\n\n\ty }\n"),
    "calls": ("task a // c\n calls f\n< x=y", "// c\ntask a calls f\n    < x=y\n"),
    "nested": (
        "submitter s :: A\n{\naction run\n{\n x\n}\n# end\n}",
        "submitter s :: A {\n  action run {\n x\n}\n  # end\n}\n",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name):
    written, wanted = LAYOUTS[name]
    assert fmt(written) == wanted


def test_every_construct():
    done = fmt(SEED_TAPE)
    assert fmt(done) == done


def test_errors_are_those_of_the_parser():
    with pytest.raises(TapeError, match="missing closing brace"):
        fmt("task a {\n")


def test_line_ends_that_are_mixed_become_plain():
    done = fmt("task a \r\n> x {\n  y\n}\r\n")
    assert done == "task a\n    > x\n{\n  y\n}\n" and fmt(done) == done
