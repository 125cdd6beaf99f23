"""What a k-means and an encoder folder say about themselves, and whether they belong together.

Metadata of an imported k-means (all texts): source_format, source_sha256, centroids_sha256, and as far as they were
given encoder (the config's model_type), encoder_digest (16 hex digits of the weights' sha256, as `Encoder.digest`),
layer, revision (of the encoder). Absent keys are not checked; present ones must match.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.foreign.tensors_out import read_metadata
from spire.units.kmeans import KMeans


def centroids_sha256(centroids: np.ndarray) -> str:
    """Digest of the values in their own float type, little-endian, row after row: as they are stored."""
    return hashlib.sha256(np.ascontiguousarray(centroids, centroids.dtype.newbyteorder("<")).data).hexdigest()


def encoder_facts(folder: str | Path, revision: str | None = None) -> dict[str, str]:
    """encoder, encoder_digest, and revision when it is known: given, or the commit of a hub snapshot's folder.

    UserError when the folder is no encoder, or its weights come from another source than its config says.
    """
    from spire.units.weights import digest  # here, because it brings torch

    folder = Path(folder)
    config = checked_config(folder)
    facts = {"encoder": str(config.get("model_type", "")), "encoder_digest": digest(folder)}
    source = config.get("spire_source")
    known = revision or snapshot_revision(folder) or (source.get("revision") if isinstance(source, dict) else None)
    return facts | ({"revision": known} if known else {})


def snapshot_revision(folder: Path) -> str | None:
    """The commit of a hub cache folder `.../snapshots/<40 hex digits>`, else None."""
    name = folder.resolve().name
    commit = len(name) == 40 and set(name) <= set("0123456789abcdef") and folder.resolve().parent.name == "snapshots"
    return name if commit else None


def checked_config(folder: Path) -> dict:
    """config.json of an encoder folder. UserError: missing or broken, asks for code of its own (auto_map), or was
    converted from another file than the weights beside it."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise UserError(f"{folder}: has no config.json", hint="give an encoder in Hugging Face form") from e
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path}: is not JSON: {e}", hint="fetch or make the folder again") from e
    if not isinstance(config, dict):
        raise UserError(f"{path}: is not a JSON object", hint="fetch or make the folder again")
    if "auto_map" in config:
        hint = "use a model whose architecture transformers has itself"
        raise UserError(f"{path}: asks to run code that comes with the model (auto_map)", hint)
    source = config.get("spire_source")
    if isinstance(source, dict) and (folder / "model.safetensors").exists():
        found = read_metadata(folder / "model.safetensors").get("source_sha256")
        if found != source.get("sha256"):
            named = f"config.json was converted from {source.get('sha256')}, the weights from {found}"
            raise UserError(f"{folder}: {named}", hint="run units_import.py again into an empty folder")
    return config


def check_match(
    kmeans: KMeans,
    where: str | Path,
    encoder: str | Path | None = None,
    layer: int | None = None,
    revision: str | None = None,
) -> None:
    """UserError when the k-means says that it belongs to another encoder, layer or revision than these."""
    asked = encoder_facts(encoder, revision) if encoder is not None else {}
    if revision is not None:
        asked["revision"] = revision
    if layer is not None:
        asked["layer"] = str(layer)
    differences = [
        f"{key} is {value!r}, the k-means was made for {kmeans.metadata[key]!r}"
        for key, value in asked.items()
        if key in kmeans.metadata and kmeans.metadata[key] != value
    ]
    if differences:
        hint = "give the encoder, --layer and --revision that the k-means was made with"
        raise UserError(f"{where} does not belong to these features: " + "; ".join(differences), hint)
