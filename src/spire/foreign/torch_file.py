"""torch.save files without torch: `spire.foreign.unpickle` reads the pickle, tensors become arrays on demand.

Both forms are read: the zip archive (torch 1.6 and later) and the older stream of pickles. Only the tensors that
somebody asks for are loaded (`TorchFile.array`), so an optimizer state of gigabytes costs nothing. bfloat16 widens to
float32, which is exact. Nothing is ever extracted to disk, and an archive cannot be a bomb: its members must be stored
uncompressed and together fit into the file. UserError for everything else.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from spire.errors import UserError
from spire.foreign import numpy_names
from spire.foreign.archive import open_archive, read_member
from spire.foreign.source import LIMIT, Source, refuse, refuse_stand_in
from spire.foreign.unpickle import Machine, Name, Vocabulary

_DTYPES = {
    "HalfStorage": "<f2", "FloatStorage": "<f4", "DoubleStorage": "<f8", "BFloat16Storage": "bf16",
    "CharStorage": "<i1", "ShortStorage": "<i2", "IntStorage": "<i4", "LongStorage": "<i8",
    "ByteStorage": "<u1", "BoolStorage": "|b1",
}  # fmt: skip
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
READ_AGAIN = 4  # times the file's size that may be read; tied tensors share storages, a bomb does so a million times


@dataclass(frozen=True)
class Storage:
    """A block of numbers in the file: key, number type, count."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, not loaded yet; `shape` is checked to fit when it is read from the file."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _tensor(machine: Machine, args: tuple) -> Tensor:
    """torch._utils._rebuild_tensor_v2 (storage, offset, size, stride, ...)."""
    if len(args) < 4 or not isinstance(args[0], Storage):
        machine.refuse("holds a tensor in an unknown form")
    storage, offset, shape, stride = args[:4]
    count = numpy_names.elements(machine, shape)
    numpy_names.elements(machine, stride)
    # A tensor never has more elements than its storage, or a few bytes could stand for any amount of memory.
    reach = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=False)) if count else 0
    if type(offset) is not int or offset < 0 or len(shape) != len(stride):
        machine.refuse("holds a tensor in an unknown form")
    if count > storage.count or offset + reach > storage.count:
        machine.refuse(f"holds a tensor of {list(shape)} beyond its storage of {storage.count} numbers")
    return Tensor(storage, offset, shape, stride)


def _parameter(machine: Machine, args: tuple) -> Tensor:
    if not args or not isinstance(args[0], Tensor):
        machine.refuse("holds a parameter without a tensor")
    return args[0]


def _ordered(machine: Machine, args: tuple) -> dict:
    if args:
        machine.refuse("holds an ordered dictionary in an unknown form")
    return {}


def _size(machine: Machine, args: tuple) -> tuple:
    numpy_names.elements(machine, args[0] if len(args) == 1 else None)
    return args[0]


_STORAGES = {f"torch.{name}": dtype for name, dtype in _DTYPES.items()}
CALLS = numpy_names.CALLS | {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
}
_TYPES = frozenset(f"torch.{n}" for n in ("float16", "bfloat16", "float32", "float64", "int32", "int64", "bool"))
INERT = numpy_names.INERT | frozenset(_STORAGES) | _TYPES | {"torch.device"}
PLAIN = Vocabulary(CALLS, INERT)


class TorchFile:
    """An open torch file: `root` is what was saved, with `Tensor`s in place of tensors. Use as a context manager."""

    def __init__(self, path: str | Path, vocabulary: Vocabulary = PLAIN):
        self.where = str(path)
        self._vocabulary = vocabulary
        self._storages: dict[str, Storage] = {}
        self._places: dict[str, int] = {}  # old form: where the data of a storage start
        self._last: tuple[str, bytes] | None = None
        self._read = 0
        self._archive: zipfile.ZipFile | None = None
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed by __exit__
        try:
            self._size = self._file.seek(0, 2)
            self._file.seek(0)
            head = self._file.read(9)
            refuse_stand_in(head, self.where)
            self.root = self._read_archive() if head[:4] == b"PK\x03\x04" else self._read_stream()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> TorchFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive:
            self._archive.close()
        self._file.close()

    # The archive.

    def _read_archive(self) -> object:
        self._archive = open_archive(self._file, self.where)
        members = self._archive.infolist()
        names = {member.filename for member in members}
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            refuse(
                self.where, "is a compressed archive, which torch never writes", "unpack it if a .zip was downloaded"
            )
        if sum(member.file_size for member in members) > self._size:
            refuse(self.where, f"claims more data than its {self._size} bytes")
        roots = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(roots) != 1:
            refuse(self.where, "is a zip archive, but not one of torch.save", "give the checkpoint's .pt or .bin file")
        self._folder = roots[0].removesuffix("data.pkl")
        order = self._folder + "byteorder"
        if order in names and read_member(self._archive, order, self.where) != b"little":
            refuse(self.where, "holds numbers in big-endian order", "save it again on a little-endian machine")
        data = read_member(self._archive, roots[0], self.where)
        return Machine(Source([data], self.where), self._vocabulary, persistent=self._storage).load()

    # The stream of pickles.

    def _read_stream(self) -> object:
        hint = "give a checkpoint written by torch.save (1.0 or later)"
        self._file.seek(0)
        if self._file.read(1) != b"\x80":
            refuse(self.where, "is neither a torch archive nor torch's older form", hint)
        self._file.seek(0)
        source = Source(iter(lambda: self._file.read(1 << 16), b""), self.where, min(LIMIT, self._size))
        magic, protocol, system = (Machine(source, Vocabulary()).load() for _ in range(3))
        if magic != _MAGIC or protocol != _PROTOCOL or not isinstance(system, dict):
            refuse(self.where, "is neither a torch archive nor torch's older form", hint)
        if system.get("little_endian") is not True:
            refuse(self.where, "holds numbers in big-endian order", "save it again on a little-endian machine")
        root = Machine(source, self._vocabulary, persistent=self._storage).load()
        keys = Machine(source, Vocabulary()).load()
        if not isinstance(keys, list) or any(key not in self._storages for key in keys if isinstance(key, str)):
            refuse(self.where, "lists storages that it does not use")
        place = source.position
        for key in keys:
            storage = self._storages.get(key) if isinstance(key, str) else None
            self._file.seek(place)
            if storage is None or int.from_bytes(self._file.read(8), "little") != storage.count:
                refuse(self.where, "ends in the middle of its data, or describes a storage in two ways")
            self._places[key] = place + 8
            place += 8 + storage.count * _width(storage)
        if place > self._size:
            refuse(self.where, "ends in the middle of its data")
        return root

    # Tensors.

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    def _storage(self, identity: object) -> Storage:
        """A persistent id: ("storage", type, key, device, count[, view])."""
        known = isinstance(identity, tuple) and 5 <= len(identity) <= 6 and identity[0] == "storage"
        if not known or str(identity[1]) not in _STORAGES or not isinstance(identity[1], Name):
            refuse(self.where, "refers to something that is not a storage")
        key, count = identity[2], identity[4]
        if len(identity) == 6 and identity[5] is not None:
            refuse(self.where, "holds a view of a storage, which torch stopped writing in 2018")
        if not isinstance(key, str) or not key.isdecimal() or type(count) is not int or not 0 <= count <= self._size:
            refuse(self.where, "refers to a storage in an unknown form")
        storage = Storage(key, _STORAGES[str(identity[1])], count)
        if self._storages.setdefault(key, storage) != storage:
            refuse(self.where, f"describes storage {key} in two ways")
        return storage

    def _bytes(self, storage: Storage) -> bytes:
        """The storage's data; the last ones stay in memory, for files that cut all tensors out of one storage."""
        if self._last is not None and self._last[0] == storage.key:
            return self._last[1]
        size = storage.count * _width(storage)
        self._read += size
        if self._read > READ_AGAIN * self._size:
            refuse(self.where, "makes its tensors read the same data over and over")
        if self._archive is None:
            if storage.key not in self._places:
                refuse(self.where, f"lacks storage {storage.key}")
            self._file.seek(self._places[storage.key])
            data = self._file.read(size)
        else:
            data = read_member(self._archive, f"{self._folder}data/{storage.key}", self.where)
        if len(data) != size:
            refuse(self.where, f"storage {storage.key} has {len(data)} bytes, expected {size}")
        self._last = storage.key, data
        return data

    def array(self, tensor: Tensor) -> np.ndarray:
        """The tensor as a contiguous array; bfloat16 becomes float32. UserError when its data are missing."""
        data, dtype = self._bytes(tensor.storage), tensor.storage.dtype
        flat = np.frombuffer(data, "<u2" if dtype == "bf16" else dtype)
        steps = tuple(step * flat.itemsize for step in tensor.stride)
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps, writeable=False)
        if dtype == "bf16":
            return (view.astype(np.uint32) << 16).view(np.float32)
        return np.ascontiguousarray(view).reshape(tensor.shape)


def _width(storage: Storage) -> int:
    return 2 if storage.dtype == "bf16" else np.dtype(storage.dtype).itemsize


def tensors_of(state: object, where: str) -> Mapping[str, Tensor]:
    """`state` as {name: Tensor}; UserError when it is not a dictionary of tensors only."""
    if not isinstance(state, dict) or not state:
        raise UserError(f"{where}: holds no dictionary of tensors", hint="give the checkpoint of an encoder")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{where}: {str(key)[:80]!r} is not a tensor", hint="give the checkpoint of an encoder")
    return state
