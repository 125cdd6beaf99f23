"""The import commands: a foreign file in, a safetensors file or folder out, and a line that says what was found."""

from __future__ import annotations

from pathlib import Path

from spire.errors import UserError
from spire.files import replaced_file
from spire.foreign.convert import convert_encoder, sha256_of
from spire.foreign.open import encoder_directory, open_kmeans
from spire.foreign.provenance import centroids_sha256, checked_config, encoder_facts
from spire.foreign.tensors_out import write_tensors
from spire.units.kmeans import KMeans


def import_encoder(path: str | Path, out: str | Path, sha256: str | None = None) -> str:
    """Convert a fairseq checkpoint to the new folder `out`; UserError when the digest is not `sha256`."""
    _check_digest(path, sha256)
    config = convert_encoder(path, out)
    sizes = f"{config['num_hidden_layers']} layers of {config['hidden_size']} dimensions"
    return f"{out}: {config['model_type']}, {sizes}, from sha256 {config['spire_source']['sha256']}"


def import_kmeans(
    path: str | Path,
    out: str | Path,
    encoder: str | Path | None = None,
    layer: int | None = None,
    revision: str | None = None,
    sha256: str | None = None,
) -> str:
    """Convert a k-means to `out`, values and float type kept, bound to encoder, layer and revision as far as given.

    UserError: refused, another digest than `sha256`, a layer that the encoder lacks, centroids of another width, or a
    file that already says that it belongs elsewhere.
    """
    if Path(out).suffix != ".safetensors":
        raise UserError(f"{out}: a k-means is stored as safetensors", hint="give --out NAME.safetensors")
    _check_digest(path, sha256)
    facts: dict[str, str] = {}
    folder = encoder_directory(encoder, revision=revision) if encoder is not None else None
    kmeans = open_kmeans(path, folder, layer, revision)
    if folder is not None:
        facts |= encoder_facts(folder, revision)
        _check_sizes(folder, layer, kmeans)
    if layer is not None:
        facts["layer"] = str(layer)
    if revision is not None:
        facts["revision"] = revision
    centroids = kmeans.centroids
    metadata = kmeans.metadata | facts | {"centroids_sha256": centroids_sha256(centroids)}
    described = {"centroids": (centroids.shape, centroids.dtype.str[1:])}
    with replaced_file(out) as partial:
        write_tensors(partial, described, lambda _: centroids, metadata)
    bound = ", ".join(f"{key} {value}" for key, value in facts.items()) or "no encoder recorded"
    return f"{out}: {kmeans.clusters} centroids of {centroids.shape[1]} dimensions, {bound}"


def _check_digest(path: str | Path, wanted: str | None) -> None:
    if wanted is not None and (found := sha256_of(path)) != wanted.lower():
        raise UserError(f"{path}: its sha256 is {found}, not {wanted}", hint="fetch the file again")


def _check_sizes(folder: Path, layer: int | None, kmeans: KMeans) -> None:
    config = checked_config(folder)
    layers = config.get("num_hidden_layers", config.get("encoder_layers"))
    width = config.get("hidden_size", config.get("d_model"))
    if layer is not None and isinstance(layers, int) and not 1 <= layer <= layers:
        raise UserError(f"{folder}: layer {layer} of {layers}", hint="--layer counts from 1")
    if isinstance(width, int) and width != kmeans.centroids.shape[1]:
        found = f"centroids have {kmeans.centroids.shape[1]} dimensions, {folder} has {width}"
        raise UserError(found, hint="give the encoder that the k-means was made with")
