"""Broken text gives a tree or TapeError, never anything else, and soon."""

import random
import time

from ducttape.syntax.diagnostics import TapeError
from ducttape.syntax.parser import parse
from ducttape.syntax.printer import print_file
from ducttape.syntax.source import Source

SEED_TAPE = """#!/usr/bin/env ducttape
global {
  a=1 // one
  c=(P: x y=$q@t z=(Q: 1..3))
  f=[a "b" $c@t[P:x]
    (R: k l)]
  d="it's" /* n /* e */ */
}
task a { echo hi }
task b < in=x > out o2="x y" :: p=1 q = @ .dot=$v@t[B:c,D:*] : git {
  echo {1..3} ${x:$o:$l} "$(case $x in a) echo ;; esac)"
  cat <<'E O'
}
E O
  f() {
    echo $((1 << 2)) `echo $y` # don't
  }
}
task c calls f
   < in=@b
   # comment
   > out
func f < in > out {
  cp $in $out
}
submitter s :: A B {
  action run > x {
    eval $A
  }
}
summary s {
  of b > c {
   echo
  }
}
plan p {
  reach a, b via (B: x 1..3) * /* c */
    (C: *)
  reach d via { (X: a) }
}
import "x.tape"
"""
PIECES = [
    *"{}()[]\"'`$@=:<>#*+-,.\\\n\t \0\ud800\u2028é",
    *[
        '"""',
        "${",
        "$(",
        "$((",
        "))",
        "::",
        "<<EOF",
        "\nEOF\n",
        "\r\n",
        "//",
        "/*",
        "*/",
        "\\u",
        "..",
        "1..2",
        "[a ",
        " b]",
        "1e9..2",
    ],
    *["task ", "plan {\n", "reach a", "via", "case x in", "esac", "calls ", "\n}\n", "global {\n"],
]


def mutate(text, rng):
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at = rng.randrange(len(text) + 1)
        how = rng.randrange(4)
        if how == 0:
            text = text[:at] + rng.choice(PIECES) + text[at:]
        elif how == 1:
            text = text[:at] + text[at + rng.randrange(1, 4) :]
        elif how == 2:
            text = text[:at] + rng.choice(PIECES) + text[at + 1 :]
        else:
            other = rng.randrange(len(text) + 1)
            text = text[:at] + text[other : other + rng.randrange(40)] + text[at:]
    return text


def test_mutants_give_a_tree_or_a_tape_error():
    rng = random.Random(20)
    started = time.process_time()
    parsed = 0
    for _ in range(3000):
        text = mutate(SEED_TAPE, rng)
        try:
            tree = parse(Source("mutant", text))
        except TapeError as error:
            assert all(diagnostic.render() for diagnostic in error.diagnostics)
            continue
        parsed += 1
        assert parse(Source("printed", print_file(tree))) == tree, text
    assert parsed > 100, "the mutations are too violent to test anything but errors"
    assert time.process_time() - started < 20
