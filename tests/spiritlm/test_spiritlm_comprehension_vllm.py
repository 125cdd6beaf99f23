"""vLLM's log-likelihoods are those of our own code; needs vLLM in an environment apart (docs/decoding.md)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from spiritlm_tiny_lm import write_tiny_lm

from spiritlm.evaluation.items import Segment, TestSet, pair, write_test_set

PROJECT = Path(__file__).parents[2]
PYTHON = os.environ.get("SPIRE_VLLM_PYTHON", "")


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="SPIRE_VLLM_PYTHON names no python with vllm")
def test_vllm_agrees_with_the_native_backend(tmp_path):
    model = write_tiny_lm(tmp_path / "model")
    speech = [Segment(streams={"hubert": " ".join(str((n * k) % 20) for k in range(1, 9))}) for n in range(1, 7)]
    items = []
    for n in range(6):
        endings = [[Segment(text="now Simon has more")], [Segment(text="the gloves of Simon")]]
        items += pair(f"t{n}", [Segment(text="the cat"), speech[n]], endings)
        items += pair(f"s{n}", [Segment(text="the cat")], [[speech[n]], [speech[(n + 1) % 6]]])
    write_test_set(tmp_path / "items", TestSet("tsc", "t-s", tuple(items)))
    scores = {}
    for backend, python in (("native", sys.executable), ("vllm", PYTHON)):
        command = [python, PROJECT / "scripts/spiritlm_comprehension.py", "--model", model, "--name", "tiny"]
        command += ["--items", tmp_path / "items", "--backend", backend, "--scores", tmp_path / backend]
        command += ["--out", tmp_path / f"{backend}.measures"]
        env = os.environ | {"PYTHONPATH": str(PROJECT / "src"), "VLLM_CPU_KVCACHE_SPACE": "1"}
        done = subprocess.run([str(part) for part in command], env=env, capture_output=True, text=True, timeout=540)
        assert done.returncode == 0, done.stderr[-3000:]
        lines = (tmp_path / backend / "tsc.t-s.jsonl").read_text().splitlines()
        scores[backend] = {row["id"]: row for row in map(json.loads, lines)}
    assert list(scores["vllm"]) == list(scores["native"]) and len(scores["native"]) == 24
    for name, row in scores["native"].items():
        assert scores["vllm"][name]["logprob"] == pytest.approx(row["logprob"], rel=1e-4)
        assert scores["vllm"][name]["tokens"] == row["tokens"]
