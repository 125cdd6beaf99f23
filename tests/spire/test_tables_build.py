"""Tables from score files: every cell is a score, blanks and `not run` are where they belong."""

import json
from pathlib import Path

import pytest
import yaml

from spire.errors import UserError
from spire.scoring.cells import ScoreCell, write_cell
from spire.tables.ablations import ablations_table
from spire.tables.asr import asr_table, voice_table
from spire.tables.book import Book
from spire.tables.layout import NOT_RUN, Number
from spire.tables.mt import mt_table
from spire.tables.published import read_published
from spire.tables.render import markdown
from spire.tables.st import st_table
from spire.tables.units import units_table

PROJECT = Path(__file__).resolve().parents[2]
PUBLISHED = PROJECT / "configs/published/spire.yml"
SPEECH = ("asr", "shuffled", "mt", "gold", "st", "cascade")
MODES = {
    "tower_base": ("mt", "gold"),
    "spire_base": ("asr", "shuffled", "mt"),
    "spire_full": SPEECH,
    "spire_no_blocks": SPEECH,
    "spire_no_pseudo": SPEECH,
    "tower_full": SPEECH,
}


def cells():
    """A study whose every value differs: model index . mode index, test set and pair add hundredths."""
    for i, (model, modes) in enumerate(MODES.items()):
        for mode in modes:
            sets = {"test": ("de-en", "en-de", "en-fr", "fr-en")} if mode == "mt" else {
                "seen": ("en-de", "en-fr"), "unseen": ("en-de", "en-fr"), "human": ("en-fr",),
            }  # fmt: skip
            if mode in ("asr", "shuffled"):
                sets = dict.fromkeys(("seen", "unseen", "human"), ("en-en",))
            for j, (test_set, pairs) in enumerate(sets.items()):
                for k, pair in enumerate(pairs):
                    for metric in ("wer",) if pair == "en-en" else ("bleu", "chrf"):
                        value = 10 + 10 * i + SPEECH.index(mode) + j / 10 + k / 100 + (metric == "chrf") / 2
                        table = "mt" if mode == "mt" else "asr" if pair == "en-en" else "st"
                        n = 98 if test_set == "human" else 200
                        signature = f"{metric.upper()}|bs:1000|seed:1|decoding:greedy|model:{model}"
                        yield ScoreCell(
                            table, model, test_set, pair, mode, metric, value, value - 2, value + 3, n, signature
                        )


@pytest.fixture(scope="module")
def book():
    return Book(cells())


@pytest.fixture(scope="module")
def published():
    return read_published(PUBLISHED)


def titles(table):
    return [f"{c.group} {c.title}".strip() for c in table.columns]


def row(table, *labels):
    (found,) = [dict(zip(titles(table), r, strict=True)) for r in table.rows if tuple(r[: len(labels)]) == labels]
    return found


def test_asr_has_ours_and_the_papers_columns(book, published):
    table = asr_table(book, published)
    assert titles(table) == [
        "model", "units of", "WER % seen", "WER % unseen", "WER % human",
        "published LibriSpeech clean", "published LibriSpeech other", "published FLEURS", "published VoxPopuli",
    ]  # fmt: skip
    full = row(table, "SpireFull", "its own audio")
    assert full["WER % seen"] == Number(30.0, 28.0, 33.0, 200)
    assert full["WER % human"].n == 98
    assert full["published LibriSpeech clean"] is None  # never verified
    assert row(table, "SpireFull", "other audio")["WER % seen"].value == 31.0
    assert (
        row(table, "SPIRE pretraining checkpoint, step 5000 (published)")["published LibriSpeech other"].value == 49.3
    )
    assert not [r for r in table.rows if r[0] == "TowerBase"]  # it was not asked for transcripts


def test_notes_have_signatures_once_and_no_model(book, published):
    notes = asr_table(book, published).notes
    assert [note for note in notes if note.startswith("Signature")] == ["Signature: WER|bs:1000|seed:1."]
    assert any("synthesized" in note for note in notes)


def test_mt_has_both_directions_means_and_comet_not_run(book, published):
    table = mt_table(book, published)
    assert titles(table)[2:8] == ["en-de", "en-fr", "mean en-X", "de-en", "fr-en", "mean X-en"]
    assert len(table.rows) == 6 + 6 + 1
    base = row(table, "TowerBase", "BLEU")
    assert base["mean en-X"] == Number(pytest.approx((base["en-de"].value + base["en-fr"].value) / 2))
    assert base["published FLORES en-X"] is None
    comet = row(table, "all models", "COMET-22")
    assert {comet[name] for name in titles(table)[2:8]} == {NOT_RUN}
    assert comet["published FLORES en-X"] is None


def test_st_has_modes_by_test_sets(book, published):
    table = st_table(book, published)
    assert titles(table)[3:10] == [
        "seen en-de",
        "seen en-fr",
        "seen mean",
        "unseen en-de",
        "unseen en-fr",
        "unseen mean",
        "human en-fr",
    ]
    assert row(table, "SpireFull", "direct", "BLEU")["published CoVoST-2 en-de"].value == 18.3
    assert row(table, "SpireFull", "direct", "chrF2")["published FLEURS en-de"].value == 57.1
    assert row(table, "SeamlessM4T (published)", "direct", "BLEU")["seen en-de"] is None
    assert row(table, "TowerBase", "gold transcript", "BLEU")["seen en-de"].value == pytest.approx(13.0)
    for mode in ("direct", "self-cascade", "gold transcript"):
        assert row(table, "all models", mode, "COMET-22")["human en-fr"] == NOT_RUN


def test_ablations_compare_with_the_full_model_and_state_confounds(book, published):
    table = ablations_table(book, published)
    full, pseudo = row(table, "SpireFull"), row(table, "SpireNoPseudo")
    assert full["WER % seen"].delta is None
    assert pseudo["WER % seen"].delta == pytest.approx(20.0)
    assert pseudo["MT BLEU"].delta == pytest.approx(20.0)
    assert (pseudo["starts from"], pseudo["tuning"]) == ("SpireBase", "speech + text")
    assert row(table, "TowerBase")["WER % seen"] is None
    text = " ".join(table.notes)
    assert "same number of optimizer steps" in text and "TowerFull" in text and "fewer updates on speech" in text


def test_no_scores_of_a_kind_is_an_error(published):
    some = Book(cell for cell in cells() if cell.model == "tower_base")
    for build, message in ((asr_table, "no score of a transcript"), (ablations_table, "no score of spire_full")):
        with pytest.raises(UserError, match=message):
            build(some, published)


def test_a_cell_scored_twice_is_an_error():
    cell = next(iter(cells()))
    with pytest.raises(UserError, match="scored twice: tower_base, mt on test de-en, bleu"):
        Book([cell, cell])


def test_voices_are_reported_apart(tmp_path, published):
    for model, wer in (("spire_full", 40.0), ("tower_full", 80.0)):
        voices = {
            "alba": {"wer": wer, "errors": 4, "words": 10, "n": 3},
            "kim": {"wer": wer / 2, "errors": 4, "words": 20, "n": 5},
        }
        (tmp_path / model).mkdir()
        record = {"model": model, "cells": {"asr.unseen.en-en": voices, "shuffled.unseen.en-en": voices}}
        (tmp_path / model / "by_speaker.json").write_text(json.dumps(record))
    table = voice_table([tmp_path / "spire_full", tmp_path / "tower_full", tmp_path], published)
    assert row(table, "unseen", "kim") == {
        "test set": "unseen", "voice": "kim", "n": "5",
        "WER % SpireFull": Number(20.0), "WER % TowerFull": Number(40.0),
    }  # fmt: skip


def unit_report(folder: Path, encoder: str, **more) -> Path:
    path = folder / f"{encoder}.json"
    seen = {
        "pnmi": 0.5261,
        "phone_purity": 0.4,
        "cluster_purity": 0.2,
        "units_per_second": 31.94,
        "removed_by_deduplication": 0.312,
    }
    record = {
        "clusters": 200,
        "kmeans": {"encoder": encoder, "layer": "2"},
        "splits": {"seen": seen, "human": {"units_per_second": 30.0}},
    }
    path.write_text(json.dumps(record | more))
    return path


def test_units_by_encoder(tmp_path):
    table = units_table([unit_report(tmp_path, "hubert"), unit_report(tmp_path, "mfcc")])
    assert [r[0] for r in table.rows] == ["hubert, layer 2"] * 2 + ["mfcc"] * 2
    text = markdown(table)
    assert "0.526" in text and "31.9" in text and "31.2" in text
    assert row(table, "mfcc", "200", "human")["PNMI"] is None


def test_units_reports_are_checked(tmp_path):
    with pytest.raises(UserError, match="same encoder as"):
        units_table([unit_report(tmp_path, "mfcc")] * 2)
    with pytest.raises(UserError, match="not a report about units"):
        units_table([unit_report(tmp_path, "mfcc", splits={})])


def test_published_numbers_are_verified_and_sourced(published):
    record = yaml.safe_load(PUBLISHED.read_text())
    assert all(number["status"] == "verified" and number["source"] in record["sources"] for number in record["numbers"])
    # Remembered values for SpireFull and SeamlessM4T (papers.md 1.11) must not slip in.
    asr = [number for number in published.numbers if number.table == "asr"]
    assert not [n for n in asr if n.model or "Seamless" in n.system]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"status": "recalled"}, "number 1: status is not verified"),
        ({"column": "tedlium"}, "no column 'tedlium'"),
        ({"source": "memory"}, "unknown source 'memory'"),
        ({"value": "4.2"}, "value '4.2' is not a number"),
        ({"model": "spire_full"}, "either a model or a system"),
        ({"colour": "red"}, "not a file of published numbers"),
    ],
)
def test_unverified_or_misspelt_numbers_are_refused(tmp_path, change, message):
    record = yaml.safe_load(PUBLISHED.read_text())
    record["numbers"][0].update(change)
    path = tmp_path / "spire.yml"
    path.write_text(yaml.safe_dump(record))
    with pytest.raises(UserError, match=message):
        read_published(path)


def test_table_scripts_need_no_metric_library(tmp_path):
    """The versioner digests a script's imports: a changed metric must not rebuild a table."""
    import os
    import subprocess
    import sys

    for cell in cells():
        write_cell(tmp_path / cell.model, cell)
    folders = [str(tmp_path / model) for model in MODES]
    code = (
        "import sys, runpy; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "heavy = {'torch', 'numpy', 'sacrebleu', 'jiwer', 'matplotlib', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", code, str(PROJECT / "scripts/table_asr.py"), "--scores", *folders]
    command += ["--published", str(PUBLISHED), "--out", str(tmp_path / "tables")]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(PROJECT / "src")}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "tables").iterdir()) == [
        "asr.csv", "asr.md", "asr.tex", "asr_by_voice.csv", "asr_by_voice.md", "asr_by_voice.tex",
    ]  # fmt: skip
