"""Writes safetensors files one tensor at a time: the same tensors and metadata give the same bytes.

Written here and not by the safetensors library, which wants every tensor in memory at once and whose order of metadata
differs from run to run. The format: 8 bytes header length, JSON header, then the data in the order of the header.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from spire.errors import UserError

_CODES = {
    "f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64", "u1": "U8", "b1": "BOOL",
}  # fmt: skip


def write_tensors(
    path: Path, described: Mapping[str, tuple[tuple[int, ...], str]], get: Callable[[str], np.ndarray], metadata: dict
) -> None:
    """`described` gives the shape and numpy type code ("f4") of each name, `get` its values. Written in place: give a
    partial name. UserError when an array is not as described."""
    header: dict = {"__metadata__": dict(sorted(metadata.items()))}
    start = 0
    names = sorted(described)
    for name in names:
        shape, code = described[name]
        count = 1
        for size in shape:
            count *= size
        end = start + count * int(code[1])
        header[name] = {"dtype": _CODES[code], "shape": list(shape), "data_offsets": [start, end]}
        start = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in names:
            array = get(name)
            if array.shape != described[name][0] or array.dtype != np.dtype(described[name][1]):
                raise UserError(f"{name}: {array.dtype} {list(array.shape)} is not {described[name]}")
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, {} without any; UserError when it is not one."""
    hint = "fetch or make the file again"
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > 100 << 20:
                raise UserError(f"{path}: is no safetensors file (its header would have {size} bytes)", hint)
            header = json.loads(file.read(size))
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file", hint) from e
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path}: is no safetensors file: {e}", hint) from e
    found = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UserError(f"{path}: its metadata are not texts", hint)
    return found
