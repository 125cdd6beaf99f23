"""Centroids out of a scikit-learn KMeans or MiniBatchKMeans that joblib or pickle wrote, without either of them.

Follows spec 5: only `cluster_centers_` [K, D] (float32 or float64) is used. scikit-learn, its version, and joblib need
not be installed. Plain, zlib, gzip, bzip2, xz and lzma files; joblib 0.10 (2016) and later, whose arrays lie in the
stream behind their description. UserError: a name beyond the few such a file holds, a broken file, no centroids, other
types, values that are not finite.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spire.foreign import numpy_names
from spire.foreign.numpy_names import HeldArray, shaped
from spire.foreign.source import LIMIT, opened, refuse
from spire.foreign.unpickle import Machine, Name, Record, Vocabulary

ESTIMATORS = frozenset(
    f"sklearn.cluster.{module}.{name}" for module in ("_kmeans", "k_means_") for name in ("KMeans", "MiniBatchKMeans")
)
_RANDOM = frozenset(
    {
        "numpy.random.__RandomState_ctor",
        "numpy.random._pickle.__randomstate_ctor",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random._mt19937.MT19937",
        "numpy.random.mtrand.RandomState",
    }
)


class _WrappedArray(HeldArray):
    """joblib's NumpyArrayWrapper: its state describes the array whose bytes follow in the file."""

    def build(self, machine: Machine, state: object) -> None:
        if not isinstance(state, dict) or state.get("subclass") != Name("numpy", "ndarray"):
            machine.refuse("holds an array of an unknown class")
        dtype, shape, order = state.get("dtype"), state.get("shape"), state.get("order")
        count = numpy_names.elements(machine, shape)
        if not isinstance(dtype, numpy_names.HeldDtype) or order not in ("C", "F"):
            machine.refuse("holds an array in an unknown form")
        if state.get("numpy_array_alignment_bytes") is not None:
            machine.source.exactly(machine.source.exactly(1)[0])
        data = machine.source.exactly(count * dtype.dtype.itemsize)
        self.array = shaped(machine, data, dtype, shape, order == "F")


def _reconstructor(machine: Machine, args: tuple) -> object:
    """How protocols 0 and 1 make an instance: (class, object, None)."""
    bases = (Name("__builtin__", "object"), Name("builtins", "object"))
    if len(args) != 3 or not isinstance(args[0], Name) or args[1] not in bases or args[2] is not None:
        machine.refuse("makes an instance in an unknown form")
    if str(args[0]) not in ESTIMATORS | {_WRAPPER}:
        machine.refuse(f"makes a {args[0]} in an unknown form")
    return machine.construct(args[0], ())


_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
VOCABULARY = Vocabulary(
    calls=numpy_names.CALLS
    | {_WRAPPER: lambda machine, args: _WrappedArray()}
    | {f"{module}._reconstructor": _reconstructor for module in ("copy_reg", "copyreg")},
    inert=ESTIMATORS | _RANDOM | numpy_names.INERT | {"__builtin__.object", "builtins.object"},
)


def read_kmeans(path: str | Path, limit: int = LIMIT) -> tuple[np.ndarray, dict[str, str]]:
    """Centroids [K, D] in the file's own float type, and {"source_class", "source_sklearn"} as far as it tells."""
    where = str(path)
    with open(path, "rb") as file:
        model = Machine(opened(file, where, limit), VOCABULARY).load()
    if not isinstance(model, Record) or str(model.what) not in ESTIMATORS or not isinstance(model.state, dict):
        refuse(where, "is a pickle, but not of a scikit-learn KMeans", "give the k-means file of the published recipe")
    held = model.state.get("cluster_centers_")
    if not isinstance(held, HeldArray) or held.array is None:
        refuse(where, "is a KMeans without centroids", "it was saved before it was fitted; save it again after")
    about = {"source_class": model.what.name}
    if isinstance(version := model.state.get("_sklearn_version"), str):
        about["source_sklearn"] = version[:40]
    return checked_centroids(held.array, where), about


def checked_centroids(centroids: np.ndarray, where: str) -> np.ndarray:
    """The same [K, D], contiguous; UserError for other shapes and types, and for values that are not finite."""
    if centroids.ndim != 2 or not centroids.size or centroids.dtype not in (np.float32, np.float64):
        found = f"{centroids.dtype} {list(centroids.shape)}"
        refuse(where, f"centroids are {found}, expected [K, D] in float32 or float64")
    if not np.isfinite(centroids).all():
        refuse(where, f"{int((~np.isfinite(centroids)).any(axis=1).sum())} centroids are not finite")
    return np.ascontiguousarray(centroids)
