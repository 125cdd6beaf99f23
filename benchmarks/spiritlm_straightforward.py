"""SpiRit-LM's tokenizers and vocoder as one writes them with PyTorch's own layers: each file alone, as a whole.

Convolutions by nn.Conv1d, attention by scaled_dot_product_attention, inference mode, no weight normalization left. In
bfloat16 by torch.autocast, with the weights of linear layers and convolutions rounded once; pitch stays float32.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from spire.units.hubert import Hubert, HubertShape
from spire.units.hubert_encoder import normalize_wav
from spiritlm.phonetic.hubert25 import LAYER
from spiritlm.pitch.fcpe import Network, bundled_weights, network_tensors
from spiritlm.style_training import StyleNetwork
from spiritlm.vocoder.generator import Generator, GeneratorShape


def make_straightforward(
    tokenizer,
    states: dict[str, dict],
    encoders: dict[str, HubertShape],
    voice: GeneratorShape,
    head: tuple[int, int],
    device: str,
    bfloat16: bool,
) -> None:
    """Give the tokenizer plain modules with `states` (hubert, style, generator), the shapes of its `encoders` (hubert,
    style), of its vocoder and the style classifier's projection and number of styles."""

    def ready(module: nn.Module, state: dict, rounded: bool) -> nn.Module:
        module.load_state_dict(state)
        for part in module.modules():
            if nn.utils.parametrize.is_parametrized(part):
                nn.utils.parametrize.remove_parametrizations(part, "weight")
            if rounded and isinstance(part, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
                part.to(torch.bfloat16)  # else autocast rounds them again for every file
        return module.eval().requires_grad_(False).to(device)

    def states_of(model: Hubert, wav: np.ndarray, layers: int) -> torch.Tensor:
        x = torch.from_numpy(wav)[None, None].to(device)
        for conv in model.feature_extractor.conv_layers:
            x = conv.conv(x)
            x = F.gelu(conv.layer_norm(x) if hasattr(conv, "layer_norm") else x)
        projection = model.feature_projection
        return model.layer(projection.projection(projection.layer_norm(x.transpose(1, 2))), layers)

    hubert = ready(Hubert(encoders["hubert"]), states["hubert"], bfloat16)
    style = ready(StyleNetwork(Hubert(encoders["style"]), *head), states["style"], bfloat16)
    generator = ready(Generator(voice), states["generator"], bfloat16)
    autocast = partial(torch.autocast, torch.device(device).type, torch.bfloat16, enabled=bfloat16)

    @torch.inference_mode()
    def features(wavs: list[np.ndarray]) -> list[np.ndarray]:
        with autocast():
            return [states_of(hubert, wav, LAYER)[0].float().cpu().numpy() for wav in wavs]

    @torch.inference_mode()
    def style_units(wav: np.ndarray) -> np.ndarray:
        with autocast():
            projected = style.projector(states_of(style.wav2vec2, normalize_wav(wav), 12))[0]
            means = torch.stack([chunk.mean(dim=0) for chunk in projected.split(50)])
            return style.classifier(means).argmax(dim=1).cpu().numpy()

    def samples(x: torch.Tensor) -> torch.Tensor:
        with autocast():
            return generator(x)

    tokenizer.hubert.features = features
    tokenizer.style.units = style_units
    tokenizer.style.units_of_many = lambda wavs: list(map(style_units, wavs))
    weights = network_tensors(bundled_weights())
    del weights["cent_table"]
    tokenizer.pitch._fcpe.network = ready(Network(), weights, False)
    del tokenizer.vocoder.generator
    tokenizer.vocoder.generator = samples
