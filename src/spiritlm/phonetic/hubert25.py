"""The 25 Hz HuBERT of SpiRit-LM: features [T, d] after a layer, from the published file `mhubert_base_25hz.pt`.

The file holds `model_cfg`, `task_cfg` and `model_weight` in fairseq's names (spiritlm 2.1); sizes, strides and norms
are read from it, none is assumed. Features of a waveform depend on it alone: its group norm couples all frames, so
nothing is ever padded. T = floor((N - 80) / 640) for the published stack of convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from spire.errors import UserError
from spire.foreign.fairseq import WAVEFORM_EPS, read_fairseq
from spire.units.hubert import Hubert, HubertShape
from spire.units.hubert_encoder import normalize_wav
from spire.units.placement import place
from spiritlm.hubert_engine import hubert_engine
from spiritlm.weight_files import HINT, fill, opened, settings_of, tensors_in

LAYER = 11
CONVOLUTIONS = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 3"  # where a file does not say (spiritlm 2.1, inferred)


class Hubert25:
    """Features after `layer` (1-based, behind its final norm) of the checkpoint at `path`, on `device`. Without
    `layer`, it is the one that the file names (`output_layer`, in files trained here), else 11."""

    def __init__(self, path: str | Path, layer: int | None = None, device: str = "cpu", dtype: str = "float32"):
        _, where, numbers = place(nn.Identity(), device, dtype)
        model, self.normalize = _load(path, layer)
        self.shape, self.dim = model.shape, model.shape.hidden_size
        self._engine = hubert_engine(model, where, numbers)

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return int(np.prod(self.shape.conv_stride))

    def features(self, wavs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [N] at 16 kHz to float32 [T, d] each; [0, d] where a waveform is too short for a frame."""
        results = [np.zeros((0, self.dim), np.float32) for _ in wavs]
        pack: list[int] = []
        held = 0
        for i, wav in enumerate(wavs):
            frames = self.shape.frames(len(wav))
            if held + frames > self._engine.rows and pack:
                self._run(wavs, pack, results)
                pack, held = [], 0
            if frames:
                pack.append(i)
                held += frames
        if pack:
            self._run(wavs, pack, results)
        return results

    def _run(self, wavs: Sequence[np.ndarray], pack: list[int], results: list[np.ndarray]) -> None:
        eps = WAVEFORM_EPS if self.normalize else None
        ready = [np.ascontiguousarray(normalize_wav(wavs[i], eps)) for i in pack]
        for i, found in zip(pack, self._engine.features(ready), strict=True):
            results[i] = found


def _load(path: str | Path, layer: int | None) -> tuple[Hubert, bool]:
    """The first `layer` layers in evaluation mode, and whether waveforms are normalized."""
    with opened(path, "model_cfg", "task_cfg", "model_weight") as file:
        model, task = settings_of(file, "model_cfg"), settings_of(file, "task_cfg")
        model.setdefault("conv_feature_layers", CONVOLUTIONS)
        if task.get("sample_rate", 16_000) != 16_000:
            raise UserError(f"{path}: made for {task['sample_rate']} samples a second, not 16000", HINT)
        content = {"cfg": {"model": model, "task": task}, "model": file.root["model_weight"]}
        found = read_fairseq(SimpleNamespace(where=file.where, root=content))
        layers = found.config["num_hidden_layers"]
        layer = layer or model.get("output_layer") or LAYER
        if type(layer) is not int or not 1 <= layer <= layers:
            raise UserError(f"{path}: layer {layer} of {layers}", hint="SpiRit-LM takes layer 11")
        shape = HubertShape.from_config(found.config | {"num_hidden_layers": layer}, file.where)
        hubert = Hubert(shape, blank=True)
        wanted = hubert.state_dict()
        tensors = tensors_in(file, {name: value for name, value in found.tensors.items() if name in wanted})
    if "masked_spec_embed" not in tensors:
        tensors["masked_spec_embed"] = torch.zeros(shape.hidden_size)  # used in training only
    fill(hubert, tensors, path)
    return hubert, found.normalize
