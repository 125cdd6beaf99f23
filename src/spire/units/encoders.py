"""Which encoder a name on the command line, or the metadata of a k-means file, stands for."""

from __future__ import annotations

from pathlib import Path

from spire.errors import UserError
from spire.units.encoder import Encoder, FinalNorm, MfccEncoder
from spire.units.kmeans import KMeans

MODEL_TYPES = ("hubert", "wav2vec2", "wav2vec2-bert", "whisper")


def open_encoder(
    spec: str,
    layer: int = 0,
    normalization: str = "none",
    smoothing: int = 0,
    threads: int = 1,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    final_norm: str = "drop",
    pooling: str = "none",
    pooling_width: int = 1,
    eps: float | None = None,
) -> Encoder:
    """`mfcc`, `mfccctx`, or the folder of an encoder in Hugging Face form, cut after `layer` (1-based).

    The folder's config.json says which: its model_type is hubert, wav2vec2, wav2vec2-bert or whisper. `eps` is that of
    the normalization of the input: of the waveform (HuBERT, wav2vec 2.0; none where preprocessor_config.json says
    do_normalize false) or of each mel bin (w2v-BERT); None is the published 1e-7. `final_norm` keeps or drops the
    model's last layer norm, which comes after the last kept layer; published units drop it. UserError when the folder
    is missing, holds something else, has fewer layers, or a keyword does not apply to it.
    """
    if spec in ("mfcc", "mfccctx"):
        if layer:
            raise UserError(f"{spec} has no layers, but layer {layer} was asked for", hint="leave out --layer")
        encoder: Encoder = MfccEncoder(spec == "mfccctx", normalization, smoothing)
        _refuse_eps(spec, eps)
        encoder.set_final_norm(final_norm, None)
    elif not Path(spec).is_dir():
        hint = "mfcc, mfccctx, or a folder with config.json and model.safetensors, such as units_import.py makes"
        raise UserError(f"{spec}: no such encoder", hint)
    else:
        common = {"threads": threads, "device": device, "dtype": dtype}
        encoder = _open_folder(spec, layer, normalization, smoothing, final_norm, eps, common)
    encoder.set_pooling(pooling, pooling_width)
    return encoder


def _open_folder(
    folder: str, layer: int, normalization: str, smoothing: int, final_norm: str, eps: float | None, common: dict
) -> Encoder:
    from spire.units.weights import read_config, read_preprocessor

    if eps is not None and not 0 <= eps < float("inf"):
        raise UserError(f"eps {eps} is not a small positive number", hint="1e-7 is published, 1e-5 was fairseq's")
    kind = read_config(folder).get("model_type")
    given = {} if eps is None else {"eps": eps}
    if kind in ("hubert", "wav2vec2"):
        from spire.units.hubert_encoder import HubertEncoder

        if not read_preprocessor(folder, {"sampling_rate": (16_000,)}).get("do_normalize", True):
            _refuse_eps(folder, eps)
            given = {"eps": None}
        encoder: Encoder = HubertEncoder(folder, layer, normalization, smoothing, **given, **common)
        encoder.set_final_norm(final_norm, _norm_behind_hubert(encoder.model))
        return encoder
    if kind == "wav2vec2-bert":
        from spire.units.w2v_bert_encoder import W2vBertEncoder

        return W2vBertEncoder(folder, layer, normalization, smoothing, final_norm=final_norm, **given, **common)
    if kind == "whisper":
        from spire.units.whisper_encoder import WhisperEncoder

        _refuse_eps("whisper", eps)
        return WhisperEncoder(folder, layer, normalization, smoothing, final_norm=final_norm, **common)
    raise UserError(f"{folder}/config.json: model_type is {kind!r}", hint="one of " + ", ".join(MODEL_TYPES))


def _norm_behind_hubert(model) -> FinalNorm | None:
    """Pre-norm (large) models have one behind their layers; in post-norm (base) models it stands before them."""
    from spire.units.placement import final_norm_of

    return final_norm_of(model.encoder.layer_norm) if model.shape.do_stable_layer_norm else None


def _refuse_eps(name: str, eps: float | None) -> None:
    if eps is not None:
        raise UserError(f"{name} does not normalize its input, but eps {eps:g} was given", hint="leave out --eps")


def encoder_for(
    kmeans: KMeans,
    kmeans_path: str | Path,
    spec: str,
    layer: int = 0,
    threads: int = 1,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    final_norm: str | None = None,
    pooling: str | None = None,
    pooling_width: int | None = None,
    eps: float | None = None,
) -> Encoder:
    """The encoder, with the final norm, smoothing, pooling, normalization and eps that the k-means was made with.

    Layer 0 is the layer it was made with. What a k-means does not say (an older one, or one from elsewhere) is as the
    keywords say, else as published. UserError when the two do not belong together, or a keyword contradicts.
    """
    known = kmeans.metadata
    hint = "make it again with units_kmeans.py"
    defaults = {"layer": "0", "smoothing": "0", "pooling_width": "1"}
    numbers = {key: known.get(key, default) for key, default in defaults.items()}
    for key, value in numbers.items():
        if not (value.isascii() and value.isdecimal()):
            raise UserError(f"{kmeans_path}: {key} is {value!r}", hint)
    try:
        eps = float(known["eps"]) if "eps" in known and eps is None else eps
    except ValueError as e:
        raise UserError(f"{kmeans_path}: eps is {known['eps']!r}", hint) from e
    encoder = open_encoder(
        spec,
        layer or int(numbers["layer"]),
        known.get("normalization", "none"),
        int(numbers["smoothing"]),
        threads,
        device=device,
        dtype=dtype,
        final_norm=final_norm or known.get("final_norm", "drop"),
        pooling=pooling or known.get("pooling", "none"),
        pooling_width=int(numbers["pooling_width"]) if pooling_width is None else pooling_width,
        eps=eps,
    )
    differences = [
        f"{key} is {ours!r}, the k-means was trained on {known[key]!r}"
        for key, ours in encoder.metadata().items()
        if key in known and known[key] != ours
    ]
    if encoder.dim != kmeans.centroids.shape[1]:
        differences.append(f"features have {encoder.dim} dimensions, centroids {kmeans.centroids.shape[1]}")
    if differences:
        hint = "label with the encoder and layer the k-means was made with, or run units_kmeans.py again"
        raise UserError(f"{kmeans_path} does not belong to {spec}: " + "; ".join(differences), hint)
    return encoder
