"""Fixtures for clusters: a stand-in for Slurm, and the real ones where this machine has them."""

import os
import sys
from pathlib import Path

import pytest

for folder in ("slurm", "ducttape"):
    sys.path.append(str(Path(__file__).parent / folder))


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


@pytest.fixture(scope="session")
def real_slurm(tmp_path_factory):
    """A real Slurm of two nodes, started once; tests leave its nodes up and no jobs behind."""
    from real_slurm import RealSlurm, missing

    if reason := missing():
        pytest.skip(reason)
    slurm = RealSlurm(tmp_path_factory.mktemp("real") / "slurm", down=5)
    yield slurm
    slurm.close()


@pytest.fixture(scope="session")
def grid_engine(tmp_path_factory):
    """The variables of a real Grid Engine on this machine, started once."""
    from grid_engine import missing, started

    if reason := missing():
        pytest.skip(reason)
    with started(tmp_path_factory.mktemp("sge") / "sge") as variables:
        yield variables
