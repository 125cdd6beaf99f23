"""The report of a SpiRit-LM study: what is heard and read in it, that it is harmless, that missing audio is said."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from spire.audio import RATE, write_wav
from spire.errors import UserError
from spire.manifest import Utterance, write_manifest
from spire.tables.published import read_published
from spire.tables.render import write_tables
from spire.textfiles import write_jsonl
from spiritlm.evaluation.measures import measured
from spiritlm.report.build import ReportInputs, build_report
from spiritlm.tables.collected import Collected
from spiritlm.tables.tables import comprehension_tables

PUBLISHED = read_published(Path(__file__).parents[2] / "configs/published/spiritlm.yml")
HOSTILE = "a </style><script>alert(1)</script> & tale"


def speech(folder: Path, ids, extra=None) -> Path:
    (folder / "audio").mkdir(parents=True)
    utterances = []
    for i, name in enumerate(ids):
        path = f"audio/{name}.wav"
        write_wav(folder / path, np.sin(np.arange(RATE // 2) * (0.05 + i / 100)).astype(np.float32) / 4)
        start = 0.2 if extra else 0.0
        utterances.append(
            Utterance(name, path, 0.5 - start, "en", HOSTILE, start=start, extra=(extra or {}).get(name, {}))
        )
    write_manifest(folder / "manifest.jsonl", utterances)
    return folder


@pytest.fixture
def inputs(tmp_path) -> ReportInputs:
    (tmp_path / "tables").mkdir()
    measures = Collected([measured("base", "comprehension", "tsc", "s-t", "accuracy", [100.0, 0.0])])
    write_tables(tmp_path / "tables", comprehension_tables(measures, PUBLISHED, True))
    original = speech(tmp_path / "original", ["one", "two", "three"])
    row = {"source": "one", "prompt": HOSTILE, "written": "and then it ended"}
    rows = [
        row | {"id": "one.t-t", "direction": "t-t"},
        row | {"id": "one.s-s", "direction": "s-s", "written": "[Hu1][Hu2]"},
        row | {"id": "two.s-s", "direction": "s-s", "source": "two", "written": ""},
    ]
    told = speech(tmp_path / "told", ["one.s-s"], {"one.s-s": {"source": "one"}})
    write_jsonl(told / "continuations.jsonl", rows)
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1.5, "mel_loss": 3.0}\n')
    return ReportInputs(
        tables=[tmp_path / "tables"],
        sources={"original": original, "Base": speech(tmp_path / "base", ["two", "three", "four"])},
        continuations={"Base": told},
        speech=original,
        logs={"language model": tmp_path / "log.jsonl"},
    )


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))


def tags(page: str, name: str) -> list[dict]:
    parser = _Tags()
    parser.feed(page)
    return [attributes for tag, attributes in parser.seen if tag == name]


def test_everything_is_in_the_page(inputs):
    page = build_report(inputs)
    assert "50.0" in page and "and then it ended" in page and "Training loss: language model" in page
    labels = [player["aria-label"] for player in tags(page, "audio")]
    # Both sources have two and three; continuations: the whole utterance and what the model said, nothing for nothing.
    assert labels == [
        "original, two", "Base, two", "original, three", "Base, three",
        "the whole utterance, one", "Base, one", "the whole utterance, two",
    ]  # fmt: skip
    assert "nothing was written" in page
    for player in tags(page, "audio"):
        sound = base64.b64decode(player["src"].removeprefix("data:audio/mpeg;base64,"), validate=True)
        assert sound[:3] == b"ID3" or sound[0] == 0xFF
    assert build_report(inputs) == page


def test_texts_are_escaped_and_nothing_runs_or_loads(inputs):
    page = build_report(inputs)
    assert tags(page, "script") == [] and "&lt;script&gt;" in page
    (policy,) = [t["content"] for t in tags(page, "meta") if t.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy
    addresses = [
        value
        for tag in ("a", "link", "img", "audio")
        for t in tags(page, tag)
        for k, value in t.items()
        if k in ("href", "src")
    ]
    assert addresses and all(re.match(r"#|data:", address) for address in addresses)


def test_a_small_budget_leaves_clips_out_and_says_so(inputs):
    page = build_report(ReportInputs(**{**vars(inputs), "audio_bytes": 6000}))
    assert 0 < len(tags(page, "audio")) < 7 and "left out: the page would be too large" in page


def test_audio_that_cannot_be_read_is_named(inputs):
    (inputs.speech / "audio/two.wav").write_bytes(b"no audio")
    page = build_report(inputs)
    assert "No audio of original, two" in page and "Base, two" in page


def test_what_does_not_belong_together(inputs, tmp_path):
    with pytest.raises(UserError, match="no utterance in common"):
        sources = {"original": inputs.speech, "Base": speech(tmp_path / "other", ["ten"])}
        build_report(ReportInputs(**{**vars(inputs), "sources": sources}))
    with pytest.raises(UserError, match="without the speech"):
        build_report(ReportInputs(**{**vars(inputs), "speech": None}))
    write_jsonl(inputs.continuations["Base"] / "continuations.jsonl", [{"id": "x"}])
    with pytest.raises(UserError, match="continuations.jsonl:1"):
        build_report(inputs)
