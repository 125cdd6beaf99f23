"""label.tape on a cluster: the parts of a corpus are one array, and join to what one command makes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spire.audio import write_wav
from spire.units.kmeans import KMeans, save

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def test_parts_are_an_array(tmp_path, fake_slurm):
    rng = np.random.default_rng(0)
    for i in range(9):
        write_wav(tmp_path / f"audio/{i}.wav", 0.1 * rng.standard_normal(int(rng.integers(4000, 30_000))))
    save(tmp_path / "k.safetensors", KMeans(rng.standard_normal((20, 39)).astype(np.float32), {}))
    (tmp_path / "my.tconf").write_text(
        f"""config {{
          corpus="{tmp_path}/audio"
          kmeans="{tmp_path}/k.safetensors"
          submitter=slurm
          mem=500M
          time="10:00"
        }}
        plan units {{
          reach corpus_units
        }}
        """
    )
    command = [
        str(Path(sys.executable).parent / "ducttape"),
        "label.tape",
        "-C",
        str(tmp_path / "my.tconf"),
        "-p",
        "units",
    ]
    done = subprocess.run(
        [*command, "-O", str(tmp_path / "out"), "-y"],
        cwd=PROJECT, env=os.environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    sent = fake_slurm.calls("sbatch")
    assert any("--array" in word for call in sent for word in call["argv"]), sent
    script = [sys.executable, "scripts/units_label.py", "--encoder", "mfcc", "--kmeans", f"{tmp_path}/k.safetensors"]
    corpus = ["--corpus", f"corpus={tmp_path}/audio", "--out", f"{tmp_path}/one"]
    subprocess.run([*script, *corpus], cwd=PROJECT, check=True, capture_output=True)
    joined = tmp_path / "out/corpus_units/Baseline.baseline/units"
    assert json.loads((joined / "corpus.labels.json").read_text())["counts"]["utterances"] == 9
    assert {p.name: p.read_bytes() for p in joined.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()
    }
