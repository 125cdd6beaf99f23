"""Speech to style units at 1 Hz: a wav2vec 2.0 classifier over chunks of 50 frames (spiritlm 4).

The folder holds config.json and pytorch_model.bin or model.safetensors in Hugging Face form. Waveforms are brought to
mean 0 and variance 1, as the feature extractor of wav2vec2-base does; nothing is fetched. Units: ceil(T / 50) of the T
frames (50 a second), the last chunk may be shorter. The encoder's last state is taken, whatever use_weighted_layer_sum
says, as the published program takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from spire.errors import UserError
from spire.units.hubert import Hubert, HubertShape
from spire.units.hubert_encoder import normalize_wav
from spire.units.placement import place
from spire.units.weights import read_config
from spiritlm.hubert_engine import hubert_engine
from spiritlm.weight_files import HINT, fill, opened, tensors_in

FRAMES = 50  # a chunk: one second
_OLD_NAMES = {
    "conv.weight_g": "conv.parametrizations.weight.original0",
    "conv.weight_v": "conv.parametrizations.weight.original1",
}
_UNUSED = ("layer_weights", "masked_spec_embed", "wav2vec2.masked_spec_embed")


class StyleTokenizer:
    """The classifier of a folder, on `device`."""

    def __init__(self, folder: str | Path, device: str = "cpu", dtype: str = "float32"):
        _, where, numbers = place(nn.Identity(), device, dtype)
        config = read_config(folder) | {"model_type": "wav2vec2"}
        shape = HubertShape.from_config(config, str(Path(folder) / "config.json"))
        if shape.do_stable_layer_norm:
            raise UserError(f"{folder}: do_stable_layer_norm is not supported", hint="use a base-sized classifier")
        state = _state(folder)
        head = {name: state.pop(name) for name in list(state) if name.startswith(("projector.", "classifier."))}
        encoder = Hubert(shape, blank=True)
        state["masked_spec_embed"] = encoder.masked_spec_embed.detach()  # used in training only
        fill(encoder, state, folder)
        try:
            labels, inner = head["classifier.weight"].shape
        except (KeyError, ValueError) as e:
            raise UserError(f"{folder}: has no classifier", HINT) from e
        with torch.device("meta"):
            self.head = nn.ModuleDict(
                {"projector": nn.Linear(shape.hidden_size, inner), "classifier": nn.Linear(inner, labels)}
            )
        fill(self.head, head, folder)
        self.head.to(where)
        self.shape, self.labels, self.device = shape, labels, where
        self._engine = hubert_engine(encoder, where, numbers)

    @torch.inference_mode()
    def projected(self, wav: np.ndarray) -> torch.Tensor:
        """float32 [N] at 16 kHz to float32 [T, classifier_proj_size]."""
        return self.head["projector"](self._states([wav])[0].to(self.device))

    def _states(self, wavs: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """The encoder's last states [T, d] of each, which depend on it alone, but short ones share the reading of the
        weights."""
        found = [torch.zeros(0, self.shape.hidden_size) for _ in wavs]
        heard = [i for i, wav in enumerate(wavs) if self.shape.frames(len(wav))]
        for pack in packed(heard, [self.shape.frames(len(wavs[i])) for i in heard], self._engine.rows):
            states = self._engine.features([np.ascontiguousarray(normalize_wav(wavs[i])) for i in pack])
            for i, frames in zip(pack, states, strict=True):
                found[i] = torch.from_numpy(frames)
        return found

    def units(self, wav: np.ndarray) -> np.ndarray:
        """float32 [N] to int32 [ceil(T / 50)]."""
        return self.units_of_many([wav])[0]

    def units_of_many(self, wavs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`units` of each."""
        return list(map(self._classified, self._states(wavs)))

    @torch.inference_mode()
    def _classified(self, states: torch.Tensor) -> np.ndarray:
        # The projector is linear: the mean of its outputs is its output of the mean.
        means = [chunk.mean(dim=0) for chunk in states.split(FRAMES) if len(chunk)]
        if not means:
            return np.zeros(0, np.int32)
        projected = self.head["projector"](torch.stack(means).to(self.device))
        return self.head["classifier"](projected).argmax(dim=1).int().cpu().numpy()


def packed(items: Sequence[int], sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Successive items of at most `most` together; a larger one by itself."""
    pack: list[int] = []
    held = 0
    for item, size in zip(items, sizes, strict=True):
        if pack and held + size > most:
            yield pack
            pack, held = [], 0
        pack.append(item)
        held += size
    if pack:
        yield pack


def _state(folder: str | Path) -> dict[str, torch.Tensor]:
    """The tensors in the names of `Hubert`, and those of the head in their own."""
    single = Path(folder) / "model.safetensors"
    if single.is_file():
        try:
            tensors = {name: value.float() for name, value in load_file(single).items()}
        except (OSError, SafetensorError) as e:
            raise UserError(f"{single}: cannot be read: {e}", HINT) from e
    else:
        with opened(Path(folder) / "pytorch_model.bin") as file:
            tensors = tensors_in(file, file.root)
    found = {}
    for name, value in tensors.items():
        if name in _UNUSED:
            continue
        for old, new in _OLD_NAMES.items():
            name = name.replace(old, new)
        found[name.removeprefix("wav2vec2.")] = value
    return found
