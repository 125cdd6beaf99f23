"""SpiRit-LM's tables: ours, published, differences; marks; what is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from spire.errors import UserError
from spire.tables.layout import Number
from spire.tables.published import read_published
from spiritlm.evaluation.measures import measured, write_measures
from spiritlm.tables.collected import Collected
from spiritlm.tables.tables import TABLES

PROJECT = Path(__file__).parents[2]
PUBLISHED = read_published(PROJECT / "configs/published/spiritlm.yml")
COMPREHENSION = [("wuggy", "s-s"), ("tsc", "t-t"), ("tsc", "s-t"), ("rhymes", "s-s")]


def right(share: int) -> list[float]:
    return [100.0] * share + [0.0] * (100 - share)


def comprehension(models=("base", "expressive", "no_interleaving")):
    shares = {"base": 80, "expressive": 78, "no_interleaving": 52}
    return [
        measured(model, "comprehension", *part, metric, right(shares[model] - (metric == "accuracy_raw")))
        for model in models
        for part in COMPREHENSION
        for metric in ("accuracy", "accuracy_raw")
    ]


def built(name, measures, generated=False):
    (table,) = TABLES[name](Collected(measures), PUBLISHED, generated)
    return table, {(row[0], *[c for c in row[1:] if isinstance(c, str)]): row for row in table.rows}


def cell(table, row, title) -> Number | None:
    return row[[column.title for column in table.columns].index(title)]


def test_comprehension_beside_the_published_numbers():
    table, rows = built("comprehension", comprehension())
    ours, theirs = rows[("Spirit LM Base",)], rows[("Spirit LM Base (published)",)]
    assert cell(table, ours, "tStoryCloze, speech to text").value == 80.0
    assert cell(table, theirs, "tStoryCloze, speech to text") == Number(88.6)
    gap = cell(table, rows[("Spirit LM Base: ours minus published",)], "tStoryCloze, speech to text")
    assert gap.text == "-8.6"
    # A test set that the paper does not have; a column that we did not measure; a model of another table.
    assert cell(table, ours, "rhymes, speech to speech").n == 100 and cell(table, ours, "MMLU") is None
    assert cell(table, theirs, "MMLU").value == 36.9
    assert ("no interleaving",) not in rows and ("cascade (published)",) in rows
    assert cell(table, ours, "sWUGGY, speech").cells == (("base", "comprehension", "wuggy", "s-s", "accuracy"),)


def test_parts_of_a_test_set_are_no_columns():
    more = [
        measured("base", "comprehension", name, "s-s", metric, right(60))
        for name in ("wuggy_oov", "blimp_npi_licensing", "sc_twist")
        for metric in ("accuracy", "accuracy_raw")
    ]
    for name in ("comprehension", "normalization", "ablations"):
        table, _ = built(name, comprehension() + more)
        titles = [column.title for column in table.columns]
        assert "sc twist, speech to speech" in titles and not any("oov" in t or "licensing" in t for t in titles)


def test_generated_sets_have_no_differences_and_say_so():
    table, rows = built("comprehension", comprehension(), generated=True)
    assert not [label for (label, *_) in rows if "minus" in label]
    assert any("generated stories" in note for note in table.notes)
    assert ("Spirit LM Base (published)",) in rows


def test_ablations_are_compared_with_base_on_the_same_items():
    table, rows = built("ablations", comprehension())
    assert table.name == "spirit_ablations" and ("Spirit LM Expressive",) not in rows
    number = cell(table, rows[("no interleaving",)], "sWUGGY, speech")
    assert number.delta == pytest.approx(-28.0) and number.mark == "*"
    same, _ = built("ablations", comprehension(("base",)))
    assert all(number.mark == "" for number in same.numbers() if number.low is not None)


def test_normalization_has_both_metrics():
    table, rows = built("normalization", comprehension(), generated=True)
    assert cell(table, rows[("Spirit LM Base, raw",)], "sWUGGY, speech").value == 79.0
    assert cell(table, rows[("Spirit LM Base, per token",)], "sWUGGY, speech").value == 80.0
    assert cell(table, rows[("Spirit LM Base, raw (published)",)], "sWUGGY, speech") == Number(71.4)
    assert cell(table, rows[("Spirit LM Base, per token (published)",)], "sWUGGY, speech") == Number(69.0)


def test_fewshot_takes_the_metric_of_its_task():
    table, rows = built(
        "fewshot",
        [
            measured("base", "fewshot", "asr_clean", "s-t", "wer", [300.0, 100.0], [4, 4]),
            measured("base", "fewshot", "tts_clean", "t-s", "cer", [100.0, 100.0], [10, 10]),
            measured("base", "fewshot", "ic", "s-t", "accuracy", right(30)),
        ],
    )
    row = next(row for (label, *_), row in rows.items() if label == "Spirit LM Base")
    assert [c.value for c in row[1:] if c] == [50.0, 10.0, 30.0]
    gaps = next(row for (label, *_), row in rows.items() if "minus" in label)
    assert [c.text for c in gaps[1:] if c] == ["+28.1", "-35.5", "-41.9"]


def test_stsp_by_number_of_examples_with_the_average_of_the_directions():
    measures = [
        measured("expressive", "stsp", f"{name}_{shots}shot", direction, "accuracy", right(share))
        for shots in (0, 3)
        for name, direction, share in (
            ("a", "t-t", 60), ("b", "t-t", 40), ("a", "t-s", 30), ("a", "s-s", 40), ("a", "s-t", 40)
        )
    ]  # fmt: skip
    table, rows = built("stsp", measures)
    ours = rows[("Spirit LM Expressive", "0-shot")]
    assert cell(table, ours, "text to text").value == 50.0 and cell(table, ours, "text to text").low < 50
    assert cell(table, ours, "average").value == pytest.approx(40.0)
    assert cell(table, rows[("Spirit LM Expressive: ours minus published", "3-shot")], "text to text").text == "-14.0"
    assert cell(table, rows[("Spirit LM Expressive (published)", "0-shot")], "speech to speech").value == 54.0
    partial, rows = built("stsp", measures[:3])
    assert cell(partial, rows[("Spirit LM Expressive", "0-shot")], "average") is None


def test_stsp_of_the_prompts_themselves_over_the_test_sets_of_the_models():
    of_models = [
        measured("base", "stsp", f"{name}_{shots}shot", direction, "accuracy", right(30))
        for shots in (0, 3)
        for name, direction in (("emov", "s-s"), ("read", "s-s"), ("asr", "t-t"))
    ]
    table, rows = built("stsp", of_models)
    assert not any("prompt itself" in label[0] for label in rows if "published" not in label[0])
    of_prompts = [
        measured("prompt_classifier", "stsp", f"{name}_0shot", direction, "accuracy", right(share))
        for name, direction, share in (("emov", "s-s", 98), ("read", "s-s", 90), ("asr", "s-s", 10), ("asr", "t-t", 80))
    ]
    table, rows = built("stsp", of_models + of_prompts)
    ours, theirs = (rows[(f"classifier on the prompt itself{end}", "")] for end in ("", " (published)"))
    assert cell(table, ours, "speech to speech").value == pytest.approx(94.0)
    assert cell(table, ours, "text to text").value == 80.0 and cell(table, theirs, "text to text").value == 86.0
    assert cell(table, ours, "average") is None and cell(table, ours, "text to speech") is None
    assert cell(table, rows[("Spirit LM Base", "3-shot")], "speech to speech").value == 30.0
    assert (
        cell(table, rows[("classifier on the prompt itself: ours minus published", "")], "text to text").text == "-6.0"
    )
    with pytest.raises(UserError, match="no measure"):
        built("stsp", of_prompts)


def test_style_units_are_not_set_against_the_accuracy_of_emotions():
    table, rows = built("resynthesis", [measured("base", "resynthesis", "base", "s-s", "style_accuracy", [50.0, 60.0])])
    assert cell(table, rows[("Base units",)], "style units kept %").value == 55.0
    assert cell(table, rows[("Base units",)], "emotion accuracy %") is None
    assert cell(table, rows[("Spirit LM Base (published)",)], "emotion accuracy %").value == 20.4
    assert ("Base units: ours minus published",) not in rows


def test_resynthesis_by_source():
    measures = [
        measured("base", "resynthesis", source, "s-s", metric, [value, value + 2])
        for source, value in (("shuffled", 90.0), ("base", 30.0), ("mystery", 1.0))
        for metric in ("wer", "mel_distance")
    ]
    table, rows = built("resynthesis", measures)
    labels = [row[0] for row in table.rows]
    assert labels[:3] == ["Base units", "units of another utterance (control)", "mystery"]
    assert cell(table, rows[("Base units",)], "mel distance").text == "31.00"
    assert cell(table, rows[("Base units: ours minus published",)], "WER %").text == "+7.6"
    assert cell(table, rows[("Spirit LM Base (published)",)], "F0 frame error %").value == 40.0


def test_parts_are_listed_as_they_are():
    measures = [
        measured("ctc", "alignment", "test", "s-t", "start_error_ms", [10.0, 20.0]),
        measured("phonetic", "units", "linear_noise", "s-s", "unit_error", [40.0, 42.0]),
        measured("phonetic", "units", "linear_noise", "s-s", "of_another_kind", [1.0, 1.0]),
    ]
    table, _ = built("parts", measures)
    assert [row[1] for row in table.rows] == ["linear, noise", "linear, noise", "test"]
    assert table.rows[1][2] == "units changed by the augmentation, %" and table.rows[2][3].text == "15.0"
    assert table.rows[0][2] == "of another kind"


@pytest.mark.parametrize("name", sorted(TABLES))
def test_nothing_measured_is_said(name):
    with pytest.raises(UserError, match="no measure"):
        TABLES[name](Collected([measured("base", "other", "a", "t-t", "accuracy", [1.0])]), PUBLISHED, False)


def test_twice_the_same_folder(tmp_path):
    write_measures(tmp_path / "m", comprehension(("base",)))
    with pytest.raises(UserError, match="measured twice"):
        Collected.read([tmp_path / "m", tmp_path / "m"])


def test_the_step_writes_all_forms(tmp_path):
    spec = importlib.util.spec_from_file_location("step", PROJECT / "scripts/spiritlm_table.py")
    step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(step)
    write_measures(tmp_path / "m", comprehension(("base",)))
    published = str(PROJECT / "configs/published/spiritlm.yml")
    words = ["--measures", str(tmp_path / "m"), "--published", published, "--sets", "generated"]
    assert step.main(["--table", "comprehension", *words, "--out", str(tmp_path / "t")]) == 0
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [
        f"comprehension.{ending}" for ending in ("csv", "json", "md", "tex")
    ]
    assert "80.0 ±" in (tmp_path / "t/comprehension.md").read_text()
