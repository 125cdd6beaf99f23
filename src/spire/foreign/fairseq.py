"""fairseq HuBERT and wav2vec 2.0 checkpoints: their settings and tensors under Hugging Face names (spec 4).

Both config styles are read (`cfg`, and `args` of older files), pretrained and fine-tuned models (prefix
`w2v_encoder.w2v_model.`). The tensors decide every size and whether convolutions have biases; the settings decide what
tensors cannot tell (strides, heads, pre- or post-norm, waveform normalization), and where both speak they must agree.
Heads for pretraining and recognition are dropped; any other tensor without a place is an error, since leaving it out
would silently compute another model. UserError also for architectures beyond HuBERT and wav2vec 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from spire.foreign import torch_file
from spire.foreign.settings import plain
from spire.foreign.source import refuse
from spire.foreign.torch_file import Tensor, TorchFile, tensors_of
from spire.foreign.unpickle import Vocabulary

WAVEFORM_EPS = 1e-5  # fairseq normalizes with layer_norm's epsilon, Hugging Face with 1e-7
FINE_TUNED = "w2v_encoder.w2v_model."
STRIDES = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"  # fairseq's default conv_feature_layers
_BUILTINS = ("bool", "dict", "float", "int", "list", "set", "str", "tuple")
VOCABULARY = Vocabulary(
    torch_file.CALLS,
    torch_file.INERT
    | {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _BUILTINS}
    | {"argparse.Namespace", "collections.defaultdict", "collections.Counter", "pathlib.PosixPath", "typing.Any"},
    ("fairseq.", "omegaconf."),
)
_HINT = "HuBERT and wav2vec 2.0 checkpoints of fairseq are read; others need their own Hugging Face form"
_W = r"\.(weight|bias)"
_RULES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (rf"feature_extractor\.conv_layers\.(\d+)\.0{_W}", r"feature_extractor.conv_layers.\1.conv.\2"),
        (rf"feature_extractor\.conv_layers\.(\d+)\.2\.1{_W}", r"feature_extractor.conv_layers.\1.layer_norm.\2"),
        (rf"feature_extractor\.conv_layers\.0\.2{_W}", r"feature_extractor.conv_layers.0.layer_norm.\1"),
        (rf"layer_norm{_W}", r"feature_projection.layer_norm.\1"),
        (rf"post_extract_proj{_W}", r"feature_projection.projection.\1"),
        (r"mask_emb", "masked_spec_embed"),
        (r"encoder\.pos_conv\.0\.bias", "encoder.pos_conv_embed.conv.bias"),
        (r"encoder\.pos_conv\.0\.weight_g", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
        (r"encoder\.pos_conv\.0\.weight_v", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
        (r"encoder\.pos_conv\.0\.(parametrizations\.weight\.original[01])", r"encoder.pos_conv_embed.conv.\1"),
        (rf"encoder\.layers\.(\d+)\.self_attn\.([kvq]|out)_proj{_W}", r"encoder.layers.\1.attention.\2_proj.\3"),
        (rf"encoder\.layers\.(\d+)\.self_attn_layer_norm{_W}", r"encoder.layers.\1.layer_norm.\2"),
        (rf"encoder\.layers\.(\d+)\.fc1{_W}", r"encoder.layers.\1.feed_forward.intermediate_dense.\2"),
        (rf"encoder\.layers\.(\d+)\.fc2{_W}", r"encoder.layers.\1.feed_forward.output_dense.\2"),
        (rf"(encoder\.layers\.\d+\.final_layer_norm|encoder\.layer_norm){_W}", r"\1.\2"),
    )
)
_HEADS = re.compile(r"(final_proj|project_q|quantizer|target_glu)\..+|label_embs_concat|w2v_encoder\.proj\..+")


@dataclass(frozen=True)
class FairseqModel:
    """Tensors by Hugging Face name, the config.json, and whether waveforms are normalized before the model."""

    tensors: Mapping[str, Tensor]
    config: dict
    normalize: bool


def read_fairseq(file: TorchFile) -> FairseqModel:
    """The encoder in an open fairseq checkpoint (opened with VOCABULARY). UserError when there is none."""
    root = file.root
    if not isinstance(root, dict) or "model" not in root:
        refuse(file.where, "is a torch file, but no fairseq checkpoint", _HINT)
    model, task = _settings(root, file.where)
    tensors = _renamed(tensors_of(root["model"], file.where), file.where)
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    return FairseqModel(tensors, _config(shapes, model, root["model"], file.where), bool(task.get("normalize", False)))


def _settings(root: dict, where: str) -> tuple[dict, dict]:
    """The settings of the encoder, and of the task; for a fine-tuned model those of the encoder inside it."""
    settings = root.get("cfg") if root.get("cfg") is not None else root.get("args")
    settings = plain(settings, where)
    if not isinstance(settings, dict):
        refuse(where, "has neither cfg nor args, so its architecture is unknown", _HINT)
    model = settings.get("model") if isinstance(settings.get("model"), dict) else settings
    task = settings.get("task") if isinstance(settings.get("task"), dict) else settings
    inner = model.get("w2v_args")
    if isinstance(inner, dict):
        model = inner["model"] if isinstance(inner.get("model"), dict) else inner
        inner_task = inner["task"] if isinstance(inner.get("task"), dict) else inner
        task = inner_task | {key: value for key, value in task.items() if value is not None}
    return model, task


def _renamed(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    prefix = FINE_TUNED if any(key.startswith(FINE_TUNED) for key in state) else ""
    renamed, homeless = {}, []
    for key, tensor in state.items():
        inner = key.removeprefix(prefix) if key.startswith(prefix) else key
        if _HEADS.fullmatch(inner):
            continue
        found = next((match.expand(name) for rule, name in _RULES if (match := rule.fullmatch(inner))), None)
        if found is None or not key.startswith(prefix):
            homeless.append(key)
        elif found in renamed:
            refuse(where, f"holds {found} twice")
        else:
            renamed[found] = tensor
    if homeless:
        listed = ", ".join(sorted(homeless)[:3])
        refuse(where, f"has {len(homeless)} tensors that no HuBERT or wav2vec 2.0 has, such as {listed[:200]}", _HINT)
    return renamed


def _config(shapes: Mapping[str, tuple[int, ...]], model: dict, state: Mapping, where: str) -> dict:
    """config.json; every size from the tensors, checked against the settings."""
    layers = _counted(shapes, "encoder.layers", where)
    convolutions = _counted(shapes, "feature_extractor.conv_layers", where)

    def shape(key: str, dimensions: int) -> tuple[int, ...]:
        found = shapes.get(key, ())
        if len(found) != dimensions:
            refuse(where, f"tensor {key} has shape {list(found)}, expected {dimensions} dimensions", _HINT)
        return found

    convs = [shape(f"feature_extractor.conv_layers.{i}.conv.weight", 3) for i in range(convolutions)]
    hidden = shape("feature_projection.projection.weight", 2)[0]
    positions = shape("encoder.pos_conv_embed.conv.parametrizations.weight.original1", 3)
    per_layer = "feature_extractor.conv_layers.1.layer_norm.weight" in shapes
    stated = parse_convolutions(model.get("conv_feature_layers", STRIDES), where)
    if [(out, kernel) for out, _, kernel in convs] != [(out, kernel) for out, kernel, _ in stated]:
        refuse(where, f"its convolutions are not those of its settings, {model.get('conv_feature_layers', STRIDES)!r}")
    heads = _integer(model, "encoder_attention_heads", 12, where)
    facts = {
        "encoder_layers": layers,
        "encoder_embed_dim": hidden,
        "encoder_ffn_embed_dim": shape("encoder.layers.0.feed_forward.intermediate_dense.weight", 2)[0],
        "conv_pos": positions[2],
        "conv_pos_groups": hidden // max(1, positions[1]),
        "extractor_mode": "layer_norm" if per_layer else "default",
        "activation_fn": "gelu",
        "layer_type": "transformer",
        "conv_pos_batch_norm": False,
    }
    for key, value in facts.items():
        if model.get(key) not in (None, value):
            refuse(where, f"{key} is {repr(model[key])[:80]} in its settings, here it must be {value!r}", _HINT)
    if hidden % heads:
        refuse(where, f"{heads} attention heads do not divide {hidden} dimensions")
    kind = "wav2vec2" if _is_wav2vec2(model, state) else "hubert"
    return {
        "architectures": ["Wav2Vec2Model" if kind == "wav2vec2" else "HubertModel"],
        "model_type": kind,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": facts["encoder_ffn_embed_dim"],
        "hidden_act": "gelu",
        "conv_dim": [out for out, _, _ in convs],
        "conv_kernel": [kernel for _, _, kernel in convs],
        "conv_stride": [stride for _, _, stride in stated],
        "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in shapes,
        "num_feat_extract_layers": convolutions,
        "num_conv_pos_embeddings": positions[2],
        "num_conv_pos_embedding_groups": facts["conv_pos_groups"],
        "conv_pos_batch_norm": False,
        "feat_extract_norm": "layer" if per_layer else "group",
        "feat_extract_activation": "gelu",
        "feat_proj_layer_norm": True,
        "do_stable_layer_norm": bool(model.get("layer_norm_first", False)),
        "layer_norm_eps": 1e-5,
        "apply_spec_augment": False,
        "layerdrop": 0.0,
        "dtype": "float32",
        "vocab_size": 32,
    }


def _is_wav2vec2(model: dict, state: Mapping) -> bool:
    name = f"{model.get('_name') or ''} {model.get('arch') or ''}"
    if "hubert" in name or "wav2vec" in name:
        return "hubert" not in name
    return any("quantizer." in key for key in state)


def _counted(shapes: Mapping[str, tuple[int, ...]], prefix: str, where: str) -> int:
    """How many modules `prefix`.0, .1, ... there are; UserError when one is missing."""
    found = {int(key.removeprefix(prefix + ".").split(".")[0]) for key in shapes if key.startswith(prefix + ".")}
    if not found or found != set(range(len(found))):
        refuse(where, f"has no unbroken list of {prefix}", _HINT)
    return len(found)


def _integer(model: dict, key: str, default: int, where: str) -> int:
    value = model.get(key, default)
    if type(value) is not int or not 0 < value < 1 << 20:
        refuse(where, f"{key} is {str(value)[:40]!r}, not a size")
    return value


_LAYER = r"\(\s*([0-9]{1,6})\s*,\s*([0-9]{1,6})\s*,\s*([0-9]{1,6})\s*\)"
# Each blank can be matched in one way only: an ambiguous pattern could take years on a hostile text.
_TERM = re.compile(rf"\[\s*((?:{_LAYER}\s*(?:,\s*)?)+)\](?:\s*\*\s*([0-9]{{1,2}}))?")


def parse_convolutions(text: object, where: str) -> list[tuple[int, int, int]]:
    """ "[(512,10,5)] + [(512,3,2)] * 4" as (channels, kernel, stride) triples; fairseq evaluates it as Python."""
    layers: list[tuple[int, int, int]] = []
    for term in text.split("+") if isinstance(text, str) and len(text) < 4096 else [""]:
        match = _TERM.fullmatch(term.strip())
        if match is None:
            refuse(where, f"conv_feature_layers is {str(text)[:80]!r}, not a list of (channels, kernel, stride)")
        triples = [tuple(map(int, triple)) for triple in re.findall(_LAYER, match[1])]
        layers += triples * int(match[5] or 1)
    if len(layers) > 64 or any(0 in layer for layer in layers):
        refuse(where, f"conv_feature_layers is {text[:80]!r}, which no model has")
    return layers
