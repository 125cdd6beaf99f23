"""One float matrix out of a .npy or .npz file: no pickles, and no memory for data that are not there."""

from __future__ import annotations

import lzma
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


class _Header:
    """What numpy's header readers read from: they only ask for a few bytes at a time."""

    def __init__(self, source: Source):
        self.read = source.exactly


def _matrix(source: Source) -> np.ndarray:
    try:
        version = np.lib.format.read_magic(_Header(source))
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(_Header(source))
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError, EOFError) as e:
        refuse(source.where, f"is not a .npy array: {e}")
    if dtype.kind != "f" or dtype.itemsize not in (4, 8) or len(shape) != 2 or min(shape) < 1:
        refuse(source.where, f"centroids are {dtype} {list(shape)}, expected [K, D] in float32 or float64")
    flat = np.frombuffer(source.exactly(shape[0] * shape[1] * dtype.itemsize), dtype)
    matrix = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return checked_centroids(matrix.astype(dtype.newbyteorder("="), copy=False), source.where)
