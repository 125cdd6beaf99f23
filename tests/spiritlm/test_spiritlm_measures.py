"""Measures: files, intervals, paired intervals, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from spire.errors import UserError
from spiritlm.evaluation.measures import (
    Measure,
    mean_interval,
    measured,
    paired_interval,
    ratio_interval,
    read_measures,
    write_measures,
)

RIGHT = [100.0] * 70 + [0.0] * 30
PLAIN = Measure("base", "resynthesis", "base", "s-s", "bits_per_second", 225.0, None, None, 12, "entropy")


def accuracy(items, model="base", **changed) -> Measure:
    return replace(measured(model, "comprehension", "wuggy", "s-s", "accuracy", items, signature="seed:1"), **changed)


def test_written_and_read_again(tmp_path):
    wer = measured("base", "fewshot", "asr_clean", "s-t", "wer", [100.0, 0.0, 300.0], [4, 2, 2])
    assert wer.value == 50.0 and wer.n == 3
    write_measures(tmp_path / "m", [accuracy(RIGHT), wer, PLAIN])
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert "comprehension.wuggy.s-s.accuracy.json" in names and "resynthesis.base.s-s.bits_per_second.json" in names
    assert "resynthesis.base.s-s.bits_per_second.items.json" not in names
    assert sorted(read_measures(tmp_path / "m"), key=lambda m: m.stem) == sorted(
        [accuracy(RIGHT), wer, PLAIN], key=lambda m: m.stem
    )


def test_an_older_folder_is_replaced_whole(tmp_path):
    write_measures(tmp_path / "m", [accuracy(RIGHT)])
    write_measures(tmp_path / "m", [PLAIN])
    assert read_measures(tmp_path / "m") == [PLAIN]


def test_the_interval_is_that_of_a_bootstrap_by_hand():
    mean, low, high = mean_interval(RIGHT)
    drawn = np.random.default_rng(1).integers(0, 100, size=(1000, 100))
    expected = np.percentile(np.array(RIGHT)[drawn].mean(axis=1), [2.5, 97.5])
    assert mean == 70.0 and (low, high) == pytest.approx(expected)
    assert mean_interval(RIGHT) == (mean, low, high) != mean_interval(RIGHT, seed=2)


def test_a_rate_draws_items_with_their_weights():
    # Equal rates of all items: whatever is drawn, the rate is the same.
    assert ratio_interval([10.0, 20.0, 40.0], [1, 2, 4]) == (10.0, 10.0, 10.0)
    assert ratio_interval([0.0, 100.0], [0, 1])[0] == 100.0


def test_a_paired_interval_is_narrower_than_the_two_alone():
    better = [100.0 if i % 10 else right for i, right in enumerate(RIGHT)]
    gap, low, high = paired_interval(accuracy(better), accuracy(RIGHT))
    assert gap == pytest.approx(27.0) and 0 < low < gap < high
    single = [measure.ci_high - measure.ci_low for measure in (accuracy(better), accuracy(RIGHT))]
    assert high - low < sum(single)
    assert paired_interval(accuracy(RIGHT), accuracy(RIGHT)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (replace(PLAIN, direction="x-y"), "direction"),
        (replace(PLAIN, task="a.b"), "task"),
        (replace(PLAIN, value=float("nan")), "finite"),
        (replace(PLAIN, ci_low=1.0), "missing"),
        (replace(PLAIN, n=0), "count"),
        (accuracy(RIGHT, value=71.0), "items give"),
        (accuracy(RIGHT, n=99), "items give"),
    ],
)
def test_wrong_measures_are_refused_and_nothing_is_written(tmp_path, wrong, words):
    with pytest.raises(UserError, match=words):
        write_measures(tmp_path / "m", [accuracy([0.0]), wrong])
    assert not list(tmp_path.iterdir())


def test_twice_the_same_name(tmp_path):
    with pytest.raises(UserError, match="twice"):
        write_measures(tmp_path / "m", [PLAIN, PLAIN])


def test_reading_refuses(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_measures(tmp_path / "m")
    (tmp_path / "m").mkdir()
    with pytest.raises(UserError, match="no measures"):
        read_measures(tmp_path / "m")
    write_measures(tmp_path / "m", [PLAIN])
    path = tmp_path / "m" / f"{PLAIN.stem}.json"
    record = json.loads(path.read_text())
    path.rename(path.with_name("resynthesis.base.s-s.wer.json"))
    with pytest.raises(UserError, match="belong to"):
        read_measures(tmp_path / "m")
    (tmp_path / "m/resynthesis.base.s-s.wer.json").write_text(json.dumps({**record, "value": "5"}))
    with pytest.raises(UserError, match="finite"):
        read_measures(tmp_path / "m")
    (tmp_path / "m/resynthesis.base.s-s.wer.json").write_text(json.dumps({"value": 5}))
    with pytest.raises(UserError, match="fields"):
        read_measures(tmp_path / "m")


def test_comparisons_that_mean_nothing():
    with pytest.raises(UserError, match="no items"):
        paired_interval(PLAIN, accuracy(RIGHT))
    with pytest.raises(UserError, match="1 items, .* 100"):
        paired_interval(accuracy([0.0]), accuracy(RIGHT))
    with pytest.raises(UserError, match="nothing to measure"):
        accuracy([])
    with pytest.raises(UserError, match="weights"):
        ratio_interval([1.0, 2.0], [0, 0])
