"""Replace a few matrices of a safetensors file, with numpy alone and without loading the others.

Guarantees: tensors that are not replaced are copied byte for byte, in the file's order; dtype and metadata stay; a
replaced tensor may have more rows. bfloat16, which numpy lacks, is read as float64 and rounded to nearest even.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spire.errors import UserError

NUMPY_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
MAX_HEADER = 100_000_000  # bytes; the limit of the format's own library
CHUNK = 1 << 24


def read_header(path: str | Path) -> tuple[dict[str, dict], dict, int]:
    """(tensors: name -> {dtype, shape, data_offsets}, metadata, start of the data). Raises UserError if malformed."""
    size = Path(path).stat().st_size
    with open(path, "rb") as f:
        head = f.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else MAX_HEADER + 1
        if length > min(MAX_HEADER, size - 8):
            raise UserError(f"{path}: not a safetensors file, or cut off")
        try:
            header = json.loads(f.read(length))
            metadata = header.pop("__metadata__", {})
            ends = [t["data_offsets"][1] for t in header.values()]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as e:
            raise UserError(f"{path}: not a safetensors file: {e}") from e
    if 8 + length + max(ends, default=0) > size:
        raise UserError(f"{path}: cut off: {size} bytes, {8 + length + max(ends, default=0)} announced")
    return header, metadata, 8 + length


def read_matrix(path: str | Path, name: str) -> np.ndarray:
    """Tensor `name` as float64. Raises UserError for a dtype that is no float."""
    header, _, _ = read_header(path)
    rows, *rest = header[name]["shape"]
    return next(iter(row_blocks(path, name, rows, max(rows, 1))), np.empty((0, *rest)))


def row_blocks(path: str | Path, name: str, rows: int, size: int) -> Iterator[np.ndarray]:
    """The first `rows` rows of tensor `name` as float64, `size` at a time. UserError for a dtype that is no float."""
    header, _, start = read_header(path)
    entry = header[name]
    if entry["dtype"] != "BF16" and entry["dtype"] not in NUMPY_TYPES:
        raise UserError(f"{path}: {name} has dtype {entry['dtype']}; expected F64, F32, F16 or BF16")
    begin, end = entry["data_offsets"]
    width = (end - begin) // max(entry["shape"][0], 1)
    with open(path, "rb") as f:
        f.seek(start + begin)
        for first in range(0, rows, size):
            raw = f.read(width * min(size, rows - first))
            if entry["dtype"] == "BF16":
                flat = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                flat = np.frombuffer(raw, np.dtype(NUMPY_TYPES[entry["dtype"]]).newbyteorder("<"))
            yield flat.astype(np.float64).reshape(-1, *entry["shape"][1:])


def to_bytes(values: np.ndarray, dtype: str) -> bytes:
    """Little-endian bytes of `values` in a safetensors dtype."""
    if dtype != "BF16":
        return values.astype(np.dtype(NUMPY_TYPES[dtype]).newbyteorder("<")).tobytes()
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16).astype("<u2").tobytes()


def append_rows(source: str | Path, destination: str | Path, rows: dict[str, np.ndarray], keep: dict[str, int]) -> int:
    """Copy a file, with tensor `name` cut to its first `keep[name]` rows and followed by `rows[name]` [n, d].

    Returns the bytes of all tensors. Rows that are kept are copied as bytes, so no rounding touches them.
    """
    header, metadata, start = read_header(source)
    out, at, tails, lengths = {}, 0, {}, {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
        begin, end = entry["data_offsets"]
        shape, tail = list(entry["shape"]), b""
        if name in rows:
            per_row = (end - begin) // shape[0]
            tail = to_bytes(rows[name], entry["dtype"])
            end = begin + keep[name] * per_row
            shape = [keep[name] + len(rows[name]), *shape[1:]]
        tails[name], lengths[name] = tail, (begin, end - begin)
        size = end - begin + len(tail)
        out[name] = {"dtype": entry["dtype"], "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps({"__metadata__": metadata, **out} if metadata else out, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(source, "rb") as f, open(destination, "wb") as g:
        g.write(struct.pack("<Q", len(text)) + text)
        for name in out:
            begin, left = lengths[name]
            f.seek(start + begin)
            while left:
                chunk = f.read(min(left, CHUNK))
                g.write(chunk)
                left -= len(chunk)
            g.write(tails[name])
    return at
