"""A GPU that is not there is a user's error, before anything is read or written."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from spire.errors import UserError
from spiritlm.devices import device_named

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
FILES = {
    "hubert": ("--manifest", "--out"),
    "quantizer": ("--manifest", "--hubert", "--teacher", "--out"),
    "ctc": ("--manifest", "--out"),
    "vqvae": ("--f0", "--out"),
    "style": ("--manifest", "--config", "--out"),
    "vocoder": ("--manifest", "--streams", "--recipe", "--out"),
}


def test_names():
    assert device_named("cpu") == "cpu" and device_named("auto") in ("cpu", "cuda")
    with pytest.raises(UserError, match="unknown device"):
        device_named("gpu")


@pytest.mark.parametrize("name", FILES)
def test_trainings(name, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"spiritlm_{name}.py")
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, script)
    spec.loader.exec_module(script)
    files = [word for flag in FILES[name] for word in (flag, str(tmp_path / flag.strip("-")))]
    with pytest.raises(UserError, match="0 GPUs"):
        script.main([*files, "--device", "cuda"])
    assert not list(tmp_path.iterdir())
