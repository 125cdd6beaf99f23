"""Which encoder, layer and k-means the units of a vocabulary come from, so that unit 17 cannot mean two things.

Guarantees: a model trained on the units of one k-means and a corpus or prompts labelled by another are told apart by
the digests of encoder and centroids. What was not recorded (older files, units from elsewhere) is not compared.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.units.kmeans import load
from spire.vocabulary.layout import Layout

_NAMES = {"encoder": "encoder", "encoder_digest": "encoder weights", "layer": "layer", "kmeans": "k-means"}


def units_of_kmeans(path: str | Path, units: int) -> dict[str, str]:
    """What `spire_vocabulary.json` records as `units_of`: encoder, encoder_digest and layer, as far as the k-means
    file (safetensors) knows them, and kmeans: the first 16 hexadecimal digits of the SHA-256 of the float32 centroids,
    as in NAME.labels.json.

    Raises UserError when the k-means does not have as many clusters as there are `units`.
    """
    kmeans = load(path)
    if kmeans.clusters != units:
        raise UserError(f"{path} has {kmeans.clusters} clusters, not {units}", hint=f"give --units {kmeans.clusters}")
    told = {name: str(kmeans.metadata[name]) for name in _NAMES if kmeans.metadata.get(name)}
    return told | {"kmeans": hashlib.sha256(np.ascontiguousarray(kmeans.centroids).tobytes()).hexdigest()[:16]}


def units_of_labels(units: str | Path) -> dict[str, str] | None:
    """The same for a NAME.units file, from the record NAME.labels.json beside it; None where there is none.

    Raises UserError when the record is damaged.
    """
    record = Path(units).with_suffix(".labels.json")
    if not record.is_file():
        return None
    try:
        identity = json.loads(record.read_text("utf-8"))["identity"]
        told = {**identity["encoder"], "kmeans": identity["kmeans"]}
    except (ValueError, KeyError, TypeError) as e:
        raise UserError(f"{record}: not a record of labels: {e}", hint="make it with units_label.py") from e
    return {name: str(told[name]) for name in _NAMES if told.get(name)}


def check_units(model_dir: str | Path, *units: str | Path) -> None:
    """UserError when a NAME.units file was not labelled with what the model's vocabulary says its units are."""
    layout = Layout.read(model_dir)
    for path in units:
        _compare(layout.units_of if layout else None, units_of_labels(path), str(model_dir), str(path))


def check_same_units(*units: str | Path) -> None:
    """UserError when two NAME.units files that go into one corpus were labelled differently."""
    told = [(str(path), units_of_labels(path)) for path in units]
    for path, other in told[1:]:
        _compare(told[0][1], other, told[0][0], path)


def _compare(wanted: dict[str, str] | None, found: dict[str, str] | None, model: str, path: str) -> None:
    for name, words in _NAMES.items():
        a, b = (wanted or {}).get(name), (found or {}).get(name)
        if a and b and a != b:
            raise UserError(
                f"{path} has units of {words} {b}, {model} those of {words} {a}",
                hint="label the speech again (units_label.py) with the encoder and k-means that the model was made for",
            )
