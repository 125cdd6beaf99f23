"""The cookbook's configs and plans, planned against the real study."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ducttape.cli.main import main

PROJECT = Path(__file__).resolve().parents[1]
COOKBOOK = (PROJECT / "docs/cookbook.md").read_text(encoding="utf-8")


def planned(monkeypatch, capsys, *words: str) -> list[str]:
    monkeypatch.chdir(PROJECT)
    assert main([*words, "list"]) == 0, capsys.readouterr().err
    return capsys.readouterr().out.split("\n")


@pytest.mark.parametrize(
    "name, task",
    [("clusters", "score Clusters.400+Model.spire_full"), ("mfcc", "score Encoder.mfcc+Model.spire_full")],
)
def test_a_config_of_ones_own(name, task, tmp_path, monkeypatch, capsys):
    section = next(s for s in COOKBOOK.split("\n## ") if f"-C {name}.tconf" in s)
    blocks = re.findall(r"(?:^    .*\n)+", section, re.M)
    config = next(b for b in blocks if f"plan {name}" in b)
    (tmp_path / f"{name}.tconf").write_text(re.sub(r"^    ", "", config, flags=re.M))
    command = next(b for b in blocks if "ducttape main.tape" in b)
    command = command.replace(f"{name}.tconf", str(tmp_path / f"{name}.tconf"))
    assert task in planned(monkeypatch, capsys, *shlex.split(command)[1:], "-O", str(tmp_path / "out"))


def test_another_value_from_the_command_line(tmp_path, monkeypatch, capsys):
    command = next(line for line in COOKBOOK.splitlines() if "-D clusters=100" in line)
    words = [str(tmp_path) if w == "out/clusters100" else w for w in shlex.split(command)[1:]]
    assert "publish Baseline.baseline" in planned(monkeypatch, capsys, *words)
