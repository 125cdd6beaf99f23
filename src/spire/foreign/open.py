"""Opens what researchers have: a k-means or an encoder in any of its usual forms, recognized by content, never run.

kmeans = open_kmeans("kmeans_model")                          # joblib, safetensors, npy, npz
folder = encoder_directory("hubert_large_ll60k.pt")           # fairseq, a Hugging Face folder, a hub id
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from spire.errors import UserError
from spire.foreign.convert import convert_encoder, convert_weights, sha256_of
from spire.foreign.joblib_kmeans import read_kmeans
from spire.foreign.npy_file import read_matrix
from spire.foreign.provenance import centroids_sha256, check_match, checked_config
from spire.foreign.source import refuse_stand_in
from spire.foreign.tensors_out import read_metadata
from spire.units.kmeans import KMeans, load

HUB_FILES = ["config.json", "preprocessor_config.json", "model.safetensors", "model.safetensors.index.json",
             "model-*-of-*.safetensors"]  # fmt: skip
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_CONVERTER = "1"  # part of the cache key: raise it when a conversion changes


def open_kmeans(
    path: str | Path, encoder: str | Path | None = None, layer: int | None = None, revision: str | None = None
) -> KMeans:
    """Centroids [K, D] with metadata. The form is told from the content: our safetensors, joblib or pickle of
    scikit-learn, .npy, .npz. What the file says about itself must hold: the digest of its centroids, and, when they are
    given, the encoder folder, layer and revision. UserError otherwise, and for a missing, broken or hostile file."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(9)
    except (FileNotFoundError, IsADirectoryError) as e:
        hint = "give the file of a k-means: joblib, safetensors, npy or npz"
        raise UserError(f"{path}: no such k-means", hint) from e
    refuse_stand_in(head, path)
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") < 100 << 20:
        kmeans = load(path)
        if not all(isinstance(value, str) for value in kmeans.metadata.values()):
            raise UserError(f"{path}: its metadata are not texts", hint="run units_import.py again")
    else:
        kmeans = _foreign_kmeans(path, head)
    stated = kmeans.metadata.get("centroids_sha256")
    if stated is not None and stated != centroids_sha256(kmeans.centroids):
        raise UserError(f"{path}: its centroids are not those it was made with", hint="run units_import.py again")
    check_match(kmeans, path, encoder, layer, revision)
    return kmeans


def _foreign_kmeans(path: Path, head: bytes) -> KMeans:
    about: dict[str, str] = {}
    if head[:6] == b"\x93NUMPY":
        form, centroids = "npy", read_matrix(path)
    elif head[:4] == b"PK\x03\x04":
        form, centroids = "npz", read_matrix(path)
    else:
        form, (centroids, about) = "joblib", read_kmeans(path)
    return KMeans(centroids, about | {"source_format": form, "source_sha256": sha256_of(path)})


def encoder_directory(spec: str | Path, cache_dir: str | Path | None = None, revision: str | None = None) -> Path:
    """A folder with config.json and safetensors weights.

    spec: such a folder (returned as it is); a fairseq checkpoint (converted once into `cache_dir`, named by its
    sha256); a folder or hub repository with only pytorch_model.bin (converted likewise); a hub id, of which only the
    configuration and safetensors files of `revision` are fetched. `cache_dir` defaults to $XDG_CACHE_HOME/spire.
    UserError: not found, refused, or a folder that contradicts itself or asks for code of its own.
    """
    cache = Path(cache_dir) if cache_dir is not None else _default_cache()
    path = Path(spec)
    if path.is_dir():
        return _with_safetensors(path, cache)
    if path.is_file():
        return _cached(path, cache, convert_encoder)
    if _HUB_ID.fullmatch(str(spec)) and path.suffix not in (".pt", ".pth", ".bin", ".safetensors"):
        return _with_safetensors(_from_hub(str(spec), cache_dir, revision), cache)
    hint = "give a Hugging Face folder, a fairseq .pt file, or a hub id such as facebook/hubert-large-ll60k"
    raise UserError(f"{spec}: no such encoder", hint)


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spire"


def _with_safetensors(folder: Path, cache: Path) -> Path:
    checked_config(folder)
    if any(folder.glob("model*.safetensors")):
        return folder
    if not (folder / "pytorch_model.bin").is_file():
        hint = "an encoder folder holds config.json and model.safetensors"
        raise UserError(f"{folder}: has neither model.safetensors nor pytorch_model.bin", hint)
    return _cached(folder / "pytorch_model.bin", cache, lambda path, out: convert_weights(path.parent, out))


def _cached(path: Path, cache: Path, convert) -> Path:
    """The conversion of `path` in the cache; a conversion that another process finished meanwhile is as good."""
    digest = sha256_of(path)
    folder = cache / "encoders" / f"{digest[:32]}-{_CONVERTER}"
    if not folder.is_dir():
        try:
            convert(path, folder)
        except (OSError, UserError):
            if not folder.is_dir():
                raise
    checked_config(folder)
    if read_metadata(folder / "model.safetensors").get("source_sha256") != digest:
        raise UserError(f"{folder}: is not the conversion of {path}", hint=f"remove {folder} and run again")
    return folder


def _from_hub(repository: str, cache_dir: str | Path | None, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as e:
        raise UserError(f"{repository}: huggingface_hub is not installed", hint="pip install huggingface-hub") from e
    hub_cache = None if cache_dir is None else Path(cache_dir) / "hub"

    def fetch(patterns: list[str]) -> Path:
        return Path(snapshot_download(repository, revision=revision, cache_dir=hub_cache, allow_patterns=patterns))

    try:
        folder = fetch(HUB_FILES)
        if not any(folder.glob("model*.safetensors")):
            folder = fetch(["config.json", "preprocessor_config.json", "pytorch_model.bin"])
    except Exception as e:  # The hub client raises its own, httpx's and requests' errors, which have no common base.
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        hint = "check the name and --revision, or download the folder and give its path"
        raise UserError(f"{repository}: cannot be fetched: {reason}", hint) from e
    return folder
