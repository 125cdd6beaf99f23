"""Whisper's encoder: parameter names, files and numbers of `transformers.WhisperModel.encoder`.

A layer's `final_layer_norm` is the norm before its feed-forward block, in spite of its name, and stays whatever layer
is the last kept (spirelm 3.2 tells of a program that dropped it). The decoder is never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from spire.errors import UserError
from spire.units.weights import load_weights, read_config, require, sizes

NEEDED = {"model_type": ("whisper",), "activation_function": ("gelu",)}
SIZES = {
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
}


@dataclass(frozen=True)
class WhisperShape:
    """The sizes of a Whisper's encoder, named as in its config.json."""

    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    num_mel_bins: int
    max_source_positions: int

    @classmethod
    def from_config(cls, config: dict, folder: str | Path) -> WhisperShape:
        """From a config.json's content; UserError for an architecture this file does not compute."""
        require(config, NEEDED, f"{folder}/config.json")
        shape = cls(**sizes(config, SIZES, folder))
        if shape.d_model % shape.encoder_attention_heads:
            raise UserError(f"{folder}/config.json: encoder_attention_heads must divide d_model", "check the file")
        return shape


class _Attention(nn.Module):
    def __init__(self, shape: WhisperShape):
        super().__init__()
        d, self.heads = shape.d_model, shape.encoder_attention_heads
        self.k_proj = nn.Linear(d, d, bias=False)
        self.v_proj, self.q_proj, self.out_proj = (nn.Linear(d, d) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, d = x.shape
        q, k, v = (
            projection(x).view(batch, time, self.heads, d // self.heads).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, time, d))


class _Layer(nn.Module):
    def __init__(self, shape: WhisperShape):
        super().__init__()
        self.self_attn = _Attention(shape)
        self.self_attn_layer_norm = nn.LayerNorm(shape.d_model)
        self.fc1 = nn.Linear(shape.d_model, shape.encoder_ffn_dim)
        self.fc2 = nn.Linear(shape.encoder_ffn_dim, shape.d_model)
        self.final_layer_norm = nn.LayerNorm(shape.d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class Whisper(nn.Module):
    """The encoder up to its last kept layer, and the `layer_norm` that follows the layers."""

    def __init__(self, shape: WhisperShape):
        super().__init__()
        self.shape = shape
        d = shape.d_model
        self.conv1 = nn.Conv1d(shape.num_mel_bins, d, 3, padding=1)
        self.conv2 = nn.Conv1d(d, d, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(shape.max_source_positions, d)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.encoder_layers))
        self.layer_norm = nn.LayerNorm(d)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """[B, mels, 2 * max_source_positions] to the residual stream [B, max_source_positions, d] after the last
        layer, before `layer_norm`."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mels)))).transpose(1, 2)
        x = x + self.embed_positions.weight
        for layer in self.layers:
            x = layer(x)
        return x


def load_whisper(folder: str | Path, layers: int) -> Whisper:
    """The encoder of a Hugging Face folder, its first `layers` layers, in float32, eval mode; UserError when it has
    fewer, or files are missing, broken, or of another architecture."""
    config = read_config(folder)
    shape = WhisperShape.from_config(config, folder)
    if layers > shape.encoder_layers:
        raise UserError(f"{folder}: layer {layers} of {shape.encoder_layers}", hint="lower --layer")
    with torch.device("meta"):
        model = Whisper(WhisperShape.from_config(config | {"encoder_layers": layers}, folder))
    load_weights(model, folder, lambda key: key.removeprefix("model.").removeprefix("encoder."))
    return model
