"""Bodies: where they end, which variables they read, and what is said when they do not end."""

import pytest

from ducttape.syntax.diagnostics import TapeError
from ducttape.syntax.parser import parse
from ducttape.syntax.source import Source

FOLLOWING = "\n# a comment\n// another\ntask following < in=x {\n  echo '}'\n}\n"

MULTI_LINE = [
    "",
    "\n",
    "echo hi",
    "case $x in a) echo ;; esac",
    "case $x in\n a|b) echo ;;\n (c) echo ;;\n *) echo }\n;;\n esac",
    "case $x in\n {) echo ${a:$b} ;;\n }|y) echo ;;\nesac",
    "cat <<XX\n}\n{\nXX",
    "cat <<'EOF'\n}\n$x `\nEOF",
    'cat <<"E F"\n}\nE F',
    "cat <<\\EOF\n}\nEOF",
    "cat << EOF\n}\nEOF",
    "cat <<-EOF\n\t}\n\tEOF",
    "cat <<EOF | sort\n}\nEOF",
    "cat > x <<A; cat > y <<B\n}\nA\n}\nB\n",
    "x=$(cat <<EOF\n}\nEOF\n)",
    "cat <<EOF\r\n}\r\nEOF\r\n",
    "cat <<EOF\ntask b {\n  echo\n}\nEOF",
    "python <<PY\nd = {\n}\nPY",
    "cat <<< '}'",
    "(( x = 1 << 3 ))\necho $(( 1 << y ))",
    "a=$[1<<3]\n",
    "((i++))\nfor ((i=0;i<n;i++)); do\n{\necho; }\ndone",
    "echo $((  $(echo 1) + (2) ))",
    "echo $'a\\'b}'",
    "# don't }\necho",
    "echo $#; echo $$ # }\n",
    "echo a#b }x",
    "echo {a,b}\n",
    "echo {1..3}\ncp a{b,c}",
    "echo ${x}",
    "f() {\n  echo\n}\nf",
    "function g {\n echo; }",
    "while read l; do\n {\n echo $l\n }\ndone < $in",
    "grep -c { $f",
    "[ $x = { ] && echo",
    "sed s/}/x/ $f",
    'echo "$(case $x in a) echo "}" ;; esac)"',
    'echo `echo "}"`',
    "x=${y:-}}",
    "x=${y:-{}}",
    "x=${y%\\}}",
    "x=${f%{*}",
    "echo ${x:$o:$n}\nf() {\n echo\n}",
    'echo "it\'s ${x:-"}"} }"',
    "echo \" a\n}\n$(cat <<'E'\n}\nE\n)\"",
    "awk '{ print $1 }\n}\n' $f",
    'echo "\n}\n"',
    "if [[ $x =~ ^[(] ]]; then\n echo\nfi",
    "if true; then echo }\nfi",
    'arr=(a b "c}")\necho ${arr[@]} ${#arr[@]}',
    "diff <(sort a) <(sort b) > >(cat)",
    "echo \\}",
    "task list > out",
    "  task add x\n  plan foo",
    "{ echo }\n}",
    "echo }",
    "coproc { cat; }",
    "let 'x=1<<3'",
]


@pytest.mark.parametrize("text", MULTI_LINE)
def test_body_on_lines_of_its_own(text):
    tree = parse(Source("t", f"task a {{\n{text}\n}}\n{FOLLOWING}"))
    assert [block.name for block in tree.blocks] == ["a", "following"]
    assert tree.blocks[0].body.text == f"\n{text}\n"


@pytest.mark.parametrize("text", [text for text in MULTI_LINE if "\n" not in text and text != "echo }"])
def test_body_on_one_line(text):
    tree = parse(Source("t", f"task a {{ {text} }}  \n{FOLLOWING}"))
    assert [block.name for block in tree.blocks] == ["a", "following"]
    assert tree.blocks[0].body.text == f" {text} "


def test_body_glued_to_its_braces_and_at_the_end_of_the_file():
    assert parse(Source("t", "task a {echo hi}")).blocks[0].body.text == "echo hi"


def test_body_in_a_group_ends_before_the_end_of_the_group():
    tree = parse(Source("t", "submitter s :: A {\n  action run {\n    f() {\n    :\n    }\n  }\n  }\n"))
    assert tree.blocks[0].members[0].body.text == "\n    f() {\n    :\n    }\n  "


def test_carriage_returns_reach_the_body():
    tree = parse(Source("t", "task a < b=c\r\n{\r\n  echo $b\r\n}\r\ntask d {\r\n}\r\n"))
    assert tree.blocks[0].body.text == "\r\n  echo $b\r\n"
    assert tree.blocks[0].clauses[0].items[0].value.value == "c"


@pytest.mark.parametrize(
    ("text", "names", "assigned"),
    [
        ("for ((i = a; i < b; i += c)); do :; done", "a b c i", "i"),
        ("[[ $a -lt b && -f c && d = e ]]", "a b", ""),
        ("echo \"\\$x $y '$z'\" '$q'", "y z", ""),
        ('awk "{print \\$1, $a}"', "a", ""),
        ("x=1; echo $x $1 $@ $? $_ $# $$ $! $- $*", "x", "x"),
        ("read -r a b <<< $c; mapfile lines", "c", "a b lines"),
        ("((i+=j)); echo $((k*2)) $[m]; ((n=1))", "i j k m", "n"),
        ("for f in $fs; do echo ${f%.*}; done", "fs f", "f"),
        ("for ((i=0;i<9;i++)); do :; done", "i", "i"),
        ("cat <<EOF\n$a ${b}\nEOF\ncat <<'E'\n$c\nE\n", "a b", ""),
        ("cat <<< $here", "here", ""),
        ("echo ${x:$o:$l} ${!ref} ${#len} ${arr[$i]} ${y:-$z}", "x o l ref len arr i y z", ""),
        ('[[ -n $a && $b == "$c" ]]', "a b c", ""),
        ("cmd $a < $b > $c 2> $d | tee >(cat $e) `echo $f` $(echo $g)", "a b c d e f g", ""),
        ("export A=$B; unset C; declare D; local E=$A", "B A", "A C D E"),
        ("printf '%s' \"${foo//$bar/$baz}\"", "foo bar baz", ""),
        ("echo $a; echo $a $b # $comment", "a b", ""),
        ("trap 'rm $x' EXIT", "", ""),
    ],
)
def test_names(text, names, assigned):
    body = parse(Source("t", f"task t {{\n{text}\n}}\n")).blocks[0].body
    assert sorted(body.names) == sorted(names.split())
    assert body.assigned == tuple(assigned.split())


def test_names_are_in_order_and_once():
    body = parse(Source("t", "task t { echo $b $a ${b} $c }")).blocks[0].body
    assert body.names == ("b", "a", "c")


@pytest.mark.parametrize(
    ("text", "place", "other", "label"),
    [
        ("task a {\n  echo\n", "1:8", None, None),
        ("task a {\n  f() {\n  echo\n}\n\ntask b {\n  echo\n}\n", "1:8", "6:1", "the next block starts here"),
        ("task a {\n  echo\n} # done\n", "1:8", "3:1", "text follows this brace on its line"),
        ("task a { echo } task q {\n}\n", "1:8", "1:15", "text follows this brace on its line"),
        (
            'task a {\n  echo "foo\n}\n\ntask b {\n  echo "x"\n}\n',
            "1:8",
            "2:8",
            "the double quote that starts here is never closed",
        ),
        (
            "task a {\n  echo don't\n}\ntask b {\n  echo\n}\n",
            "1:8",
            "2:11",
            "the single quote that starts here is never closed",
        ),
        ("task a {\n  cat <<X\n}\n", "1:8", "2:7", "the heredoc that starts here is never closed"),
        ("task a {\n  echo $(foo\n}\n", "1:8", "2:8", "the '$(' that starts here is never closed"),
    ],
)
def test_missing_closing_brace(text, place, other, label):
    with pytest.raises(TapeError) as caught:
        parse(Source("t", text))
    (found,) = caught.value.diagnostics
    assert found.message == "missing closing brace"
    assert str(found.span) == f"t:{place}"
    assert (found.other and str(found.other)) == (other and f"t:{other}")
    if label:
        assert found.other_label == label


@pytest.mark.parametrize(
    ("text", "place", "other"),
    [
        ("task a > x {\n  echo\n}}\n", "3:2", "1:12"),
        ("task a > x {\n  echo\n} }  \n\ntask b {\n}\n", "3:3", "1:12"),
        ("task a {\n  f() { echo; }\n}}\ntask b {\n}\n", "3:2", "1:8"),
        ("task a { echo ${x}; }}\n", "1:22", "1:8"),
        ("summary s {\n  of a > x {\n  echo\n}}\n", "4:2", "2:12"),
    ],
)
def test_one_brace_too_many(text, place, other):
    with pytest.raises(TapeError) as caught:
        parse(Source("t", text))
    found = caught.value.diagnostics[0]
    assert found.message == "one '}' too many"
    assert (str(found.span), str(found.other)) == (f"t:{place}", f"t:{other}")


@pytest.mark.parametrize("body", ["echo {a}", "f() { echo; }", "echo a }", "x={y}", "f() {\n  { echo; }}"])
def test_two_braces_that_are_bash(body):
    assert parse(Source("t", f"task a {{ {body}}}\ntask b {{\n}}\n")).blocks[0].body.text == f" {body}"


def test_text_that_is_no_valid_bash_still_ends_at_its_brace():
    tree = parse(Source("t", f"task a {{\n  if then fi ((\n}}\n{FOLLOWING}"))
    assert tree.blocks[0].body.text == "\n  if then fi ((\n"
