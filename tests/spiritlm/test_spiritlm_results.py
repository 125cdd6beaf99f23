"""What a study publishes, and the conditions on it."""

from __future__ import annotations

import json

import pytest

from spire.errors import UserError
from spiritlm.evaluation.measures import measured
from spiritlm.tables.check import CPU_SECONDS, conditions, folder_conditions
from spiritlm.tables.results import read_collected, read_trainings, write_collected, write_trainings


def study(**changed):
    """Measures of a study that shows what it must, with some values changed."""
    values = {
        "mel_distance base": 5.0, "mel_distance expressive": 5.5, "mel_distance shuffled": 9.0,
        "wer base": 40.0, "wer expressive": 45.0, "wer shuffled": 98.0,
        "f0_error base": 40.0, "f0_error expressive": 20.0,
        "base": 70, "no_interleaving": 50,
    } | changed  # fmt: skip
    found = []
    for name, value in values.items():
        metric, _, source = name.partition(" ")
        if source:
            spread = [value + (i % 5 - 2) / 2 for i in range(50)]
            found.append(measured("study", "resynthesis", source, "s-s", metric, spread))
        else:
            items = [100.0] * value + [0.0] * (100 - value)
            for part in (("tsc", "t-s"), ("sc", "s-t")):
                found.append(measured(name, "comprehension", *part, "accuracy", items))
    return found


def failed(measures, trainings=()):
    return [condition.name for condition in conditions(measures, trainings) if not condition.passed]


def test_a_study_that_shows_what_it_must():
    assert failed(study()) == []


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"mel_distance base": 8.9}, "mel distance of base units below"),
        ({"wer expressive": 98.0}, "interval of expressive units below"),
        ({"base": 51}, "interleaving beats none"),
        ({"base": 40}, "interleaving beats none"),
        ({"f0_error expressive": 40.0}, "F0 error"),
    ],
)
def test_what_a_study_may_not_show(changed, words):
    assert any(words in name for name in failed(study(**changed)))


def test_a_missing_measure_fails():
    assert len(failed([m for m in study() if m.metric != "wer"])) == 4
    assert any("interleaving" in name for name in failed([m for m in study() if m.model != "no_interleaving"]))


def test_measures_come_back_as_they_were(tmp_path):
    measures = sorted(study(), key=lambda m: (m.model, m.stem))
    assert write_collected(tmp_path / "m.jsonl", measures) == len(measures)
    assert read_collected(tmp_path / "m.jsonl") == measures
    (tmp_path / "m.jsonl").write_text('{"model": "base"}\n')
    with pytest.raises(UserError, match="m.jsonl:1: not a measure"):
        read_collected(tmp_path / "m.jsonl")


def test_trainings(tmp_path):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text('{"step": 1, "loss": 3.5, "mel_loss": 9}\n{"step": 2}\n{"step": 3, "loss": 1.25}\n')
    bad.write_text('{"step": 1, "loss": 3.5}\n{"step": 2, "loss": 2, "blocks": {"mel": NaN}}\n')
    curve = tmp_path / "training.yaml"
    curve.write_text("settings:\n  steps: 4\ncurve:\n- step: 4\n  loss: 1.5\n")
    write_trainings(tmp_path / "t.csv", {"lm": good, "vocoder": bad, "pitch": curve})
    rows = read_trainings(tmp_path / "t.csv")
    assert [tuple(row.values()) for row in rows] == [
        ("lm", "2", "3.5", "1.25", "true"),
        ("vocoder", "2", "3.5", "2", "false"),
        ("pitch", "1", "1.5", "1.5", "true"),
    ]
    assert failed(study(), rows) == ["losses of vocoder are finite"]
    good.write_text('{"step": 1}\n')
    with pytest.raises(UserError, match="no loss"):
        write_trainings(tmp_path / "t.csv", {"lm": good})


def test_the_folder_of_results(tmp_path):
    write_collected(tmp_path / "measures.jsonl", study())
    (tmp_path / "log").write_text('{"loss": 1.0}\n')
    write_trainings(tmp_path / "trainings.csv", {"lm": tmp_path / "log"})
    assert all(condition.passed for condition in folder_conditions(tmp_path))
    for cost, passed in ((CPU_SECONDS - 1, True), (CPU_SECONDS + 1, False)):
        (tmp_path / "run.json").write_text(json.dumps({"cpu_s": cost}))
        assert folder_conditions(tmp_path)[-1].passed is passed
