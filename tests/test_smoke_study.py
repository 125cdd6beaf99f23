"""The whole study in its smallest profile, as a user runs it: killed in the middle, finished, edited, broken.

One study is built in a copy of the project and shared by the tests of this file, in order: every process that imports
torch costs seconds, so nothing here runs twice without a reason.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from smoke_copy import DUCTTAPE, copied, run

pytestmark = pytest.mark.smoke

SMOKE = ["-C", "configs/smoke.tconf", "-j", "2"]
MODELS = {"tower_base", "spire_base", "spire_full", "spire_no_blocks", "spire_no_pseudo", "tower_full"}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A copy of the project whose smoke study was killed with SIGKILL after its third task, and then finished."""
    root = copied(tmp_path_factory.mktemp("project") / "copy")
    controller = subprocess.Popen(
        [DUCTTAPE, "main.tape", *SMOKE, "-y"], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    done = 0
    for line in controller.stderr:
        done += line.startswith("done ")
        if done == 3:
            break
    else:
        pytest.fail("the study ended before three tasks were done")
    time.sleep(1.0)  # into the middle of the next tasks
    os.kill(controller.pid, signal.SIGKILL)
    controller.wait()
    controller.stderr.close()

    finished = run(root, *SMOKE, "-y")
    assert finished.returncode == 0, finished.stderr[-4000:]
    (root / "finished.stdout").write_text(finished.stdout)
    return root


def records(study: Path) -> dict[str, float]:
    """When each record was written, by task directory."""
    base = study / "out/smoke"
    return {str(p.parent.relative_to(base)): p.stat().st_mtime for p in base.glob("*/*/ducttape_record.json")}


def test_every_table_is_complete(study):
    results = study / "out/smoke/results"
    for table in ("asr", "mt", "st", "ablations", "units"):
        for ending in ("md", "csv", "tex"):
            assert (results / f"{table}.{ending}").stat().st_size > 0
    with open(results / "scores.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert {row["model"] for row in rows} == MODELS
    assert {row["test_set"] for row in rows} >= {"seen", "unseen", "human", "test"}
    assert {row["mode"] for row in rows} >= {"asr", "shuffled", "mt", "gold", "st", "cascade"}
    assert {row["metric"] for row in rows} >= {"wer", "bleu", "chrf"}
    for row in rows:
        assert float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"]), row
        assert int(row["n"]) > 0
        assert row["signature"]


def test_tables_are_printed(study):
    printed = (study / "finished.stdout").read_text()
    for table in ("asr", "mt", "st", "ablations"):
        first = (study / f"out/smoke/results/{table}.md").read_text().strip().splitlines()[0]
        assert first in printed


def test_losses_are_finite_and_fall(study):
    for task in ("train_base/Baseline.baseline", "train_cpt/Baseline.baseline"):
        log = (study / "out/smoke" / task / "train_log.jsonl").read_text()
        losses = [json.loads(line)["loss"] for line in log.splitlines()]
        assert losses and all(x == x and x < 100 for x in losses)
        assert losses[-1] < losses[0]


def test_again_there_is_nothing_to_do(study):
    before = records(study)
    again = run(study, *SMOKE, "-y")
    assert again.returncode == 0
    assert "nothing to do" in again.stderr
    assert records(study) == before


def test_an_edited_scorer_runs_only_scores_and_tables(study):
    scorer = study / "src/spire/scoring/wer.py"
    original = scorer.read_text()
    scorer.write_text(original + "\nEDITED = True\n")
    before = records(study)
    edited = run(study, *SMOKE, "-y")
    assert edited.returncode == 0, edited.stderr[-4000:]
    changed = {name.split("/")[0] for name, written in records(study).items() if before.get(name) != written}
    # The scores come out byte for byte the same, so nothing after them has to run again (early cutoff).
    assert changed == {"score"}

    scorer.write_text(original)
    planned = run(study, *SMOKE, "--dry-run")
    assert "package score_all" in planned.stderr and "spire/scoring/wer.py" in planned.stderr
    assert run(study, *SMOKE, "-y").returncode == 0


def test_a_comment_in_a_body_changes_nothing(study):
    tape = study / "tasks/scoring.tape"
    original = tape.read_text()
    tape.write_text(original.replace("{\n  python", "{\n  # a comment changes nothing\n  python", 1))
    again = run(study, *SMOKE, "--dry-run")
    tape.write_text(original)
    assert "a comment" not in original and "nothing to do" in again.stderr


def test_unknown_branch_names_the_place(study):
    tape = study / "tapes/asr.tape"
    original = tape.read_text()
    tape.write_text("plan asr {\n  reach score via (Model: spire_ful)\n}\n")
    wrong = run(study, *SMOKE, "-p", "asr", "-y")
    tape.write_text(original)
    assert wrong.returncode == 1
    assert "spire_ful" in wrong.stderr and "spire_full" in wrong.stderr and "asr.tape:2:" in wrong.stderr


def test_a_corrupt_recording_names_task_and_log(study):
    recording = next((study / "data/human").rglob("*.flac"))
    original = recording.read_bytes()
    recordings = {p: p.read_bytes() for p in (study / "data/human").rglob("*.flac")}
    try:
        for path, data in recordings.items():
            path.write_bytes(data[: len(data) // 3])
        broken = run(study, *SMOKE, "-y")
    finally:
        for path, data in recordings.items():
            path.write_bytes(data)
    assert recording.read_bytes() == original
    assert broken.returncode == 1
    assert "human/Baseline.baseline" in broken.stderr
    assert "ducttape_stderr.txt" in broken.stderr
    mended = run(study, *SMOKE, "-y")
    assert mended.returncode == 0
    assert "start train_cpt/" not in mended.stderr


def test_a_missing_file_is_found_before_anything_runs(study):
    voices = study / "configs/voices.json"
    voices.rename(study / "configs/voices.away")
    missing = run(study, *SMOKE, "-y", "-O", "out/elsewhere")
    (study / "configs/voices.away").rename(voices)
    assert missing.returncode == 1
    assert "voices.json" in missing.stderr and "tasks/data.tape:" in missing.stderr
    assert not list((study / "out/elsewhere").glob("*/*/ducttape_record.json"))


def test_why_leads_back_to_the_sources(study):
    why = run(study, *SMOKE, "why", "out/smoke/score/Model.spire_full/scores")
    assert why.returncode == 0
    for task in ("score", "decode", "train_it", "train_cpt", "train_base", "units_label", "synthesize", "sentences"):
        assert f"made by {task}/" in why.stdout, task
    assert "data/human" in why.stdout
