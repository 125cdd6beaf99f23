"""A trained HuBERT or quantizer in the release's file forms (spiritlm 2), which `hubert25` and `quantizer` open.

The same weights and settings give the same bytes: files are made in memory, as torch writes a file's name into it.
A HuBERT's `model_cfg` has `output_layer`, the layer whose features are meant; without it SpiRit-LM's 11 is.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import torch

from spire.textfiles import write_bytes
from spire.units.hubert import Hubert

_W = r"\.(weight|bias)"
_NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (rf"feature_extractor\.conv_layers\.(\d+)\.conv{_W}", r"feature_extractor.conv_layers.\1.0.\2"),
        (rf"feature_projection\.layer_norm{_W}", r"layer_norm.\1"),
        (rf"feature_projection\.projection{_W}", r"post_extract_proj.\1"),
        (r"masked_spec_embed", "mask_emb"),
        (r"encoder\.pos_conv_embed\.conv\.bias", "encoder.pos_conv.0.bias"),
        (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0", "encoder.pos_conv.0.weight_g"),
        (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original1", "encoder.pos_conv.0.weight_v"),
        (rf"encoder\.layers\.(\d+)\.attention\.([kvq]|out)_proj{_W}", r"encoder.layers.\1.self_attn.\2_proj.\3"),
        (rf"encoder\.layers\.(\d+)\.layer_norm{_W}", r"encoder.layers.\1.self_attn_layer_norm.\2"),
        (rf"encoder\.layers\.(\d+)\.feed_forward\.intermediate_dense{_W}", r"encoder.layers.\1.fc1.\2"),
        (rf"encoder\.layers\.(\d+)\.feed_forward\.output_dense{_W}", r"encoder.layers.\1.fc2.\2"),
        (rf"(encoder\.layers\.\d+\.final_layer_norm|encoder\.layer_norm){_W}", r"\1.\2"),
    )
)


def _fairseq_name(name: str, per_layer: bool) -> str:
    found = re.fullmatch(rf"feature_extractor\.conv_layers\.(\d+)\.layer_norm{_W}", name)
    if found:
        inner = "2.1" if per_layer else "2"
        return f"feature_extractor.conv_layers.{found[1]}.{inner}.{found[2]}"
    return next(match.expand(new) for pattern, new in _NAMES if (match := pattern.fullmatch(name)))


def saved_bytes(content: dict) -> bytes:
    """What torch.save writes, under a name of its own."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def write_hubert25(path: str | Path, model: Hubert, layer: int, normalize: bool) -> None:
    """`model` as `mhubert_base_25hz.pt`, to be opened at `layer`; whole or not at all."""
    shape = model.shape
    per_layer = shape.feat_extract_norm == "layer"
    convolutions = zip(shape.conv_dim, shape.conv_kernel, shape.conv_stride, strict=True)
    settings = {
        "_name": "hubert",
        "extractor_mode": "layer_norm" if per_layer else "default",
        "encoder_layers": shape.num_hidden_layers,
        "encoder_embed_dim": shape.hidden_size,
        "encoder_ffn_embed_dim": shape.intermediate_size,
        "encoder_attention_heads": shape.num_attention_heads,
        "activation_fn": "gelu",
        "layer_norm_first": shape.do_stable_layer_norm,
        "conv_feature_layers": str([tuple(map(int, layer)) for layer in convolutions]),
        "conv_bias": shape.conv_bias,
        "conv_pos": shape.num_conv_pos_embeddings,
        "conv_pos_groups": shape.num_conv_pos_embedding_groups,
        "output_layer": layer,
    }
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    content = {
        "model_cfg": settings,
        "task_cfg": {"normalize": normalize, "sample_rate": 16_000},
        "model_weight": {_fairseq_name(name, per_layer): value for name, value in state.items()},
        "dictionaries_symbols": [],
    }
    write_bytes(Path(path), saved_bytes(content))


def write_kmeans(path: str | Path, centroids: np.ndarray) -> None:
    """Centroids [K, D] float32 as the release's k-means file."""
    centers = torch.from_numpy(np.ascontiguousarray(centroids, np.float32))
    write_bytes(Path(path), saved_bytes({"cluster_centers": centers, "n_clusters": len(centers)}))


def write_linear(path: str | Path, layers: torch.nn.Module, vocabulary: int, dim: int) -> None:
    """The quantizer's linear layers 0, 2, 4 as `L11_quantizer_500.pt`."""
    weights = {name: value.detach().cpu().contiguous() for name, value in layers.state_dict().items()}
    settings = {"vocab_size": vocabulary, "dim": dim, "upstream_dim": dim}
    write_bytes(Path(path), saved_bytes({"model_cfg": settings, "model_weight": weights}))
