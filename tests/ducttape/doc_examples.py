"""Reads the examples of a Markdown text and runs them.

    ```tape name=x.tape      any fence with a name is a file, written into the folder of its section
    ```console exit=1        `$ command` lines with the output that they must give; the last one exits with 1 (else 0)

A section is what stands under one heading; it has a folder of its own, in which its fences are taken in order. In an
expected output a line `...` stands for any lines, and `...` inside a line for any text. Times, digests, the name of
the machine and the folder's own path are made equal on both sides before they are compared. `ducttape` runs inside
this process.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ducttape.cli import main as cli

FOLDER = "/study"
_FENCE = re.compile(r"^```(\S*)[ \t]*(.*)$")
_HEADING = re.compile(r"^#+ +(.*)$")
_VOLATILE = (
    (re.compile(r"\b\d+\.\d s\b"), "0.1 s"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "0123456789ab"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?"), "2026-01-01 12:00"),
)


@dataclass(frozen=True, slots=True)
class Fence:
    """One fenced block: its language, its `key=value` words, its text, and the line of its opening fence."""

    language: str
    words: dict[str, str]
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading."""

    title: str
    line: int
    fences: list[Fence] = field(default_factory=list)

    @property
    def runs(self) -> bool:
        return any(f.language == "console" for f in self.fences)


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a console block with the lines that it must print."""

    command: str
    expected: list[str]


def sections(text: str) -> Iterator[Section]:
    """All sections of a Markdown text, in order."""
    current, opened, lines = Section("", 1), None, []
    for number, line in enumerate(text.split("\n"), start=1):
        if opened is not None:
            if line == "```":
                words = dict(word.split("=", 1) for word in opened[1].split())
                body = "".join(f"{kept}\n" for kept in lines)
                current.fences.append(Fence(opened[0], words, body, opened[2]))
                opened, lines = None, []
            else:
                lines.append(line)
        elif found := _FENCE.match(line):
            opened = (found[1], found[2], number)
        elif found := _HEADING.match(line):
            yield current
            current = Section(found[1], number)
    assert opened is None, f"the fence of line {opened[2]} is never closed"
    yield current


def steps(fence: Fence) -> list[Step]:
    """The commands of a console block."""
    found: list[Step] = []
    for line in fence.text.removesuffix("\n").split("\n"):
        if line.startswith("$ "):
            found.append(Step(line[2:], []))
        else:
            assert found, f"line {fence.line}: a console block starts with '$ command'"
            found[-1].expected.append(line)
    return found


def run(command: str, folder: Path) -> tuple[list[str], int]:
    """What a command prints (both streams as they come) and its exit code."""
    words = shlex.split(command)
    if words[0] == "ducttape":
        output, before = io.StringIO(), os.getcwd()
        stdin, sys.stdin = sys.stdin, io.StringIO("")
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                code = cli.main(words[1:])
        finally:
            os.chdir(before)
            sys.stdin = stdin
        text = output.getvalue()
    else:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        text, code = done.stdout, done.returncode
    text = text.replace(str(folder), FOLDER).replace(f" on {socket.gethostname()},", " on box,")
    return [line.rstrip() for line in text.removesuffix("\n").split("\n")] if text else [], code


def agree(expected: list[str], actual: list[str]) -> bool:
    """Whether the output is the expected one."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else re.escape(_stable(line)).replace(r"\.\.\.", ".*") + r"\n"
        for line in expected
    )
    return re.fullmatch(pattern, "".join(f"{_stable(line)}\n" for line in actual)) is not None


def _stable(line: str) -> str:
    for volatile, fixed in _VOLATILE:
        line = volatile.sub(fixed, line)
    return line


def play(section: Section, folder: Path) -> list[str]:
    """Take a section's fences in order; what disagrees, in words. Empty when all is as written."""
    problems = []
    for fence in section.fences:
        if "name" in fence.words:
            path = folder / fence.words["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(fence.text)
        elif fence.language == "console":
            code = 0
            for step in steps(fence):
                actual, code = run(step.command, folder)
                if not agree(step.expected, actual):
                    shown = "\n".join(["expected:", *step.expected, "actual:", *actual])
                    problems.append(f"line {fence.line}: $ {step.command}\n{shown}")
            if code != int(fence.words.get("exit", 0)):
                problems.append(f"line {fence.line}: exit code {code}")
    return problems
