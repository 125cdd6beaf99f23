"""The whole SpiRit-LM study in its smallest profile: made, looked at, opened by the public interface, run again."""

from __future__ import annotations

import csv
import json
import math
import subprocess
from pathlib import Path

import pytest
import smoke_copy

from spiritlm.tables.results import read_collected

pytestmark = pytest.mark.smoke

SMOKE = ["-C", "configs/spiritlm_smoke.tconf"]
OUT = "out/spiritlm_smoke"
TABLES = ("stsp", "comprehension", "fewshot", "spirit_ablations", "resynthesis", "normalization", "spirit_parts")


def run(study: Path, *arguments: str) -> subprocess.CompletedProcess:
    return smoke_copy.run(study, *SMOKE, *arguments)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A copy of the project in which the study was made."""
    root = smoke_copy.copied(tmp_path_factory.mktemp("project") / "copy")
    made = run(root, "-y", "-j", "2")
    assert made.returncode == 0, made.stderr[-4000:]
    return root


def test_nothing_of_spire_was_made(study):
    tasks = json.loads(run(study, "report", "--json").stdout)
    assert tasks and not [t["task"] for t in tasks if not t["task"].startswith("spiritlm_")]


def test_every_table_is_there_in_every_form(study):
    results = study / OUT / "results"
    for table in TABLES:
        for ending in ("md", "csv", "tex", "json"):
            assert (results / f"{table}.{ending}").stat().st_size > 0, table
    assert {m.task for m in read_collected(results / "measures.jsonl")} >= {
        "comprehension", "fewshot", "stsp", "resynthesis",
    }  # fmt: skip


def test_losses_are_finite(study):
    with open(study / OUT / "results/trainings.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) >= 8
    for row in rows:
        assert row["all_finite"] == "true" and math.isfinite(float(row["last_loss"])), row


def test_the_report_can_be_heard(study):
    page = (study / OUT / "results/report.html").read_text()
    assert page.count("<audio ") > 10 and "Continuations" in page and "Resynthesis" in page
    assert "<script" not in page


def test_the_public_interface_opens_what_was_trained(study):
    from spiritlm.model.spiritlm_model import ContentType, GenerationInput, OutputModality, Spiritlm
    from spiritlm.speech_tokenizer import spiritlm_base, spiritlm_expressive

    (folder,) = (study / OUT).glob("spiritlm_checkpoints/*/checkpoints")
    wav = next((study / OUT / "spiritlm_speak/Spoken.test/speech/audio").glob("*.wav"))
    units = spiritlm_expressive(folder=folder, device="cpu").encode_units(str(wav))
    assert set(units) == {"audio", "hubert", "pitch", "style"} and all(units.values())
    assert len(spiritlm_base(folder=folder, device="cpu").decode("[Hu1][Hu2]", speaker_id=0)) > 0
    for name, expressive in (("spirit-lm-base-7b", False), ("spirit-lm-expressive-7b", True)):
        model = Spiritlm(name, device="cpu", dtype="float32", folder=folder)
        assert model.expressive is expressive
        given = [GenerationInput(content=str(wav), content_type=ContentType.SPEECH)]
        (text,) = model.generate(given, output_modality=OutputModality.TEXT, max_new_tokens=4, seed=0)
        assert text.content_type is ContentType.TEXT and "[Hu" not in text.content
        said = model.generate(given, output_modality=OutputModality.SPEECH, max_new_tokens=8, do_sample=True, seed=0)
        assert all(output.content_type is ContentType.SPEECH for output in said)


def test_again_there_is_nothing_to_do(study):
    again = run(study, "-y")
    assert again.returncode == 0 and "nothing to do" in again.stderr
