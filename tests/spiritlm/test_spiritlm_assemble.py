"""Parts put together: the public interface opens them; nothing is left of a failure."""

from __future__ import annotations

import pytest
from spiritlm_checkpoints import write_checkpoints

from spire.errors import UserError
from spiritlm import checkpoints
from spiritlm.assemble import BASE, Parts, assemble


def parts_of(folder) -> Parts:
    root = write_checkpoints(folder)
    (root / "lm").mkdir()
    (root / "lm" / "config.json").write_text("{}")
    return Parts(
        hubert=root / checkpoints.HUBERT,
        quantizer=root / checkpoints.QUANTIZER,
        pitch=root / checkpoints.PITCH,
        style=root / checkpoints.STYLE,
        vocoder_base=root / checkpoints.VOCODER_BASE,
        vocoder_expressive=root / checkpoints.VOCODER_EXPRESSIVE,
        models={BASE: root / "lm"},
    )


def test_the_layout_is_that_of_the_release(tmp_path):
    parts = parts_of(tmp_path / "parts")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "older").write_text("")
    places = assemble(parts, tmp_path / "out")
    assert places[:2] == [checkpoints.HUBERT, checkpoints.QUANTIZER] and places[-1] == f"spiritlm_model/{BASE}"
    assert all((tmp_path / "out" / place).exists() for place in places) and not (tmp_path / "out/older").exists()
    for place in places[2:-1]:
        theirs = {path.name: path.read_bytes() for path in (tmp_path / "parts" / place).iterdir()}
        assert {path.name: path.read_bytes() for path in (tmp_path / "out" / place).iterdir()} == theirs
    assert checkpoints.checkpoint(f"spiritlm_model/{BASE}", tmp_path / "out").is_dir()


def test_parts_that_are_left_out(tmp_path):
    parts = parts_of(tmp_path / "parts")
    assert assemble(Parts(parts.hubert, parts.quantizer), tmp_path / "out") == [
        checkpoints.HUBERT,
        checkpoints.QUANTIZER,
    ]
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoints.checkpoint(checkpoints.VOCODER_BASE, tmp_path / "out")


@pytest.mark.parametrize("broken", ["file", "folder"])
def test_a_missing_part_leaves_nothing(tmp_path, broken):
    parts = parts_of(tmp_path / "parts")
    if broken == "file":
        parts.quantizer.unlink()
    else:
        (parts.vocoder_base / "generator.pt").rename(tmp_path / "elsewhere")
        for path in parts.vocoder_base.iterdir():
            path.unlink()
    with pytest.raises(UserError, match="no such file" if broken == "file" else "no folder with files"):
        assemble(parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()
