"""Trained parts put together in the layout of the release, so that the public interface opens them.

Guarantee: the folder appears whole; its files are copies, so what it was made of may change or go. Formats: spiritlm 2
to 7, read by `spiritlm_base(folder=...)`, `spiritlm_expressive(folder=...)` and `Spiritlm(path)`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spire.errors import UserError
from spire.files import replaced_folder
from spiritlm import checkpoints

BASE, EXPRESSIVE = "spirit-lm-base-7b", "spirit-lm-expressive-7b"
"""Names under which the release has the models; `Spiritlm` takes them."""


@dataclass(frozen=True)
class Parts:
    """What was trained. Files: `hubert`, `quantizer`; folders: all others. `models` maps a name to its folder; what is
    None is left out."""

    hubert: Path
    quantizer: Path
    vocoder_base: Path | None = None
    vocoder_expressive: Path | None = None
    pitch: Path | None = None
    style: Path | None = None
    models: Mapping[str, Path] = field(default_factory=dict)


def assemble(parts: Parts, target: str | Path) -> list[str]:
    """Copy the parts to their places below `target`; return the names of the places, in the order of the layout.

    `UserError`, before anything is copied: a part that is not there, or is a file where a folder is meant or the other
    way round.
    """
    files = {checkpoints.HUBERT: parts.hubert, checkpoints.QUANTIZER: parts.quantizer}
    folders = {
        checkpoints.PITCH: parts.pitch,
        checkpoints.STYLE: parts.style,
        checkpoints.VOCODER_BASE: parts.vocoder_base,
        checkpoints.VOCODER_EXPRESSIVE: parts.vocoder_expressive,
        **{f"{checkpoints.MODELS}/{name}": folder for name, folder in parts.models.items()},
    }
    folders = {place: Path(folder) for place, folder in folders.items() if folder is not None}
    for place, path in files.items():
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file, for {place}", "run the task that makes it")
    for place, path in folders.items():
        if not path.is_dir() or not any(path.iterdir()):
            raise UserError(f"{path}: no folder with files, for {place}", "run the task that makes it")
    with replaced_folder(target) as partial:
        for place, path in files.items():
            (partial / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, partial / place)
        for place, path in folders.items():
            shutil.copytree(path, partial / place, copy_function=shutil.copyfile)
    return [*files, *folders]
