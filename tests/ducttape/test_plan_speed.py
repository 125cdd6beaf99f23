"""Planning stays proportional to what is planned. Limits are several times what this takes on one slow core."""

from __future__ import annotations

import time

import pytest

from ducttape.plan.planner import make_plan
from ducttape.workflow.loader import load


def points(prefix: str, count: int, branches: int) -> str:
    names = " ".join(f"b{j}" for j in range(branches))
    return " ".join(f"{prefix.lower()}{i}=({prefix}{i}: {names})" for i in range(count))


def star(prefix: str, count: int) -> str:
    return " * ".join(f"({prefix}{i}: *)" for i in range(count))


def task(name: str, header: str) -> str:
    return f"task {name} {header} {{\n  :\n}}\n"


def plan(reach: str) -> str:
    return f"plan {{\n  reach {reach}\n}}\n"


CASES = {
    "10,000 realizations": (task("a", f"> x :: {points('P', 4, 10)}") + plan(f"a via {star('P', 4)}"), 10_000, 0.7),
    "a chain of 1,110": (
        task("a", f"> x :: {points('P', 1, 10)}")
        + task("b", f"< x=$x@a > y :: {points('Q', 1, 10)}")
        + task("c", f"< x=$x@a y=$y@b > z :: {points('R', 1, 10)}")
        + plan(f"c via {star('P', 1)} * {star('Q', 1)} * {star('R', 1)}"),
        1_110,
        0.3,
    ),
    "one of 2^30": (
        task("a", f"> x :: {points('P', 30, 2)}") + task("b", "< x=$x@a > y") + plan("b via (P3: b1)"),
        2,
        0.3,
    ),
    "one-off of 30 points": (task("a", f"> x :: {points('P', 30, 2)}"), 31, 0.3),
    "graft globs over 50x50": (
        task("a", f"> x :: {points('P', 2, 50)}") + task("b", "< x=$x@a[P0:*,P1:*] > y") + plan("b"),
        2_501,
        2.0,
    ),
    "a chain of 2,000 tasks": (
        "".join(task(f"t{i}", f"< x=$y@t{i - 1} > y" if i else "> y") for i in range(2_000)) + plan("t1999"),
        2_000,
        2.0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_speed(tmp_path, case):
    text, count, limit = CASES[case]
    tape = tmp_path / "x.tape"
    tape.write_text(text)
    workflow = load(tape, user_file=False)
    started = time.process_time()
    found = make_plan(workflow)
    assert time.process_time() - started < limit
    assert len(found.tasks) == count
