"""Inference shared by the processes of a job, of srun on two nodes of a real Slurm or of torchrun: the bytes of one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from spiritlm_checkpoints import write_vocoder
from spiritlm_tiny_lm import write_tiny_lm
from test_spiritlm_generation import place, run

from spire.manifest import read_manifest, write_manifest
from spire.textfiles import write_jsonl

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parents[2]
COUNT = 3


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """(script, flags) of STSP and of a few-shot task on a tiny model, and what one process writes."""
    folder = tmp_path_factory.mktemp("shared")
    place(folder, expressive=False)
    write_tiny_lm(folder / "model")
    write_vocoder(folder / "vocoder")
    (folder / "stsp").mkdir()
    items = [{"id": f"u/{i}", "sentiment": "neutral", "text": "the cat"} for i in range(COUNT)]
    write_jsonl(folder / "stsp" / "items.jsonl", items)
    write_jsonl(folder / "stsp" / "shots.jsonl", [])
    write_manifest(folder / "stsp" / "manifest.jsonl", read_manifest(folder / "manifest.jsonl"))
    speech = f"{folder / 'manifest.jsonl'},{folder / 'streams.jsonl'}"
    common = ["--model", folder / "model", "--speech", speech, "--vocoder", folder / "vocoder"]
    stsp = ["--stsp", folder / "stsp", "--runs", 3, "--max-new", 8, "--temperature", 0.8, "--top-p", 0.95]
    few = ["--task", "tts", "--test-set", "tts_clean", "--shots-from", speech, "--shots", 2, "--max-new", 10]
    asked = [("spiritlm_stsp_generate.py", common + stsp), ("spiritlm_fewshot.py", common + few)]
    expected = []
    for number, (script, flags) in enumerate(asked):
        run(script, *flags, "--out", folder / f"alone{number}")
        expected.append(files(folder / f"alone{number}"))
        assert len(expected[-1]) > 4
    return asked, expected


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def launch(launcher, commands, out, environment):
    asked, expected = commands
    for number, (script, flags) in enumerate(asked):
        command = [*launcher, PROJECT / "scripts" / script, *flags, "--out", out / str(number)]
        done = subprocess.run(
            list(map(str, command)), env=os.environ | environment, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert files(out / str(number)) == expected[number]
        assert not (out / f"{number}.parts").exists()


def test_srun_on_two_nodes(real_slurm, commands, tmp_path):
    launcher = ["srun", "--nodes=2", "--ntasks=3", "--kill-on-bad-exit=1", sys.executable]
    launch(launcher, commands, tmp_path, real_slurm.environment)


def test_a_process_that_fails_ends_the_job(real_slurm, commands, tmp_path):
    """The first process would wait for ever for the part of one that is gone."""
    (script, flags), *_ = commands[0]
    wrong = 'if [ "$SLURM_PROCID" = 1 ]; then exit 3; fi; exec "$@"'
    command = ["srun", "--nodes=2", "--ntasks=2", "--kill-on-bad-exit=1", "bash", "-c", wrong, "-", sys.executable]
    command += [PROJECT / "scripts" / script, *flags, "--out", tmp_path / "out"]
    done = subprocess.run(
        list(map(str, command)), env=os.environ | real_slurm.environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0 and not (tmp_path / "out").exists()


def test_torchrun(commands, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    launch(launcher, commands, tmp_path, {"OMP_NUM_THREADS": "1"})
