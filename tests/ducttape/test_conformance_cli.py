"""The rules of configs, directives and the command line, one row a rule, by their section in the specification.

A row is a set of files, a command, and what it prints (both streams as they come); `exit 1:` in front of the text when
the command fails. `...` stands for any text.
"""

from __future__ import annotations

import pytest
from doc_examples import agree, run

T = "task t > out :: p=(P: one two) q=(Q: a b) {\n  echo $p$q > $out\n}\n"
SEED = "task t :: seed=@ {\n  :\n}\n"
PLANS = T + "plan {\n  reach t\n}\nplan x {\n  reach t via (P: two)\n}\nplan y {\n  reach t via (Q: b)\n}\n"
WHO = 'task t > out {\n  echo "$CONFIGURATION|$TASK|$REALIZATION|$THREAD_ID|$PWD" > $out\n}\n'
FLAGS = ["true", "TRUE", "1", "t", "T", "enable", "Enable"]

RULES = {
    "9 a config may hold tasks and plans": (
        {"x.tape": T, "c.tconf": "task u < i=$out@t {\n}\nplan {\n  reach u via (Q: b)\n}\n"},
        "ducttape x.tape -C c.tconf list",
        "t Q.b\nu Q.b",
    ),
    "9 a config may import": (
        {"x.tape": SEED, "c/c.tconf": 'import "more.tconf"\n', "c/more.tconf": "global {\n  seed=5\n}\n"},
        "ducttape x.tape -C c/c.tconf env t '*'",
        "# t Baseline.baseline:\nseed=5\n",
    ),
    "9 later configs win": (
        {"x.tape": SEED, "a.tconf": "config {\n  seed=1\n}\n", "b.tconf": "config {\n  seed=2\n}\n"},
        "ducttape x.tape -C a.tconf -C b.tconf env t '*'",
        "note: b.tconf overrides a.tconf: seed\n# t Baseline.baseline:\nseed=2\n",
    ),
    "9 a config wins over the tape's config block": (
        {"x.tape": SEED + "config {\n  seed=0\n}\n", "a.tconf": "config {\n  seed=1\n}\n"},
        "ducttape x.tape -C a.tconf env t '*'",
        "# t Baseline.baseline:\nseed=1\n",
    ),
    "9 a config does not win over a global": (
        {"x.tape": SEED + "global {\n  seed=0\n}\n", "a.tconf": "config {\n  seed=1\n}\n"},
        "ducttape x.tape -C a.tconf list",
        "exit 1: a.tconf:2:3: error: global 'seed' is defined twice\n"
        "      seed=1\n      ^^^^\n"
        "x.tape:5:3: note: first defined here\n      seed=0\n      ^^^^\n"
        "hint: to override it, pass -D seed=..., or set the default in a `config` block",
    ),
    "9 named configs are dead": (
        {"x.tape": SEED + "config old {\n  seed=0\n}\n"},
        "ducttape x.tape list",
        "exit 1: x.tape:1:16: error: unknown global 'seed'\n    task t :: seed=@ {\n                   ^\n"
        "hint: set it in a block: global { seed=... }, or with -D seed=...",
    ),
    "9 the settings of a person": (
        {"x.tape": SEED, "home/.ducttape": "global {\n  seed=7\n}\n"},
        "ducttape x.tape env t '*'",
        "# t Baseline.baseline:\nseed=7\n",
    ),
    "9 unknown directives are ordinary globals": (
        {"x.tape": "global {\n  ducttape_no_such=1\n}\ntask t :: a=$ducttape_no_such {\n}\n"},
        "ducttape x.tape env t '*'",
        "# t Baseline.baseline:\na=1\n",
    ),
    "9 a directive may be another global": (
        {"x.tape": "global {\n  where=there\n  ducttape_output=$where\n}\ntask t > out {\n}\n"},
        "ducttape x.tape env t '*'",
        "# t Baseline.baseline:\nout=/study/there/t/Baseline.baseline/out\n",
    ),
    "9 the output folder is relative to the current one": (
        {"sub/x.tape": "global {\n  ducttape_output=res\n}\ntask t > out {\n}\n"},
        "ducttape sub/x.tape env t '*'",
        "# t Baseline.baseline:\nout=/study/res/t/Baseline.baseline/out\n",
    ),
    "9 a home in the output folder": (
        {"x.tape": "global {\n  ducttape_output=~/res\n}\ntask t > out {\n}\n"},
        "ducttape x.tape env t '*'",
        "# t Baseline.baseline:\nout=/study/home/res/t/Baseline.baseline/out\n",
    ),
    "9 -O wins over the tape": (
        {"x.tape": "global {\n  ducttape_output=res\n}\ntask t > out {\n}\n"},
        "ducttape x.tape -O other env t '*'",
        "# t Baseline.baseline:\nout=/study/other/t/Baseline.baseline/out\n",
    ),
    "5 the flat layout": (
        {"x.tape": "global {\n  ducttape_structure=flat\n}\ntask t > out {\n}\n"},
        "ducttape x.tape env t '*'",
        "# t Baseline.baseline:\nout=/study/t/out\n",
    ),
    "10 -p may be repeated": ({"x.tape": PLANS}, "ducttape x.tape -p x -p y list", "t Q.b\nt P.two"),
    "10 -p selects no anonymous plan": ({"x.tape": PLANS}, "ducttape x.tape -p x list", "t P.two"),
    "10 without -p all plans": ({"x.tape": PLANS}, "ducttape x.tape list", "t Baseline.baseline\nt Q.b\nt P.two"),
    "10 options glued to their values": (
        {"x.tape": SEED.replace("t ", "s ", 1) + PLANS, "a.tconf": "config {\n  seed=1\n}\n"},
        "ducttape x.tape -Ca.tconf -Oout -j2 -px list",
        "t P.two",
    ),
    "10 long names with underscores and dashes": (
        {"x.tape": SEED, "a.tconf": "config {\n  seed=1\n}\n"},
        "ducttape x.tape --config_file a.tconf --no_color --jobs 2 --output out list",
        "t Baseline.baseline",
    ),
    "10 options after the mode, and old ones": (
        {"x.tape": T},
        "ducttape x.tape list -t d t -n -T packed 'Q.b'",
        "t Q.b",
    ),
    "10 globs of tasks": (
        {"x.tape": "".join(f"task {name} {{\n}}\n" for name in ("train", "trace", "test", "tune"))},
        "ducttape x.tape list 't{ra*,?st}'",
        "train Baseline.baseline\ntrace Baseline.baseline\ntest Baseline.baseline",
    ),
    "10 several globs of realizations": (
        {"x.tape": T + "plan {\n  reach t via (P: *) * (Q: *)\n}\n"},
        "ducttape x.tape list t P.two Q.b",
        "t Q.b\nt P.two",
    ),
    "10 all other points free": (
        {"x.tape": T + "plan {\n  reach t via (P: *) * (Q: *)\n}\n"},
        "ducttape x.tape list t 'Q.b+*'",
        "t Q.b\nt P.two+Q.b",
    ),
    "10 no answer is no": (
        {"x.tape": T},
        "ducttape x.tape",
        "RUN: ...\n...\nRun 3 tasks? [y/n] no answer\nhint: -y answers yes to all questions\ndoing nothing",
    ),
    "11 all errors of a stage and their number": (
        {"x.tape": "task t :: a=1 a=2 {\n}\ntask t {\n}\n"},
        "ducttape x.tape list",
        "exit 1: ...\n2 errors",
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def check(folder, files: dict[str, str], command: str, expected: str) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    failing = expected.startswith("exit 1: ")
    lines = expected.removeprefix("exit 1: ").split("\n")
    actual, code = run(command, folder)
    assert agree(lines, actual), "\n".join(actual)
    assert code == int(failing)


@pytest.mark.parametrize("rule", RULES)
def test_rule(folder, rule):
    check(folder, *RULES[rule])


def test_a_body_knows_where_it_is(folder):
    command = "ducttape x.tape -C small.tconf -C site.conf -y"
    check(folder, {"x.tape": WHO, "small.tconf": "", "site.conf": ""}, command, "...")
    found = (folder / "t/Baseline.baseline/out").read_text()
    assert found == f"small+site|t|Baseline.baseline|0|{folder}/t/Baseline.baseline\n"


@pytest.mark.parametrize("word", FLAGS)
def test_words_for_true(folder, word):
    tape = f"global {{\n  ducttape_experimental_submitters={word}\n}}\ntask t :: .submitter=shell {{\n}}\n"
    check(folder, {"x.tape": tape}, "ducttape x.tape list", "t Baseline.baseline")


@pytest.mark.parametrize("word", ["false", "FALSE", "0", "f", "disable"])
def test_words_for_false(folder, word):
    tape = f"global {{\n  ducttape_experimental_submitters={word}\n}}\ntask t :: .submitter=shell {{\n}}\n"
    check(folder, {"x.tape": tape}, "ducttape x.tape list", "exit 1: x.tape:4:11: error: ...forbids\n...")
