#!/usr/bin/env python3
"""Mutation fuzzer of the language: mutants of real tapes from the parser to the planner and the drawing.

    python benchmarks/fuzz_syntax.py 200000 --seed 1 --save out/fuzz

A mutant must give a tree or a `TapeError` whose diagnostics point into the text, within a second of processor time; the
printed and the formatted text must have the same tree; a tree must load, be checked and plan, or give a `TapeError`, in
another second; what is planned must draw. Anything else is a finding: it is printed, its text is saved, and the exit
code is 1. The corpus is every tape and config of the project, the examples of docs/language.md, and --corpus folders.
Mutant n of a seed never changes as long as the corpus does not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ducttape.cli.graph import graph_of  # noqa: E402
from ducttape.cli.graph_svg import svg  # noqa: E402
from ducttape.plan.lint import lint  # noqa: E402
from ducttape.plan.planner import make_plan  # noqa: E402
from ducttape.syntax.diagnostics import Diagnostic, TapeError  # noqa: E402
from ducttape.syntax.formatter import format_file  # noqa: E402
from ducttape.syntax.parser import parse  # noqa: E402
from ducttape.syntax.printer import print_file  # noqa: E402
from ducttape.syntax.source import Source  # noqa: E402
from ducttape.workflow.loader import load  # noqa: E402

LIMIT = 1.0
# Planning may take longer when a mutant asks for that many realizations.
PER_REALIZATION = 1e-4
HANG = 20
# Larger plans are not drawn.
FEW = 300

ALL_CONSTRUCTS = """#!/usr/bin/env ducttape
global {
  ducttape_experimental_packages=true
  ducttape_experimental_submitters=true
  a=1 // one
  c=(P: x y=$a z=(Q: 1..3))
  d="it's" /* n /* e */ */
  e='q' u=\"\"\" raw \\n \"\"\"
  nested=(P: x=(Q: 1..3) y=2 z=$d)
  several=[w "v w" $nested
    (P: x y=$a z=(Q: 1..3))]
}
task a > o :: p=(P: x y z) q=$nested r=[$several[P:y] $a] { echo hi }
task b < in=$o@a[P:*] more=$o@a[P:y]
    < both=[$o@a[P:y] $o@a[P:*] /dev/null] > out o2="x y" :: q = @a .submitter=s .A=1 : git {
  echo {1..3} ${x:$o:$l} "$(case $x in a) echo ;; esac)"
  cat <<'E O'
}
E O
  f() {
    echo $((1 << 2)) `echo $y` # don't
  }
}
task c calls f
   < in=$out@b[Q:1]
   # comment
   > out
func f < in > out {
  cp $in $out
}
task d
    < many=[$o@a[P:*] "x y" $out@c (Q: 1=r 2=s 3=t)]
    > o
    :: words=[a $d (P: x=1 y=2 z=3)]
{
  cat $many $words > $o
}
package git :: .versioner=disk .path="x" {
  make
}
submitter s :: A COMMANDS {
  action run > x {
    eval "$COMMANDS"
  }
}
summary s {
  of b > c {
   echo 1 > $c
  }
}
plan p {
  reach a, b via (P: x y) * /* c */
    (Q: *)
  reach c, d via { (Q: 1..2) }
}
"""

PIECES = [
    *"{}()[]\"'`$@=:<>#*+-,.\\\n\t \0\ud800\u2028é",
    '"""', "${", "$(", "$((", "))", "::", "<<EOF", "\nEOF\n", "\r\n", "//", "/*", "*/", "\\u", "..", "1..2", "1e9..2",
    "1..9..0", "task ", "plan {\n", "reach a", " via ", "case x in", "esac", "calls ", "\n}\n", "global {\n", "import ",
    "[P:*]", "[a $b ", "(P: ", "(Q: 1..3)", "=@", "=$", "@a", "$c", "baseline", "Baseline", "*", "$out@b", " .x=1",
]  # fmt: skip
_TOKEN = re.compile(r"[A-Za-z_0-9.]+|\s+|[^\sA-Za-z_0-9.]+")


class Mutator:
    """Mutants of a corpus: `mutant(n)` depends on the seed and n only."""

    def __init__(self, corpus: list[str], seed: int):
        self._corpus = corpus
        self._tokens = [_TOKEN.findall(text) for text in corpus]
        self._seed = seed

    def mutant(self, number: int) -> str:
        rng = random.Random(self._seed * 1_000_003 + number)
        text = rng.choice(self._corpus)
        for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
            text = rng.choice(self._WAYS)(self, text, rng)
        return text

    def _insert(self, text: str, rng: random.Random) -> str:
        at = rng.randrange(len(text) + 1)
        return text[:at] + rng.choice(PIECES) + text[at:]

    def _replace(self, text: str, rng: random.Random) -> str:
        at = rng.randrange(len(text) + 1)
        return text[:at] + rng.choice(PIECES) + text[at + 1 :]

    def _delete(self, text: str, rng: random.Random) -> str:
        at = rng.randrange(len(text) + 1)
        return text[:at] + text[at + rng.choice([1, 1, 2, 5, 40]) :]

    def _copy(self, text: str, rng: random.Random) -> str:
        at, other = rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)
        return text[:at] + text[other : other + rng.randrange(60)] + text[at:]

    def _token(self, text: str, rng: random.Random) -> str:
        """One word becomes another word of the corpus: names go wrong while the syntax stays right."""
        tokens = _TOKEN.findall(text)
        if tokens:
            tokens[rng.randrange(len(tokens))] = rng.choice(rng.choice([tokens, rng.choice(self._tokens)]))
        return "".join(tokens)

    def _swap(self, text: str, rng: random.Random) -> str:
        """Two words of the tape change places."""
        tokens = _TOKEN.findall(text)
        if tokens:
            i, j = rng.randrange(len(tokens)), rng.randrange(len(tokens))
            tokens[i], tokens[j] = tokens[j], tokens[i]
        return "".join(tokens)

    def _lines(self, text: str, rng: random.Random) -> str:
        """Lines are dropped, doubled, moved or taken from another tape."""
        lines = text.split("\n")
        at, count = rng.randrange(len(lines)), rng.randrange(1, 8)
        taken = lines[at : at + count]
        how = rng.randrange(4)
        if how in (0, 3):
            del lines[at : at + count]
        if how == 2:
            other = rng.choice(self._corpus).split("\n")
            start = rng.randrange(len(other))
            taken = other[start : start + count]
        if how:
            to = rng.randrange(len(lines) + 1)
            lines[to:to] = taken
        return "\n".join(lines)

    _WAYS = (_insert, _replace, _delete, _copy, _token, _token, _swap, _lines)


class Stuck(BaseException):
    """A mutant took `HANG` seconds of processor time."""


def _stuck(signum, frame):
    raise Stuck


def corpus(extra: list[Path]) -> list[str]:
    """The texts to mutate, in a fixed order."""
    files = [ROOT / "main.tape", *sorted(ROOT.glob("t*/*.tape")), ROOT / "configs" / "mini.tconf"]
    others = []
    for folder in (ROOT / "src/ducttape/library", ROOT / "tests/ducttape/research", *extra):
        others += [path for ending in ("tape", "tconf", "conf") for path in sorted(folder.rglob(f"*.{ending}"))]
    texts = [path.read_text() for path in files if path.is_file()]
    # The study as one text, so that its names can be resolved without imports.
    study = "\n".join(re.sub(r"^import .*$", "", text, flags=re.MULTILINE) for text in texts)
    texts += [ALL_CONSTRUCTS] * 20 + [study] + [path.read_text() for path in others]
    manual = ROOT / "docs" / "language.md"
    if manual.is_file():
        texts += re.findall(r"^```tape[^\n]*\n(.*?)^```", manual.read_text(), re.MULTILINE | re.DOTALL)
    return texts


def check(text: str, folder: Path) -> str:
    """How far a mutant gets: `errors`, `tree`, `loaded` or `planned`. Any exception is a finding."""
    started = time.process_time()
    try:
        tree = parse(Source("mutant", text))
    except TapeError as error:
        _check_diagnostics(error)
        _check_time(started, "parsing", LIMIT)
        return "errors"
    _check_time(started, "parsing", LIMIT)
    assert parse(Source("printed", print_file(tree))) == tree, "the printed tree reads as another tree"
    formatted = format_file(tree)
    assert format_file(parse(Source("formatted", formatted))) == formatted, "formatting twice changes something"
    _check_time(started, "parsing, printing and formatting", LIMIT)
    path = folder / "mutant.tape"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    started, stage, realizations = time.process_time(), "tree", 0
    try:
        workflow = load(path, user_file=False)
        stage = "loaded"
        _check_rendering(lint(workflow))
        plan = make_plan(workflow)
        stage, realizations = "planned", len(plan.tasks)
    except TapeError as error:
        _check_diagnostics(error)
    _check_time(started, "loading, checking and planning", LIMIT + PER_REALIZATION * realizations)
    if stage == "planned" and realizations < FEW:
        for packed in (True, False):
            ElementTree.fromstring(svg(graph_of(plan.tasks.values(), plan.tasks, packed)))
    return stage


def _check_diagnostics(error: TapeError) -> None:
    assert error.diagnostics, "a TapeError without a diagnostic"
    _check_rendering(error.diagnostics)


def _check_rendering(diagnostics: Iterable[Diagnostic]) -> None:
    for diagnostic in diagnostics:
        assert diagnostic.message and diagnostic.render()
        for span in (diagnostic.span, diagnostic.other):
            assert span is None or 0 <= span.start <= len(span.source.text), "a diagnostic points outside the text"


def _check_time(started: float, what: str, limit: float) -> None:
    taken = time.process_time() - started
    assert taken <= limit, f"{what} took {taken:.2f} s of processor time"


def fuzz(count: int, seed: int, first: int, extra: list[Path], save: Path | None, talk=print) -> dict:
    """Check `count` mutants from number `first` on; the counts, the rate and the findings."""
    mutator = Mutator(corpus(extra), seed)
    stages: Counter[str] = Counter()
    findings, slowest, began, wall = [], (0.0, first), time.process_time(), time.time()
    signal.signal(signal.SIGPROF, _stuck)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        for number in range(first, first + count):
            text = mutator.mutant(number)
            started = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, HANG)
            try:
                stages[check(text, Path(name))] += 1
            except KeyboardInterrupt:
                raise
            except BaseException as e:  # noqa: BLE001 - anything at all is what we are looking for
                place = traceback.extract_tb(e.__traceback__)[-1]
                finding = f"{type(e).__name__} at {Path(place.filename).name}:{place.lineno}: {str(e)[:300]}"
                findings.append({"seed": seed, "number": number, "finding": finding})
                stages["findings"] += 1
                talk(f"mutant {number} of seed {seed}: {finding}")
                if save is not None:
                    save.mkdir(parents=True, exist_ok=True)
                    (save / f"{seed}-{number}.tape").write_bytes(text.encode("utf-8", "surrogatepass"))
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            slowest = max(slowest, (time.process_time() - started, number))
            done = number - first + 1
            if done % 10_000 == 0 and done < count:
                rate = done / (time.process_time() - began)
                talk(f"{done} of {count} mutants, {rate:.0f} a CPU second, {len(findings)} findings, {dict(stages)}")
    taken = time.process_time() - began
    return {
        "mutants": count, "seed": seed, "first": first, **dict(sorted(stages.items())),
        "cpu_seconds": round(taken, 1), "wall_seconds": round(time.time() - wall, 1),
        "mutants_per_cpu_second": round(count / taken, 1) if taken else None,
        "slowest_mutant_cpu_seconds": round(slowest[0], 3), "slowest_mutant": slowest[1], "list": findings,
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="mutation fuzzer of the tape language")
    parser.add_argument("count", type=int, nargs="?", default=20_000, help="mutants (20000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant, to go on or to repeat one")
    parser.add_argument("--corpus", type=Path, action="append", default=[], help="folder with more tapes; repeatable")
    parser.add_argument("--save", type=Path, help="folder for the text of findings")
    parser.add_argument("--report", type=Path, help="file for the counts, as JSON")
    options = parser.parse_args(argv)
    os.environ.pop("PYTHONHASHSEED", None)
    result = fuzz(options.count, options.seed, options.first, options.corpus, options.save)
    print(json.dumps({k: v for k, v in result.items() if k != "list"}))
    if options.report is not None:
        options.report.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if result["list"] else 0


if __name__ == "__main__":
    sys.exit(main())
