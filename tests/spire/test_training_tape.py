"""The training tasks through the engine: ended by TERM, a task saves, and its next attempt goes on from there."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DUCTTAPE = str(Path(sys.executable).parent / "ducttape")
TAPE = """
global {
  ducttape_experimental_packages=true
  ducttape_experimental_imports=true
  lm_hidden=64 lm_layers=2 lm_heads=2 lm_ffn=128 train_threads=1 log_every=50 seed=1
  base_steps=700 base_tokens=512 base_lr=3e-3
}
task corpus_base > corpus=base.jsonl { cp "PLACE/base.jsonl" "$corpus" }
task vocabulary_train > vocabulary=base.model { cp "PLACE/base.model" "$vocabulary" }
plan base {
  reach train_base
}
"""


@pytest.mark.slow
def test_a_training_task_that_was_ended_goes_on_in_its_next_attempt(tmp_path):
    pytest.importorskip("torch")
    from spire.vocabulary.train import train_model

    if not shutil.which(DUCTTAPE):
        pytest.skip("no ducttape beside this Python")
    words = [f"{a}{b}" for a in ("ka", "lo", "mi", "tu") for b in ("ra", "si", "no", "de")]
    text = [" ".join(words[(i * j + j) % 16] for j in range(1, 9)) for i in range(200)]
    (tmp_path / "base.model").write_bytes(train_model(text, 320))
    lines = "".join(json.dumps({"text": t, "block": "mono"}) + "\n" for t in text)
    (tmp_path / "base.jsonl").write_text(lines)
    # The base model's task alone; the others need a whole study.
    task = (PROJECT / "tasks" / "training.tape").read_text().partition("task train_cpt")[0]
    task = task.replace("../scripts", str(PROJECT / "scripts"))
    (tmp_path / "study.tape").write_text(TAPE.replace("PLACE", str(tmp_path)) + task)
    command = [DUCTTAPE, str(tmp_path / "study.tape"), "-O", str(tmp_path / "out"), "-p", "base", "-y", "--no-live"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    before = ""
    for line in running.stderr:
        before += line
        if "CPU s a step" in line:
            time.sleep(0.5)
            running.send_signal(signal.SIGTERM)
    running.wait(timeout=60)
    assert "ended at step" in before, before
    ended = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert "goes on after step" in ended.stderr
    done = next((tmp_path / "out" / "train_base").glob("*/model"))
    record = json.loads((done / "training.json").read_text())
    assert record["outcome"]["steps"] == 700 and not (done.parent / "model.checkpoints").exists()
