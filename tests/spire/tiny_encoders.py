"""Tiny encoders with random weights, saved as transformers saves them, and something like speech."""

import json

import numpy as np
import torch
import transformers

W2V = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "left_max_position_embeddings": 6,
    "right_max_position_embeddings": 3,
    "conv_depthwise_kernel_size": 5,
}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 8,
    "vocab_size": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "num_mel_bins": 80,
    "max_source_positions": 50,
}
WAVEFORM = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [12] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}


def speech(samples, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / 16_000
    tone = np.sin(2 * np.pi * (200 + 300 * rng.random()) * t) * (0.6 + 0.4 * np.sin(12 * t))
    return (0.2 * tone + 0.02 * rng.standard_normal(samples)).astype(np.float32)


def strongly(model):
    """Random weights large enough that every part of the model shows in the result, norms included."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(1 + 0.3 * noise if name.endswith("norm.weight") else 0.25 * noise)
    return model.eval()


def save_w2v_bert(folder):
    """Its path as text, and the model."""
    model = strongly(transformers.Wav2Vec2BertModel(transformers.Wav2Vec2BertConfig(**W2V)))
    model.save_pretrained(folder)
    return str(folder), model


def save_whisper(folder):
    """Its path as text, and the encoder; what is saved has a decoder too."""
    model = strongly(transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**WHISPER)))
    model.save_pretrained(folder)
    return str(folder), model.model.encoder


def save_waveform_model(name, folder):
    """Its path as text, and the model: `name` is hubert or wav2vec2."""
    kinds = {"hubert": ("HubertModel", "HubertConfig"), "wav2vec2": ("Wav2Vec2Model", "Wav2Vec2Config")}
    model, config = (getattr(transformers, kind) for kind in kinds[name])
    model = strongly(model(config(**WAVEFORM)))
    model.save_pretrained(folder)
    return str(folder), model


def broken_copy(source, target, **changes):
    config = json.loads((source / "config.json").read_text()) | changes
    target.mkdir()
    (target / "config.json").write_text(json.dumps(config))
    (target / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    return str(target)
