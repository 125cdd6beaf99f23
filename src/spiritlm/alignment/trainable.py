"""A HuBERT or wav2vec 2.0 with a CTC head while it is trained from random weights, and how it is written.

`save` writes a Hugging Face folder (config, weights, vocabulary, preprocessor) that transformers opens as
`HubertForCTC` or `Wav2Vec2ForCTC`, and `ctc_model.CtcModel` computes with the same numbers.

A first convolution with 4 channels to a band begins as a bank of filters: bands as wide and as far apart as on the mel
scale, each as cosine and sine with either sign, whose gelu adds up to the strength of the band. Training is then spared
the hundreds of updates in which random filters turn into such a bank.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from spire.errors import UserError
from spire.files import free_directory, replaced_folder
from spire.units.hubert import Hubert, HubertShape
from spire.units.products import Linear
from spiritlm.alignment.convolution import RoundedConvolution
from spiritlm.alignment.letters import Letters

RATE = 16_000
LOWEST, HIGHEST = 100.0, 7500.0  # Hz, of the bank
EMPHASIS = 0.8  # power of the frequency that a band's gain follows: speech falls by about 6 dB an octave


class TrainableCtc(nn.Module):
    """Encoder and head; `letters` says what the classes are."""

    def __init__(self, shape: HubertShape, letters: Letters, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.encoder, self.letters = Hubert(shape), letters
        self.head = Linear(shape.hidden_size, letters.size)
        _initialize(self)

    def forward(self, wav: torch.Tensor, frames: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """Normalized samples [B, N], of which `frames` [B] frames count, to log-probabilities float32 [B, T, classes].
        Frames where `hidden` [B, T] bool is true are masked, as in pretraining."""
        x = self._frames(wav)
        if hidden is not None:
            x = torch.where(hidden[:, :, None], self.encoder.masked_spec_embed, x)
        valid = torch.arange(x.shape[1], device=x.device)[None] < frames[:, None]
        x = self.encoder.layer(x, self.encoder.shape.num_hidden_layers, valid)
        if self.encoder.shape.do_stable_layer_norm:
            x = self.encoder.encoder.layer_norm(x)
        return self.head(x).float().log_softmax(dim=-1)

    def _frames(self, wav: torch.Tensor) -> torch.Tensor:
        """`Hubert.frames`, in bfloat16 where the linear layers are (`spire.units.products.set_product_dtype`)."""
        encoder = self.encoder
        if self.head.dtype == torch.float32:
            return encoder.frames(wav)
        x = wav[:, :, None]
        for layer in encoder.feature_extractor.conv_layers:
            conv = layer.conv
            x = RoundedConvolution.apply(x, conv.weight, conv.bias, conv.stride[0])
            x = F.gelu(layer.layer_norm(x))
        if encoder.shape.feat_proj_layer_norm:
            x = encoder.feature_projection.layer_norm(x)
        return encoder.feature_projection.projection(x)

    def save(self, folder: str | Path, extra_files: dict[str, str] | None = None) -> None:
        """Write the folder; it appears whole or not at all. UserError when there is something at `folder`."""
        folder = free_directory(folder)
        kind = self.encoder.shape.model_type
        config = asdict(self.encoder.shape) | {
            "architectures": ["HubertForCTC" if kind == "hubert" else "Wav2Vec2ForCTC"],
            "vocab_size": self.letters.size,
            "pad_token_id": self.letters.blank,
            "ctc_loss_reduction": "mean",
            "ctc_zero_infinity": True,
            "hidden_act": "gelu",
            "feat_extract_activation": "gelu",
            "num_feat_extract_layers": len(self.encoder.shape.conv_dim),
            "apply_spec_augment": False,
            "conv_pos_batch_norm": False,
            "dtype": "float32",
        }
        preprocessor = {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "sampling_rate": RATE,
            "do_normalize": True,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
        }
        described = {"config.json": config, "preprocessor_config.json": preprocessor}
        texts = {name: json.dumps(value, indent=2, sort_keys=True) + "\n" for name, value in described.items()}
        tensors = {f"{kind}.{name}": value for name, value in self.encoder.state_dict().items()}
        tensors |= {f"lm_head.{name}": value for name, value in self.head.state_dict().items()}
        with replaced_folder(folder) as partial:
            for name, text in (texts | self.letters.files() | (extra_files or {})).items():
                (partial / name).write_text(text, encoding="utf-8")
            tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
            save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})


def check_shape(shape: HubertShape) -> None:
    """UserError for sizes that cannot be trained in padded batches."""
    if shape.feat_extract_norm != "layer":
        hint = 'feat_extract_norm "layer": group norm averages over time, also over padding'
        raise UserError(f"feat_extract_norm {shape.feat_extract_norm!r} cannot be trained in batches", hint)


def _initialize(model: TrainableCtc) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02 if module.in_features != module.out_features else 0.05)
            nn.init.zeros_(module.bias)
    encoder, shape = model.encoder, model.encoder.shape
    convs = [layer.conv for layer in encoder.feature_extractor.conv_layers]
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    nn.init.normal_(encoder.feature_projection.projection.weight, std=shape.conv_dim[-1] ** -0.5)
    if shape.conv_kernel[0] >= 160 and shape.conv_dim[0] % 4 == 0:
        with torch.no_grad():
            convs[0].weight.copy_(torch.from_numpy(filter_bank(shape.conv_dim[0] // 4, shape.conv_kernel[0]))[:, None])
            if len(convs) > 1:
                # The same weight for the four channels of a band.
                weight = convs[1].weight
                bands = torch.randn(weight.shape[0], weight.shape[1] // 4, 1, weight.shape[2])
                spread = bands.expand(-1, -1, 4, -1).reshape(weight.shape)
                weight.copy_(spread * (2 / (weight.shape[1] * weight.shape[2])) ** 0.5)


def filter_bank(bands: int, width: int) -> np.ndarray:
    """float32 [4 bands, width]: windowed cosines and sines with either sign at 16 kHz, low bands first."""
    mels = np.linspace(_mel(LOWEST), _mel(HIGHEST), bands)
    centres = 700.0 * np.expm1(mels / 1127.0)
    spacing = np.gradient(centres) if bands > 1 else np.array([1000.0])
    times = np.arange(width) - (width - 1) / 2
    filters = []
    for centre, distance in zip(centres, spacing, strict=True):
        deviation = min(width / 6, 0.8 * RATE / (2 * np.pi * distance))
        envelope = np.exp(-0.5 * (times / deviation) ** 2) * np.hanning(width)
        for phase in (0.0, np.pi, np.pi / 2, -np.pi / 2):
            wave = envelope * np.cos(2 * np.pi * centre / RATE * times + phase)
            filters.append(wave / np.linalg.norm(wave) * (centre / 1000.0) ** EMPHASIS)
    return np.array(filters, np.float32)


def _mel(hertz: float) -> float:
    return 1127.0 * float(np.log1p(hertz / 700.0))
