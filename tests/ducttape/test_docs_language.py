"""Every example of docs/language.md does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_examples import Section, agree, play, sections

from ducttape.cli import main as cli
from ducttape.syntax.parser import parse
from ducttape.syntax.source import Source
from ducttape.workflow.directives import NAMES
from ducttape.workflow.library import library

PAGE = Path(__file__).resolve().parents[2] / "docs/language.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = list(sections(TEXT))


@pytest.fixture(autouse=True)
def nobody(tmp_path_factory, monkeypatch):
    """Nothing of the person who runs the tests: no `~/.ducttape`, no colours, no variables of theirs."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("section", [s for s in SECTIONS if s.runs], ids=lambda s: s.title.replace(" ", "-"))
def test_example(section: Section, tmp_path):
    problems = play(section, tmp_path)
    assert not problems, "\n\n".join(problems)


def test_every_tape_of_the_page_is_run():
    for section in SECTIONS:
        for fence in section.fences:
            assert fence.language in ("tape", "console", "text", "python"), f"line {fence.line}: {fence.language}"
            if fence.language in ("tape", "python"):
                assert "name" in fence.words and section.runs, f"line {fence.line}: this example is not run"
            if fence.language == "tape":
                parse(Source(fence.words["name"], fence.text))


def test_every_directive_of_the_engine_is_on_the_page():
    for name in NAMES:
        assert f"| `{name}` |" in TEXT, name


def test_every_mode_and_option_of_the_command_is_on_the_page(capsys):
    for mode in cli.MODES:
        assert re.search(rf"`{mode}\b", TEXT), mode
    cli.main(["--help"])
    shown = re.findall(r"^ +(?:(-\w)(?:, | [A-Z]+, )?)?(--[a-z-]+)?", capsys.readouterr().out, re.MULTILINE)
    options = [names for names in shown if any(names)]
    assert len(options) > 10
    for names in options:
        assert any(re.search(rf"(?:`|ducttape ){name}\b", TEXT) for name in names if name), names


def test_what_is_called_missing_is_missing():
    missing = TEXT.partition("# Not there yet")[2]
    named = set(re.findall(r"`(\w+)`", missing))
    assert named and not named & {*cli.MODES, *library("submitter"), "python", "disk", "git"}


def test_a_page_that_is_wrong_is_noticed(tmp_path):
    page = (
        "# x\n```tape name=x.tape\ntask a > out {\n  :\n}\n```\n```console\n$ ducttape x.tape list\na Wrong.name\n```\n"
    )
    (section,) = [s for s in sections(page) if s.runs]
    (problem,) = play(section, tmp_path)
    assert "a Wrong.name" in problem and "a Baseline.baseline" in problem


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["a", "..."], ["a"], True),
        (["done a 0.2 s"], ["done a 13.7 s"], True),
        (["x ... z"], ["x y z"], True),
        (["a"], ["a", "b"], False),
        ([], ["a"], False),
    ],
)
def test_comparison(expected, actual, same):
    assert agree(expected, actual) is same
