"""SpiRit-LM among the recognizers that SPIRE is compared with: planned beside them, and from streams to scores."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from spiritlm_tiny_lm import write_tiny_lm
from test_spiritlm_generation import PROJECT, place, run

from ducttape.plan.planner import make_plan
from ducttape.workflow.loader import load
from spire.errors import UserError
from spire.textfiles import read_lines
from spiritlm.generation.writer import Writer
from spiritlm.model.content import OutputModality

CONFIGS = ("released", "baselines", "baselines_spiritlm")


def planned(folder, table):
    own = folder / "own.tconf"
    own.write_text(f"config {{\n  spiritlm_folder={folder}\n}}\n")
    configs = [*(PROJECT / f"configs/{name}.tconf" for name in CONFIGS), own]
    tasks = make_plan(load(PROJECT / "main.tape", configs, user_file=False), [table]).tasks.values()
    found = {}
    for task in tasks:
        found.setdefault(task.key.task, []).append(task)
    return found


def test_it_is_planned_beside_the_others(tmp_path):
    asr = planned(tmp_path, "ASR")
    counts = {name: len(asr[name]) for name in ("spiritlm_asr", "spiritlm_asr_units", "spiritlm_asr_score")}
    assert counts == dict.fromkeys(counts, 4) and len(asr["spiritlm_example_units"]) == 1
    assert len(asr["asr_baseline_score"]) == 6 * 4
    assert "spiritlm_asr" not in planned(tmp_path, "MT")


def test_released_weights_become_safetensors(tmp_path):
    written = []
    write_tiny_lm(tmp_path / "model")
    (released := tmp_path / "released").mkdir()
    for path in (tmp_path / "model").iterdir():
        if path.name == "model.safetensors":
            torch.save(load_file(path), released / "pytorch_model.bin")
        else:
            shutil.copy(path, released)
    with pytest.raises(UserError, match="not in safetensors"):
        Writer(released)
    run("spiritlm_safe_model.py", "--model", released, "--out", tmp_path / "safe")
    run("spiritlm_safe_model.py", "--model", tmp_path / "safe", "--out", tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").is_symlink()
    for folder in ("model", "safe", "again"):
        written.append(Writer(tmp_path / folder).write(["[Text]the cat"], OutputModality.TEXT, max_new=8))
    assert written[0] == written[1] == written[2] and written[0][0].text
    with pytest.raises(UserError, match="no config.json"):
        run("spiritlm_safe_model.py", "--model", tmp_path, "--out", tmp_path / "none")


def test_streams_become_the_strings_that_the_baseline_reads(tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed")
    place(tmp_path)
    run("spiritlm_unit_strings.py", "--streams", tmp_path / "streams.jsonl", "--out", tmp_path / "units.txt")
    lines = read_lines(tmp_path / "units.txt")
    assert len(lines) == 3 and lines[0].startswith("[Hu0][Hu1]") and "[Pi" not in lines[0]
    flags = ["--streams", tmp_path / "streams.jsonl", "--expressive", "--out", tmp_path / "expressive.txt"]
    run("spiritlm_unit_strings.py", *flags)
    assert read_lines(tmp_path / "expressive.txt")[0].startswith("[St1][Pi0][Hu0]")
    write_tiny_lm(tmp_path / "model", positions=512)
    both = f"{tmp_path / 'manifest.jsonl'},{tmp_path / 'units.txt'}"
    flags = ["--system", "spiritlm", "--model", tmp_path / "model", "--speech", f"toy={tmp_path / 'manifest.jsonl'}"]
    flags += ["--units", f"toy={tmp_path / 'units.txt'}", "--shots", 2, "--shots-from", both, "--max-new-tokens", 5]
    run("baseline_decode.py", *flags, "--out", tmp_path / "hypotheses")
    assert len(read_lines(tmp_path / "hypotheses" / "asr.toy.en-en.txt")) == 3
    assert json.loads((tmp_path / "hypotheses" / "decoding.json").read_text())["settings"]["shots"] == 2
    manifest = f"toy={tmp_path / 'manifest.jsonl'}"
    flags = ["--model", "spirit", "--hypotheses", tmp_path / "hypotheses", "--manifest", manifest, "--metrics", "wer"]
    run("score_all.py", *flags, "--seed", 1, "--out", tmp_path / "scores")
    assert (tmp_path / "scores" / "asr.toy.en-en.wer.json").is_file()
