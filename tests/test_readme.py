"""README: its numbers are those of results/, and its commands are commands of the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ducttape.cli.main import main

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    env/bin/(ducttape .*?)(?:  +#.*)?$", README, re.M) + re.findall(
    r"`env/bin/(ducttape [^`]*)`", README
)


def test_the_table_is_that_of_the_committed_run():
    block = README.split("<!-- results -->")[1].split("<!-- /results -->")[0]
    rows = [line for line in block.splitlines() if line.startswith("|")]
    committed = (PROJECT / "results/ablations.md").read_text(encoding="utf-8").splitlines()
    assert rows == [line for line in committed if line.startswith("|")], "type: make readme"
    assert len(rows) == 8


def test_every_file_it_names_exists():
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (PROJECT / name).exists(), name


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_understood(command, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(PROJECT)
    words = command.split()[1:]
    if "why" in words:
        pytest.skip("why needs a finished study: tests/test_smoke_study.py runs it")
    if not {"report", "status", "list"} & set(words):
        words = [w for w in words if w != "--dry-run"] + ["--dry-run"]
    if "-O" not in words:
        words += ["-O", str(tmp_path / "out")]
    assert main(words) == 0, capsys.readouterr().err
