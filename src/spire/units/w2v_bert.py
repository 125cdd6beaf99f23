"""w2v-BERT 2.0's encoder: parameter names, files and numbers of `transformers.Wav2Vec2BertModel`.

A conformer with causal depthwise convolutions and attention biased by the clipped distance of two frames. Frames of a
padded batch equal those of the utterance alone: attention does not see padding, and nothing else looks to the right.
Memory of attention grows with T, not with its square: queries come in blocks of 256.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from spire.errors import UserError
from spire.units.weights import load_weights, read_config, require, sizes

_QUERIES = 256

NEEDED = {
    "model_type": ("wav2vec2-bert",),
    "hidden_act": ("swish", "silu"),
    "position_embeddings_type": ("relative_key",),
    "feature_projection_input_dim": (160,),
}
SIZES = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "left_max_position_embeddings": 64,
    "right_max_position_embeddings": 8,
    "conv_depthwise_kernel_size": 31,
}


@dataclass(frozen=True)
class W2vBertShape:
    """The sizes of a w2v-BERT, named as in its config.json."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    left_max_position_embeddings: int
    right_max_position_embeddings: int
    conv_depthwise_kernel_size: int
    layer_norm_eps: float
    feature_projection_input_dim: int = 160

    @classmethod
    def from_config(cls, config: dict, folder: str | Path) -> W2vBertShape:
        """From a config.json's content; UserError for an architecture this file does not compute."""
        require(config, NEEDED, f"{folder}/config.json")
        eps = config.get("layer_norm_eps", 1e-5)
        if not isinstance(eps, float) or not 0 < eps < 1:
            raise UserError(f"{folder}/config.json: layer_norm_eps is {eps!r}, not between 0 and 1", "check the file")
        shape = cls(**sizes(config, SIZES, folder), layer_norm_eps=eps)
        if shape.hidden_size % shape.num_attention_heads:
            raise UserError(f"{folder}/config.json: num_attention_heads must divide hidden_size", "check the file")
        return shape


class _FeedForward(nn.Module):
    def __init__(self, shape: W2vBertShape):
        super().__init__()
        self.intermediate_dense = nn.Linear(shape.hidden_size, shape.intermediate_size)
        self.output_dense = nn.Linear(shape.intermediate_size, shape.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output_dense(F.silu(self.intermediate_dense(x)))


class _Attention(nn.Module):
    def __init__(self, shape: W2vBertShape):
        super().__init__()
        d, self.heads = shape.hidden_size, shape.num_attention_heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (nn.Linear(d, d) for _ in range(4))
        self.left, self.right = shape.left_max_position_embeddings, shape.right_max_position_embeddings
        self.distance_embedding = nn.Embedding(self.left + self.right + 1, d // self.heads)

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        batch, time, d = x.shape
        q, k, v = (
            projection(x).view(batch, time, self.heads, d // self.heads).transpose(1, 2)
            for projection in (self.linear_q, self.linear_k, self.linear_v)
        )
        # One product for each distance there is, spread over the keys afterwards, instead of one for each key.
        by_distance = q @ (self.distance_embedding.weight.t() * q.shape[-1] ** -0.5)
        positions = torch.arange(time, device=x.device)
        hidden = ~valid[:, None, None, :]
        mixed = []
        for start in range(0, time, _QUERIES):
            block = slice(start, start + _QUERIES)
            distance = (positions - positions[block, None]).clamp(-self.left, self.right) + self.left
            bias = by_distance[:, :, block].gather(3, distance.expand(batch, self.heads, -1, -1))
            bias = bias.masked_fill_(hidden, -torch.inf)
            mixed.append(F.scaled_dot_product_attention(q[:, :, block], k, v, attn_mask=bias))
        return self.linear_out(torch.cat(mixed, dim=2).transpose(1, 2).reshape(batch, time, d))


class _Convolution(nn.Module):
    def __init__(self, shape: W2vBertShape):
        super().__init__()
        d, kernel = shape.hidden_size, shape.conv_depthwise_kernel_size
        self.layer_norm = nn.LayerNorm(d, eps=shape.layer_norm_eps)
        self.pointwise_conv1 = nn.Conv1d(d, 2 * d, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(d, d, kernel, groups=d, bias=False)
        self.depthwise_layer_norm = nn.LayerNorm(d, eps=shape.layer_norm_eps)
        self.pointwise_conv2 = nn.Conv1d(d, d, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.glu(F.linear(self.layer_norm(x), self.pointwise_conv1.weight[:, :, 0]), dim=2)
        x = F.pad(x.transpose(1, 2), (self.depthwise_conv.kernel_size[0] - 1, 0))
        x = F.silu(self.depthwise_layer_norm(self.depthwise_conv(x).transpose(1, 2)))
        return F.linear(x, self.pointwise_conv2.weight[:, :, 0])


class _Layer(nn.Module):
    def __init__(self, shape: W2vBertShape):
        super().__init__()
        for name in ("ffn1", "self_attn", "ffn2", "final"):
            self.add_module(f"{name}_layer_norm", nn.LayerNorm(shape.hidden_size, eps=shape.layer_norm_eps))
        self.ffn1, self.self_attn = _FeedForward(shape), _Attention(shape)
        self.conv_module, self.ffn2 = _Convolution(shape), _FeedForward(shape)

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """[B, T, d] to [B, T, d], before `final_layer_norm`."""
        x = x + 0.5 * self.ffn1(self.ffn1_layer_norm(x))
        x = x + self.self_attn(self.self_attn_layer_norm(x), valid)
        x = x + self.conv_module(x)
        return x + 0.5 * self.ffn2(self.ffn2_layer_norm(x))


class W2vBert(nn.Module):
    """The model up to its last kept layer; adapters behind the layers are not part of it."""

    def __init__(self, shape: W2vBertShape):
        super().__init__()
        self.shape = shape
        channels = shape.feature_projection_input_dim
        self.feature_projection = nn.Module()
        self.feature_projection.layer_norm = nn.LayerNorm(channels, eps=shape.layer_norm_eps)
        self.feature_projection.projection = nn.Linear(channels, shape.hidden_size)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.num_hidden_layers))

    def forward(self, mels: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Stacked mels [B, T, 160] to [B, T, d] after the last layer, before that layer's `final_layer_norm`.

        `valid` [B, T] bool is False on padding, which stands at the end; each row needs a valid frame.
        """
        x = self.feature_projection.projection(self.feature_projection.layer_norm(mels))
        for i, layer in enumerate(self.encoder.layers):
            x = layer(self.encoder.layers[i - 1].final_layer_norm(x) if i else x, valid)
        return x


def load_w2v_bert(folder: str | Path, layers: int) -> W2vBert:
    """The first `layers` layers of a Hugging Face folder in float32, eval mode; UserError when it has fewer, or files
    are missing, broken, or of another architecture."""
    config = read_config(folder)
    shape = W2vBertShape.from_config(config, folder)
    if layers > shape.num_hidden_layers:
        raise UserError(f"{folder}: layer {layers} of {shape.num_hidden_layers}", hint="lower --layer")
    with torch.device("meta"):
        model = W2vBert(W2vBertShape.from_config(config | {"num_hidden_layers": layers}, folder))
    load_weights(model, folder, lambda key: key.removeprefix("wav2vec2_bert."))
    return model
