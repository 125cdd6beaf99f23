"""Which encoder a name on the command line, or the metadata of a k-means file, stands for."""

from __future__ import annotations

from pathlib import Path

from spire.errors import UserError
from spire.units.encoder import Encoder, MfccEncoder
from spire.units.kmeans import KMeans


def open_encoder(
    spec: str, layer: int = 0, normalization: str = "none", smoothing: int = 0, threads: int = 1
) -> Encoder:
    """`mfcc`, `mfccctx`, or the folder of a HuBERT in Hugging Face form, cut after `layer` (1-based).

    UserError when the folder is missing or holds something else, or has fewer layers.
    """
    if spec in ("mfcc", "mfccctx"):
        if layer:
            raise UserError(f"{spec} has no layers, but layer {layer} was asked for", hint="leave out --layer")
        return MfccEncoder(spec == "mfccctx", normalization, smoothing)
    if not Path(spec).is_dir():
        hint = "mfcc, mfccctx, or a folder with config.json and model.safetensors"
        raise UserError(f"{spec}: no such encoder", hint)
    from spire.units.hubert_encoder import HubertEncoder

    return HubertEncoder(spec, layer, normalization, smoothing, threads=threads)


def encoder_for(kmeans: KMeans, kmeans_path: str | Path, spec: str, layer: int = 0, threads: int = 1) -> Encoder:
    """The encoder, smoothed and normalized as for the k-means; UserError when the two do not belong together."""
    smoothing = kmeans.metadata.get("smoothing", "0")
    if not smoothing.isdecimal():
        raise UserError(f"{kmeans_path}: smoothing is {smoothing!r}", hint="make it again with units_kmeans.py")
    normalization = kmeans.metadata.get("normalization", "none")
    encoder = open_encoder(spec, layer, normalization, int(smoothing), threads)
    differences = [
        f"{key} is {ours!r}, the k-means was trained on {kmeans.metadata[key]!r}"
        for key, ours in encoder.metadata().items()
        if key in kmeans.metadata and kmeans.metadata[key] != ours
    ]
    if encoder.dim != kmeans.centroids.shape[1]:
        differences.append(f"features have {encoder.dim} dimensions, centroids {kmeans.centroids.shape[1]}")
    if differences:
        hint = "label with the encoder and layer the k-means was made with, or run units_kmeans.py again"
        raise UserError(f"{kmeans_path} does not belong to {spec}: " + "; ".join(differences), hint)
    return encoder
