"""numpy's names in a pickle, computed here on checked arguments: number arrays come out, nothing else can.

`HeldArray.array` is the [..] array of a finished HeldArray in native byte order. Object arrays (which hold pickles),
structured and text types are refused where they are built.
"""

from __future__ import annotations

import re

import numpy as np

from spire.foreign.unpickle import Machine, Name

_NUMBER = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|c8|c16)")
DIMENSIONS = 8


class HeldDtype:
    """A number type under construction: its code, then (from the state) its byte order."""

    def __init__(self, machine: Machine, code: object):
        if not isinstance(code, str) or not _NUMBER.fullmatch(code):
            machine.refuse(f"holds an array of {str(code)[:20] if isinstance(code, str) else 'unnamed things'!r}")
        self.dtype = np.dtype(code)

    def build(self, machine: Machine, state: object) -> None:
        plain_number = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)
        if not plain_number or state[1] not in ("<", ">", "=", "|"):
            machine.refuse("holds a structured array type")
        self.dtype = self.dtype.newbyteorder(state[1])


class HeldArray:
    """An array under construction; `array` is None until its state arrived."""

    array: np.ndarray | None = None

    def build(self, machine: Machine, state: object) -> None:
        """numpy's own state: (version, shape, type, is in Fortran order, data)."""
        if not isinstance(state, tuple) or len(state) != 5:
            machine.refuse("holds an array in an unknown form")
        _, shape, dtype, fortran, data = state
        if isinstance(data, str):  # what Python 2 wrote
            data = data.encode("latin-1")
        if not isinstance(data, bytes):
            machine.refuse("holds an array whose data are not bytes")
        self.array = shaped(machine, data, dtype, shape, bool(fortran))


def shaped(machine: Machine, data: bytes, dtype: object, shape: object, fortran: bool) -> np.ndarray:
    """`data` as an array; UserError when type, shape and number of bytes do not fit together."""
    count = elements(machine, shape)
    if not isinstance(dtype, HeldDtype) or len(data) != count * dtype.dtype.itemsize:
        machine.refuse(f"holds {len(data)} bytes for an array of {list(shape)}")
    flat = np.frombuffer(data, dtype.dtype)
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return array.astype(dtype.dtype.newbyteorder("="), copy=False)


def elements(machine: Machine, shape: object) -> int:
    """The number of elements of a shape from a file; UserError unless it is a short tuple of sizes."""
    sized = isinstance(shape, tuple) and len(shape) <= DIMENSIONS and all(type(size) is int for size in shape)
    if not sized or any(not 0 <= size < 1 << 40 for size in shape):
        machine.refuse("holds an array of an impossible shape")
    count = 1
    for size in shape:
        count *= size
    return count


def _dtype(machine: Machine, args: tuple) -> HeldDtype:
    return HeldDtype(machine, args[0] if args else None)


def _reconstruct(machine: Machine, args: tuple) -> HeldArray:
    if not args or args[0] != Name("numpy", "ndarray"):
        machine.refuse("holds an array of an unknown class")
    return HeldArray()


def _scalar(machine: Machine, args: tuple) -> bool | int | float | complex:
    if len(args) != 2:
        machine.refuse("holds a number in an unknown form")
    data = args[1].encode("latin-1") if isinstance(args[1], str) else args[1]
    if not isinstance(data, bytes):
        machine.refuse("holds a number whose data are not bytes")
    return shaped(machine, data, args[0], (), False).item()


def _frombuffer(machine: Machine, args: tuple) -> HeldArray:
    """Protocol 5 without outside buffers: (data, type, shape, order)."""
    if len(args) != 4 or not isinstance(args[0], bytes) or args[3] not in ("C", "F"):
        machine.refuse("holds an array in an unknown form")
    held = HeldArray()
    held.array = shaped(machine, args[0], args[1], args[2], args[3] == "F")
    return held


def _encode(machine: Machine, args: tuple) -> bytes:
    """How protocol 2 writes bytes: a text and "latin1"."""
    if len(args) != 2 or not isinstance(args[0], str) or args[1] not in ("latin1", "latin-1"):
        machine.refuse("holds bytes in an unknown form")
    machine.spend(len(args[0]) // 64)
    return args[0].encode("latin-1")


CALLS = {
    "_codecs.encode": _encode,
    "numpy.dtype": _dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _frombuffer for core in ("core", "_core")},
}
INERT = frozenset({"numpy.ndarray"})
