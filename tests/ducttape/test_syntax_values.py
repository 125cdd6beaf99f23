"""Right-hand sides: every form, every error with its place."""

from decimal import Decimal

import pytest

from ducttape.syntax import sequences
from ducttape.syntax.diagnostics import TapeError
from ducttape.syntax.parser import parse
from ducttape.syntax.source import Source
from ducttape.syntax.tree import (
    Branch,
    BranchPoint,
    GlobalVariable,
    Graft,
    Grafted,
    Literal,
    SameGlobal,
    SameTaskVariable,
    SequencePoint,
    TaskVariable,
)


def value_of(text):
    tree = parse(Source("t", f"global {{\n  x={text}\n}}\n"))
    (assignment,) = tree.blocks[0].assignments
    return assignment.value


def error_of(text):
    """(column inside the value from 1, message, hint) of the only error."""
    with pytest.raises(TapeError) as caught:
        value_of(text)
    (found,) = caught.value.diagnostics
    return found.span.start - len("global {\n  x=") + 1, found.message, found.hint


def literal(text):
    return Literal(text, None)


@pytest.mark.parametrize(
    ("written", "text", "form"),
    [
        ("abc", "abc", "bare"),
        ("a;b", "a;b", "bare"),
        ("x{y", "x{y", "bare"),
        ("a#b", "a#b", "bare"),
        ("/p/q.txt", "/p/q.txt", "bare"),
        ("a//b", "a//b", "bare"),
        ("{},;#!?/.-~%^&", "{},;#!?/.-~%^&", "bare"),
        ("été", "été", "bare"),
        ('""', "", "double"),
        ("''", "", "single"),
        ('"k=v $x (a)"', "k=v $x (a)", "double"),
        ('"it\'s"', "it's", "double"),
        (r'"a\n\t\"\'\\\u00e9\uu0041\r\b\f"', "a\n\t\"'\\éA\r\b\f", "double"),
        (r"'a\n\'b'", "a\n'b", "single"),
        (r'"\101\0\377"', "A\0ÿ", "double"),
        ('"two\nlines"', "two\nlines", "double"),
        ('"""raw \\n "quoted"\nsecond"""', 'raw \\n "quoted"\nsecond', "triple"),
        ('""""""', "", "triple"),
        ('"""say "yes""""', 'say "yes"', "triple"),
    ],
)
def test_literals(written, text, form):
    found = value_of(written)
    assert found == literal(text)
    assert found.form == form


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("$a", GlobalVariable("a", None)),
        ("${a}", GlobalVariable("a", None)),
        ("$a@t", TaskVariable("a", "t", None)),
        ("${a}@t", TaskVariable("a", "t", None)),
        ("@", SameGlobal(None)),
        ("@t", SameTaskVariable("t", None)),
        ("$a[B:x]", Grafted(GlobalVariable("a", None), (Graft("B", "x", None),), None)),
        ("@t[B:*]", Grafted(SameTaskVariable("t", None), (Graft("B", None, None),), None)),
        (
            "$a@t[B:1.5,C:-1,D:*]",
            Grafted(
                TaskVariable("a", "t", None),
                (Graft("B", "1.5", None), Graft("C", "-1", None), Graft("D", None, None)),
                None,
            ),
        ),
    ],
)
def test_variables(written, expected):
    assert value_of(written) == expected


def names(point):
    return [branch.name for branch in point.branches]


def test_branch_names_are_taken_from_the_values():
    point = value_of("(B: 10k -1 2..4 /p/q 'r' $g $o@t $h@t[X:y] z=@ (Inner: a b) (Seq: 1..2))")
    assert names(point) == ["10k", "-1", "2..4", "/p/q", "r", "g", "o", "h", "z", "Inner", "Seq"]
    assert [branch.implied for branch in point.branches] == [True] * 8 + [False] + [True] * 2


def test_branches_may_be_on_lines_of_their_own():
    point = value_of("( B:\n  a=1\n\tb=$x@t[C:d]\r\n  c=(D: e\n f)\n)")
    assert names(point) == ["a", "b", "c"]
    assert point.branches[2].value == BranchPoint(
        "D", (Branch("e", literal("e"), None), Branch("f", literal("f"), None)), None, None
    )


@pytest.mark.parametrize(
    ("written", "first", "last", "step", "texts"),
    [
        ("1..3", 1, 3, 1, "1 2 3"),
        ("5..1..-2", 5, 1, -2, "5 3 1"),
        ("1..10..4", 1, 10, 4, "1 5 9"),
        ("0.1..0.5..0.1", "0.1", "0.5", "0.1", "0.1 0.2 0.3 0.4 0.5"),
        ("1e2..3e2..1e2", "1e2", "3e2", "1e2", "1E+2 2E+2 3E+2"),
        ("-1..1", -1, 1, 1, "-1 0 1"),
        ("+1..+2", 1, 2, 1, "1 2"),
        ("7..7", 7, 7, 1, "7"),
        ("-0..1", 0, 1, 1, "0 1"),
        ("0.10..0.20..0.05", "0.1", "0.2", "0.05", "0.10 0.15 0.20"),
    ],
)
def test_sequences(written, first, last, step, texts):
    found = value_of(f"(B: {written})")
    assert found == SequencePoint("B", Decimal(first), Decimal(last), Decimal(step), None, None)
    assert sequences.texts(found.first, found.last, found.step) == texts.split()


@pytest.mark.parametrize(
    ("written", "column", "message", "hint"),
    [
        ("k=v", 2, "'=' cannot stand in an unquoted value", 'quote it: "k=v"'),
        ("a+b", 2, "'+' cannot stand in an unquoted value", 'quote it: "a+b"'),
        ("http://x", 5, "':' cannot stand in an unquoted value", 'quote it: "http://x"'),
        ("a'b", 2, "''' cannot stand in an unquoted value", "quote it"),
        ("a$b", 2, "'$' cannot stand inside a value: variables are not expanded in text", None),
        ("*", 1, "a value cannot start with '*'", "quote it"),
        ("", 1, "expected a value, found the end of the line", 'write "" for an empty value'),
        ('"abc', 1, "quoted text is never closed", 'close it with "'),
        ('"""abc"', 1, "triple-quoted text is never closed", None),
        ('"a"b', 4, "expected a space after quoted text, found 'b'", None),
        ('"a"{', 4, "expected a space after quoted text, found '{'", "put a space before '{'"),
        (r'"a\d"', 3, r"unknown escape '\d' in quoted text", None),
        ("$", 2, "expected a variable name after '$', found the end of the line", None),
        ("$x/y", 3, "expected a space after the value, found '/y'", None),
        ("$x{", 3, "expected a space after the value, found '{'", "put a space before '{'"),
        ("${x", 4, "expected '}' after the variable name, found the end of the line", None),
        ("$x@", 4, "expected a task name after '@', found the end of the line", None),
        ("@[B:x]", 2, "a bare '@' cannot have grafts", None),
        ("$x[B:x, C:y]", 8, "blanks are not allowed inside a graft", None),
        ("$x[B: x]", 6, "blanks are not allowed inside a graft", None),
        ("$x[B]", 5, "expected ':' after the branch point, found ']'", None),
        ("$x[B:]", 6, "expected a branch name, found ']'", None),
        ("$x[B:x,B:y]", 8, "branch point 'B' is grafted twice", None),
        ("(a b)", 2, "branch point without a name", None),
        ("(: a b)", 2, "branch point without a name", None),
        ("(B : a)", 2, "blanks before the ':' of a branch point", "write (B: ...)"),
        ("(B:)", 1, "branch point 'B' has no branches", None),
        ("(B: a a)", 7, "branch 'a' is given twice in branch point 'B'", None),
        ("(B: @)", 5, "this branch needs a name", "as in name=@"),
        ("(B: @t)", 5, "this branch needs a name", "as in name=@t"),
        ('(B: "q r")', 5, "this branch needs a name", 'as in name="q r"'),
        ("(B: a/b=c)", 5, "'a/b' cannot be a branch name", None),
        ("(B: a # c\n b)", 7, "comments are not allowed inside a branch point", None),
        ("(B: a=1", 1, "branch point is never closed", "close it with ')'"),
        ("(B: a)b", 7, "expected a space after the value, found 'b'", None),
        ("a)", 2, "unexpected ')'", None),
        ("(B: 5..1)", 5, "empty sequence", "to count down, give a step of the other sign: 5..1..-1"),
        ("(B: 1..5..-1)", 5, "empty sequence", "to count up, give a step of the other sign: 1..5..1"),
        ("(B: 1..2..0)", 5, "the step of a sequence cannot be zero", None),
        ("(B: 1..2 c)", 10, "a sequence must be alone in its branch point", None),
        ("(B: 1..1000000000)", 5, "sequence of more than 100000 numbers", None),
        ("(B: 1..1e999999999999)", 5, "exponent too large in a sequence", None),
        ("(B: 1..1e9999)", 5, "number with more than 200 digits in a sequence", None),
    ],
)
def test_errors(written, column, message, hint):
    # Nothing may follow the value, so that an unclosed one runs into the end of the file.
    if "never closed" in message:
        with pytest.raises(TapeError) as caught:
            parse(Source("t", f"global {{\n  x={written}"))
        found = caught.value.diagnostics[0]
        at = found.span.start - len("global {\n  x=") + 1, found.message, found.hint
    else:
        at = error_of(written)
    assert at[:2] == (column, message)
    if hint is not None:
        assert at[2] == hint


def test_deep_nesting_is_an_error_and_not_a_crash():
    with pytest.raises(TapeError, match="nested more than"):
        value_of("(B: a=" * 5000)
