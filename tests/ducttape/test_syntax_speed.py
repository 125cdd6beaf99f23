"""Reading stays linear in the size of a tape, broken ones included. Limits are several times what this takes."""

import time

import pytest

from ducttape.syntax.diagnostics import TapeError
from ducttape.syntax.formatter import format_file
from ducttape.syntax.parser import parse
from ducttape.syntax.source import Source

TASKS = "".join(f"task a{number} > out :: p=1 {{\n  echo $p > $out\n}}\n" for number in range(2000))
CASES = {
    "tasks": TASKS,
    "heredocs that never end": TASKS.replace("echo", "cat <<X\necho"),
    "single quotes that never end": TASKS.replace("echo", "echo '"),
    "double quotes that never end": TASKS.replace("echo", 'echo "'),
    "expansions that never end": TASKS.replace("echo", "echo ${"),
    "substitutions that never end": TASKS.replace("echo", "echo $("),
    "arithmetic that never ends": TASKS.replace("echo", "(("),
    "bodies that never end": TASKS.replace("\n}\n", "\n"),
    "comments in comments": "/*" * 30_000 + "*/" * 30_000,
    "branch points in branch points": "global {\n  a=" + "(P: " * 20_000,
    "braces": "task a {\n" + "{\n" * 20_000,
    "closing braces": "task a {\n" + "}\n" * 20_000,
    "many branches": "global {\n  a=(P: " + " ".join(f"b{number}" for number in range(20_000)) + ")\n}\n",
    "many reaches": "plan {\n" + "reach a\n" * 8000 + "}\n",
    "substitutions in substitutions": "task a {\n  echo " + "$(" * 3000 + ")" * 3000 + "\n}\n",
    "a long number": "global {\n  a=(P: " + "1" * 50_000 + ".." + "1" * 50_000 + ")\n}\n",
}


@pytest.mark.parametrize("name", CASES)
def test_time(name):
    started = time.process_time()
    try:
        format_file(parse(Source("x.tape", CASES[name])))
    except TapeError as error:
        assert error.diagnostics[0].render()
    assert time.process_time() - started < 2
