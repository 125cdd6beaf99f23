"""Writes a vocoder's folder as the release has them: config.json, generator.pt, speakers.txt, styles.txt (spiritlm 6).

`spiritlm.vocoder.vocoder.Vocoder` opens what is written, and so does what opens the released ones: generator.pt is a
torch.save dictionary of tensors under "generator", with the weight normalization as NAME.weight_g and NAME.weight_v.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from spiritlm.vocoder.recipe import Recipe
from spiritlm.vocoder.trained import TrainedVocoder

_NORMALIZED = {"original0": "weight_g", "original1": "weight_v"}


def released_tensors(model: TrainedVocoder) -> dict[str, torch.Tensor]:
    """The state under the names of the release, float32 on the CPU."""
    found = {}
    for key, value in model.state_dict().items():
        if key.startswith("envelope."):
            continue
        name = key.removeprefix("tables.").removeprefix("generator.")
        if ".parametrizations.weight." in name:
            module, _, part = name.partition(".parametrizations.weight.")
            name = f"{module}.{_NORMALIZED[part]}"
        found[name] = value.detach().cpu().clone()
    return found


def write_vocoder(
    folder: Path, model: TrainedVocoder, recipe: Recipe, speakers: Sequence[str], styles: Sequence[str]
) -> None:
    """Write into the existing `folder`. The names of speakers and styles stand in the order of their rows; a vocoder
    without styles gets none."""
    expressive = "f0_dict" in model.tables
    config = recipe.released_config(expressive, len(speakers), len(styles))
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    torch.save({"generator": released_tensors(model)}, folder / "generator.pt")
    for name, lines in (("speakers", speakers), ("styles", () if expressive else styles)):
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
