"""Every example of docs/provenance.md does what the page says."""

from pathlib import Path

import pytest
from doc_examples import play, sections

PAGE = Path(__file__).resolve().parents[2] / "docs/provenance.md"


@pytest.mark.parametrize(
    "section", [s for s in sections(PAGE.read_text(encoding="utf-8")) if s.runs], ids=lambda s: s.title
)
def test_example(section, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    problems = play(section, tmp_path)
    assert not problems, "\n\n".join(problems)
