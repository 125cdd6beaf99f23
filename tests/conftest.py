"""Fixtures for clusters: a stand-in for Slurm, and the real ones where this machine has them."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "slurm"))


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    """A stand-in for Slurm in front of PATH; see tests/slurm/fake_slurm.py for what it can be told."""
    from fake_slurm import FakeSlurm

    slurm = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", slurm.path, prepend=":")
    for name in [n for n in os.environ if n.startswith(("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_"))]:
        monkeypatch.delenv(name)
    yield slurm
    slurm.close()
