"""Layout and comments of a body do not count; everything that bash could act on does."""

import pytest

from ducttape.store.commands import normalize

SAME = [
    ("echo a\n", "  echo   a   # said\n\n"),
    ("python $x --a 1 --b 2", "python $x \\\n    --a 1 \\\n  --b 2\n"),
    ("if [ -f a ]; then\necho b\nfi\n", "# why\n  if [ -f a ]; then\n      echo b\n  fi"),
    ("f() {\n echo a\n}\n", "f() {\n\n   echo a   # note: it's here\n}\n"),
    ("cat <<EOF\n a\nEOF\necho b", "  cat  <<EOF\n a\nEOF\n  # c\n  echo b\n"),
]

DIFFERENT = [
    ("echo a b", "echo ab"),
    ("echo 'a  b'", "echo 'a b'"),
    ('echo "a  # b"', 'echo "a"'),
    ("echo a#b", "echo a"),
    ("cat <<EOF\n a\nEOF\n", "cat <<EOF\na\nEOF\n"),
    ("cat <<EOF\n# a\nEOF\n", "cat <<EOF\nEOF\n"),
    ("cat <<'X Y'\na  b\nX Y\n", "cat <<'X Y'\na b\nX Y\n"),
    ("cat <<-EOF\n\ta\n\tEOF\n", "cat <<-EOF\n\t a\n\tEOF\n"),
    ("echo a\necho b", "echo a echo b"),
    ("echo a; echo b", "echo b; echo a"),
    ("echo a &\n", "echo a\n"),
    ("x=$'a\\tb'", "x=$'a\\t b'"),
    ("echo ${x:-a  b}", "echo ${x:-a b}"),
    ("echo a\\ b", "echo a b"),
    ("echo a\\  b", "echo a\\ b"),
    ("echo $1", "echo $2"),
    ("echo 'x\n\ny'", "echo 'x\ny'"),
    ('cat <<< "a  b"', 'cat <<< "a b"'),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_cosmetic_edits_keep_the_commands(one, other):
    assert normalize(one) == normalize(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_edits_that_may_matter_change_the_commands(one, other):
    assert normalize(one) != normalize(other)


def test_a_body_that_cannot_be_parsed_counts_as_written():
    assert normalize("if (((  # a\n") == ("if (((  # a",)


def test_bytes_that_are_not_utf8_survive():
    assert normalize("echo \udcff") == ("echo \udcff",)
