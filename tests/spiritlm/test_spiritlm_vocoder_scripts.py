"""The commands of the vocoder: arguments in, one library call, files out."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from spire.audio import write_wav
from spire.manifest import Utterance, write_manifest


def script(name):
    spec = importlib.util.spec_from_file_location(name, Path("scripts") / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def scores(arguments):
    return script("spiritlm_resynthesis_scores")(arguments)


@pytest.mark.parametrize("expressive", [False, True])
def test_from_speech_to_scores(tmp_path, monkeypatch, expressive):
    monkeypatch.delenv("DUCTTAPE_PREVIOUS", raising=False)
    rng = np.random.default_rng(1)
    utterances, lines = [], []
    for i in range(4):
        codes = rng.integers(0, 40, 20)
        write_wav(tmp_path / f"{i}.wav", (0.1 * rng.standard_normal(20 * 640 + 80)).astype(np.float32))
        utterances.append(Utterance(str(i), f"{i}.wav", 0.805, "en", "noise", "ab"[i % 2]))
        units = {"id": str(i), "hubert": " ".join(map(str, codes))}
        lines.append(units | ({"pitch": " ".join(["5"] * 10), "style": "1"} if expressive else {}))
    write_manifest(tmp_path / "manifest.jsonl", utterances)
    (tmp_path / "streams.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = ["--manifest", str(tmp_path / "manifest.jsonl"), "--streams", str(tmp_path / "streams.jsonl")]
    more = ["--expressive"] if expressive else []
    recipe = ["--recipe", "configs/hifigan/smoke.json", "--steps", "3", "--batch", "2", "--frames", "5"]
    script("spiritlm_vocoder")([*data, *more, *recipe, "--warm-up", "0.4", "--out", str(tmp_path / "vocoder")])
    assert (tmp_path / "train_log.jsonl").exists()
    for name, how in (("original", []), ("ours", ["--vocoder", str(tmp_path / "vocoder")])):
        script("spiritlm_resynthesize")([*data, *how, "--out", str(tmp_path / name)])
    folders = [f"{name}={tmp_path / name}" for name in ("original", "ours")]
    assert scores(["--audio", *folders, "--out", str(tmp_path / "measures")]) == 0
    record = json.loads((tmp_path / "measures/resynthesis.ours.s-s.mel_distance.json").read_text())
    assert record["n"] == 4 and record["ci_low"] <= record["value"] <= record["ci_high"]
