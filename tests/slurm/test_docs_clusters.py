"""docs/clusters.md says what the engine does: its examples run, on a stand-in for Slurm, and its lists are complete."""

import re
from pathlib import Path

import pytest
from doc_examples import Section, play, sections

from ducttape.run import slurm_options
from ducttape.syntax.parser import parse
from ducttape.syntax.source import Source
from ducttape.workflow.library import library

PAGE = Path(__file__).resolve().parents[2] / "docs/clusters.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = list(sections(TEXT))


@pytest.mark.parametrize("section", [s for s in SECTIONS if s.runs], ids=lambda s: s.title.replace(" ", "-"))
def test_example(section: Section, tmp_path, fake_slurm, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "study").mkdir()
    problems = play(section, tmp_path / "study")
    assert not problems, "\n\n".join(problems)


def test_every_tape_of_the_page_is_one():
    tapes = [f for s in SECTIONS for f in s.fences if f.language == "tape"]
    assert len(tapes) == 2
    for fence in tapes:
        parse(Source(fence.words["name"], fence.text))


def test_every_param_for_slurm_is_on_the_page():
    known = re.findall(r"\.([a-z_]+)(?=[ .=]|$)", slurm_options.__doc__.partition("\n\n")[2], re.MULTILINE)
    assert len(set(known)) >= 16
    for name in known:
        assert re.search(rf"[` ]\.{name}\b", TEXT), name


def test_every_submitter_for_clusters_is_on_the_page():
    for name in set(library("submitter")) - {"shell", "cuda_shell"}:
        assert f"`{name}`" in TEXT or f".submitter={name}" in TEXT, name
