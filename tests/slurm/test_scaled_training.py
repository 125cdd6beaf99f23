"""The study's training tasks on two nodes of a real Slurm: srun, torchrun, gloo, a process a (stand-in) GPU."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("transformers")
PROJECT = Path(__file__).resolve().parents[2]
LAUNCHER = "env MASTER_ADDR=127.0.0.1 GLOO_SOCKET_IFNAME=lo srun --kill-on-bad-exit=1"
LAUNCHER += " python -m spire.training.scaled.launch"
FLAGS = "--engine scaled --sequence-length 512 --max-length 512 --precision fp32"

# The smoke profile, with training as configs/spire.tconf starts it. The nodes' names do not resolve on this machine.
PROFILE = f"""config {{
  ducttape_default_submitter=slurm
  ducttape_default_mem=1G
  ducttape_default_time="20:00"
  launcher="{LAUNCHER}"
  train_nodes=2
  train_gpus=1
  base_flags="{FLAGS}"
  cpt_flags="{FLAGS} --checkpoint-every 2"
  it_flags="{FLAGS} --epochs 1 --schedule cosine --warmup 1"
  base_steps=20
}}

plan full {{
  reach train_it via (IT: full)
}}
"""


@pytest.fixture
def slurm(real_slurm, monkeypatch):
    for name, value in real_slurm.environment.items():
        monkeypatch.setenv(name, value)
    yield real_slurm
    real_slurm.run("scancel", "--user=root")
    deadline = time.monotonic() + 60
    while real_slurm.run("squeue", "-h"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_two_nodes_train_the_models(slurm, tmp_path):
    (tmp_path / "two.tconf").write_text(PROFILE)
    command = [Path(sys.executable).parent / "ducttape", "main.tape", "-C", "configs/smoke.tconf"]
    command += ["-C", tmp_path / "two.tconf", "-p", "full", "-O", tmp_path / "out", "-y"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        list(map(str, command)),
        cwd=PROJECT,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    for name in ("train_base", "train_cpt", "train_it"):
        made = tmp_path / "out" / name / "Baseline.baseline"
        record = json.loads((made / "model" / "training.json").read_text())
        assert record["engine"] == "scaled" and (made / "model" / "model.safetensors").exists()
        errors = (made / "ducttape_stderr.txt").read_text()
        assert "2 process(es) on cpu" in errors and "in 2 process(es)" in errors
        rows = [json.loads(line) for line in (made / "train_log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
        assert not list(made.glob("*.checkpoints"))
    nodes = {job["NodeList"] for job in slurm.jobs() if job.get("NumNodes", "").startswith("2") and "NodeList" in job}
    assert "n[0-1]" in nodes
