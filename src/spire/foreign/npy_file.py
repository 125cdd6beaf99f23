"""One float matrix out of a .npy or .npz file: no pickles, and no memory for data that are not there."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from spire.foreign.archive import ERRORS, open_archive
from spire.foreign.joblib_kmeans import checked_centroids
from spire.foreign.source import ALLOWANCE, EXPANSION, LIMIT, Source, refuse

NAMES = ("centroids", "cluster_centers_", "arr_0")  # looked for in an .npz, in this order
_CHUNK = 1 << 20
_LONGEST = 4096  # bytes of a .npy header; numpy writes 118 for a matrix


def read_matrix(path: str | Path) -> np.ndarray:
    """[K, D] float32 or float64, finite; UserError for everything else."""
    where = str(path)
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        zipped = file.read(2) == b"PK"
        file.seek(0)
        if not zipped:
            return _matrix(Source(iter(lambda: file.read(_CHUNK), b""), where, min(LIMIT, size)))
        try:
            return _from_archive(file, size, where)
        except (*ERRORS, zlib.error, lzma.LZMAError) as e:
            refuse(where, f"is not a readable .npz file: {e}")


def _from_archive(file: BinaryIO, size: int, where: str) -> np.ndarray:
    with open_archive(file, where) as archive:
        found = [name for name in NAMES if f"{name}.npy" in archive.namelist()]
        if not found:
            refuse(where, f"has no array named {', '.join(NAMES)}", "save it with numpy.savez(path, centroids=...)")
        with archive.open(f"{found[0]}.npy") as member:

            def pieces() -> Iterator[bytes]:
                while piece := member.read(_CHUNK):
                    yield piece

            return _matrix(Source(pieces(), where, min(LIMIT, ALLOWANCE + EXPANSION * size)))


_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    r"\{(?=[^}]*'descr': '(?P<type>[<>]f[48])')(?=[^}]*'fortran_order': (?P<fortran>True|False))"
    r"(?=[^}]*'shape': \((?P<rows>[0-9]{1,12}), (?P<columns>[0-9]{1,12}),?\))[^}]*\}\s*"
)


def _matrix(source: Source) -> np.ndarray:
    """The .npy format's header is a Python dictionary as text; numpy evaluates it, here a pattern must match."""
    magic, version = source.exactly(6), source.exactly(2)
    if magic != _MAGIC or version[0] not in (1, 2, 3):
        refuse(source.where, "is not a .npy array")
    size = int.from_bytes(source.exactly(2 if version[0] == 1 else 4), "little")
    if size > _LONGEST:
        refuse(source.where, f"is not a .npy array: a header of {size} bytes")
    header = source.exactly(size).decode("latin-1")
    match = _HEADER.fullmatch(header)
    if match is None or not int(match["rows"]) or not int(match["columns"]):
        refuse(source.where, f"is an array of {header.strip()[:100]!r}, expected [K, D] in float32 or float64")
    shape, dtype = (int(match["rows"]), int(match["columns"])), np.dtype(match["type"])
    flat = np.frombuffer(source.exactly(shape[0] * shape[1] * dtype.itemsize), dtype)
    matrix = flat.reshape(shape[::-1]).T if match["fortran"] == "True" else flat.reshape(shape)
    return checked_centroids(matrix.astype(dtype.newbyteorder("="), copy=False), source.where)
