"""HuBERT: same parameter names, files and numbers as `transformers.HubertModel`, without its import time.

Supported: every HuBERT or wav2vec 2.0 (the same network) in Hugging Face form with gelu and LayerNorm or GroupNorm
convolutions, pre-norm (large) or post-norm (base). `Hubert.layer` gives the residual stream after a layer, without the
final norm: SPIRE's features. Frames of a padded batch equal those of the utterance alone (LayerNorm convolutions only:
GroupNorm averages over time, so such models must get one utterance at a time). This module is for training and as the
plain form of the network; `hubert_cpu` and `hubert_cuda` compute features faster.

Convolutions run as matrix products on [batch, time, channels]: LayerNorm over channels needs no transposing then,
which halves the time of a training step on one CPU core.
"""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from spire.errors import UserError
from spire.units.products import Linear
from spire.units.weights import HINT, load_weights, read_config, weight_files


@dataclass(frozen=True)
class HubertShape:
    """The sizes of a HuBERT, named as in its config.json."""

    hidden_size: int = 128
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    intermediate_size: int = 512
    conv_dim: tuple[int, ...] = (16, 24, 32, 48, 64, 64, 64)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = True
    num_conv_pos_embeddings: int = 32
    num_conv_pos_embedding_groups: int = 16
    feat_extract_norm: str = "layer"
    do_stable_layer_norm: bool = True
    feat_proj_layer_norm: bool = True
    layer_norm_eps: float = 1e-5
    model_type: str = "hubert"

    @classmethod
    def from_config(cls, config: dict, where: str = "config") -> HubertShape:
        """From a config.json's content; UserError for an architecture this file does not compute."""
        needed = {
            "model_type": ("hubert", "wav2vec2"),
            "feat_extract_norm": ("layer", "group"),
            "hidden_act": ("gelu",),
            "feat_extract_activation": ("gelu",),
            "conv_pos_batch_norm": (False,),
        }
        for key, allowed in needed.items():
            value = config.get(key, allowed[0])
            if value not in allowed:
                raise UserError(f"{where}: {key} is {value!r}, not one of {allowed}", hint="use another HuBERT")
        known = {key: config[key] for key in cls.__dataclass_fields__ if key in config}
        shape = cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in known.items()})
        lengths = {len(shape.conv_dim), len(shape.conv_kernel), len(shape.conv_stride)}
        if len(lengths) != 1 or shape.hidden_size % shape.num_attention_heads:
            hint = "conv_* need one length; num_attention_heads must divide hidden_size"
            raise UserError(f"{where}: sizes do not fit together", hint)
        return shape

    def frames(self, samples: int) -> int:
        """Frames that the convolutions make of so many samples (0 when too few for one)."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples

    def samples(self, frames: int) -> int:
        """The fewest samples that make so many frames."""
        for kernel, stride in zip(self.conv_kernel[::-1], self.conv_stride[::-1], strict=True):
            frames = (frames - 1) * stride + kernel
        return frames


class _Conv(nn.Module):
    def __init__(self, shape: HubertShape, i: int):
        super().__init__()
        inputs, kernel, stride = shape.conv_dim[i - 1] if i else 1, shape.conv_kernel[i], shape.conv_stride[i]
        self.conv = nn.Conv1d(inputs, shape.conv_dim[i], kernel, stride, bias=shape.conv_bias)
        self.group_norm = shape.feat_extract_norm == "group"
        if not self.group_norm:
            self.layer_norm = nn.LayerNorm(shape.conv_dim[i], eps=1e-5)
        elif i == 0:
            self.layer_norm = nn.GroupNorm(shape.conv_dim[0], shape.conv_dim[0], eps=1e-5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, C] to [B, T', C']."""
        x = _strided_product(x, self.conv.weight, self.conv.bias, self.conv.stride[0])
        if not self.group_norm:
            x = self.layer_norm(x)
        elif hasattr(self, "layer_norm"):
            x = self.layer_norm(x.transpose(1, 2)).transpose(1, 2)
        return F.gelu(x)


def _strided_product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int) -> torch.Tensor:
    """Convolution without padding of [B, T, C] as one matrix product, weight [C', C, kernel]."""
    batch, time, channels = x.shape
    kernel = weight.shape[2]
    frames = (time - kernel) // stride + 1
    parts = []
    # A frame's samples are its own block of `stride` and as much of the following blocks as the kernel reaches.
    for first in range(0, kernel, stride):
        block = x[:, first : first + frames * stride]
        if block.shape[1] < frames * stride:
            block = F.pad(block, (0, 0, 0, frames * stride - block.shape[1]))
        width = min(stride, kernel - first)
        parts.append(block.reshape(batch, frames, stride * channels)[:, :, : width * channels])
    columns = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return F.linear(columns, weight.permute(0, 2, 1).reshape(weight.shape[0], kernel * channels), bias)


class _Attention(nn.Module):
    def __init__(self, shape: HubertShape):
        super().__init__()
        d = shape.hidden_size
        self.heads = shape.num_attention_heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (Linear(d, d) for _ in range(4))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        batch, time, d = x.shape
        q, k, v = (
            projection(x).view(batch, time, self.heads, d // self.heads).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, time, d))


class _FeedForward(nn.Module):
    def __init__(self, shape: HubertShape):
        super().__init__()
        self.intermediate_dense = Linear(shape.hidden_size, shape.intermediate_size)
        self.output_dense = Linear(shape.intermediate_size, shape.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output_dense(F.gelu(self.intermediate_dense(x)))


class _Layer(nn.Module):
    def __init__(self, shape: HubertShape):
        super().__init__()
        self.pre_norm = shape.do_stable_layer_norm
        self.attention = _Attention(shape)
        self.layer_norm = nn.LayerNorm(shape.hidden_size, eps=shape.layer_norm_eps)
        self.feed_forward = _FeedForward(shape)
        self.final_layer_norm = nn.LayerNorm(shape.hidden_size, eps=shape.layer_norm_eps)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if self.pre_norm:
            x = x + self.attention(self.layer_norm(x), mask)
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + self.attention(x, mask))
        return self.final_layer_norm(x + self.feed_forward(x))


class _PositionalConv(nn.Module):
    def __init__(self, shape: HubertShape):
        super().__init__()
        kernel = shape.num_conv_pos_embeddings
        self.even = kernel % 2 == 0
        conv = nn.Conv1d(
            shape.hidden_size,
            shape.hidden_size,
            kernel,
            padding=kernel // 2,
            groups=shape.num_conv_pos_embedding_groups,
        )
        nn.init.normal_(conv.weight, std=2 / (kernel * shape.hidden_size) ** 0.5)
        nn.init.zeros_(conv.bias)
        self.conv = nn.utils.parametrizations.weight_norm(conv, name="weight", dim=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x.transpose(1, 2))
        return F.gelu(y[:, :, :-1] if self.even else y).transpose(1, 2)


class Hubert(nn.Module):
    """The model; parameters carry the names of transformers.HubertModel."""

    def __init__(self, shape: HubertShape, blank: bool = False):
        """`blank` leaves the layers without memory, for `load_weights` to fill."""
        super().__init__()
        self.shape = shape
        d, channels = shape.hidden_size, shape.conv_dim[-1]
        self.masked_spec_embed = nn.Parameter(torch.empty(d).uniform_())
        self.feature_extractor = nn.Module()
        self.feature_extractor.conv_layers = nn.ModuleList(_Conv(shape, i) for i in range(len(shape.conv_dim)))
        self.feature_projection = nn.Module()
        if shape.feat_proj_layer_norm:
            self.feature_projection.layer_norm = nn.LayerNorm(channels, eps=shape.layer_norm_eps)
        self.feature_projection.projection = Linear(channels, d)
        self.encoder = nn.Module()
        self.encoder.pos_conv_embed = _PositionalConv(shape)
        self.encoder.layer_norm = nn.LayerNorm(d, eps=shape.layer_norm_eps)
        with torch.device("meta") if blank else nullcontext():
            self.encoder.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.num_hidden_layers))

    def frames(self, wav: torch.Tensor) -> torch.Tensor:
        """Normalized samples [B, N] to projected convolution outputs [B, T, d]."""
        x = wav[:, :, None]
        for conv in self.feature_extractor.conv_layers:
            x = conv(x)
        if self.shape.feat_proj_layer_norm:
            x = self.feature_projection.layer_norm(x)
        return self.feature_projection.projection(x)

    def layer(self, frames: torch.Tensor, layer: int, valid: torch.Tensor | None = None) -> torch.Tensor:
        """[B, T, d] of `frames` to the residual stream [B, T, d] after `layer` layers, before any final norm.

        `valid` [B, T] bool is False on padding; each row needs a valid frame. Values on padding mean nothing.
        """
        mask = None
        if valid is not None:
            frames = frames * valid.unsqueeze(2)
            mask = valid[:, None, None, :]
        x = frames + self.encoder.pos_conv_embed(frames)
        if not self.shape.do_stable_layer_norm:
            x = self.encoder.layer_norm(x)
        for block in self.encoder.layers[:layer]:
            x = block(x, mask)
        return x


def load_hubert(folder: str | Path, layers: int | None = None) -> Hubert:
    """The model of a Hugging Face folder in float32, eval mode, with the first `layers` layers only.

    UserError when files are missing or broken, tensors are missing, misshapen or not finite, or layers are fewer.
    """
    config = read_config(folder)
    if config.get("num_hidden_layers", 0) < (layers or 0):
        raise UserError(f"{folder}: layer {layers} of {config.get('num_hidden_layers')}", hint="lower --layer")
    stored = _stored_names(folder)
    # Published configs disagree with their checkpoints about convolution biases: the tensors decide.
    config["conv_bias"] = "feature_extractor.conv_layers.0.conv.bias" in stored
    if layers is not None:
        config["num_hidden_layers"] = layers
    model = Hubert(HubertShape.from_config(config, str(Path(folder) / "config.json")), blank=True)
    if "masked_spec_embed" not in stored:
        # Only training uses it; checkpoints made for inference may lack it.
        del model.masked_spec_embed
    load_weights(model, folder, _current_name)
    for name, parameter in model.named_parameters():
        # Loaded tensors are views of the mapped file; only the layers, which engines release, may stay so.
        if not name.startswith("encoder.layers."):
            parameter.data = parameter.data.clone()
    return model


def _stored_names(folder: str | Path) -> set[str]:
    names: set[str] = set()
    try:
        for path in weight_files(folder):
            with safe_open(path, framework="pt") as file:
                names.update(map(_current_name, file.keys()))
    except (OSError, SafetensorError) as e:
        raise UserError(f"{folder}: cannot be read: {e}", HINT) from e
    return names


def _current_name(key: str) -> str:
    """Models with a head prefix their encoder; weight normalization was stored as weight_g and weight_v once."""
    return (
        key.removeprefix("hubert.")
        .removeprefix("wav2vec2.")
        .replace("conv.weight_g", "conv.parametrizations.weight.original0")
        .replace("conv.weight_v", "conv.parametrizations.weight.original1")
    )


def save_hubert(model: Hubert, folder: Path, extra_files: dict[str, str] | None = None) -> None:
    """Write a Hugging Face folder (config, weights, preprocessor, `extra_files`); it appears whole or not at all."""
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    shape = asdict(model.shape)
    config = shape | {
        "architectures": ["HubertModel" if model.shape.model_type == "hubert" else "Wav2Vec2Model"],
        "hidden_act": "gelu",
        "feat_extract_activation": "gelu",
        "num_feat_extract_layers": len(model.shape.conv_dim),
        "apply_spec_augment": False,
        "conv_pos_batch_norm": False,
        "dtype": "float32",
        "vocab_size": 32,
    }
    preprocessor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": 16_000,
        "do_normalize": True,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    }
    texts = {"config.json": config, "preprocessor_config.json": preprocessor}
    texts = {name: json.dumps(value, indent=2, sort_keys=True) + "\n" for name, value in texts.items()}
    for name, text in (texts | (extra_files or {})).items():
        (partial / name).write_text(text, encoding="utf-8")
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if folder.exists():
        raise UserError(f"{folder}: already exists and is not empty", hint="move it away or choose another --out")
    os.replace(partial, folder)
