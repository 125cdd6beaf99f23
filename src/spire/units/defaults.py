"""What a command or program leaves unsaid: device, dtype, layer. Naming a device imports no torch, `auto` does."""

from __future__ import annotations

from spire.units.kmeans import KMeans


def detected(device: str, dtype: str = "float32") -> tuple[str, str]:
    """`device` and `dtype` without `auto`: a GPU where there is one; bfloat16 on a GPU, else float32."""
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    return device, dtype


def layer_of(kmeans: KMeans, otherwise: int) -> int:
    """The layer that a k-means says it was learned on, else `otherwise`."""
    said = kmeans.metadata.get("layer", "")
    return int(said) if said.isascii() and said.isdecimal() else otherwise
