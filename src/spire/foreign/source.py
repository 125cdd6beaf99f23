"""Bytes of an untrusted file, in order and within a budget: nothing is allocated because a file merely says so.

A `Source` hands out at most `limit` bytes. A request beyond the limit is refused before memory is taken, and a request
beyond the end of the data fails once the data runs out. `opened` undoes zlib, gzip, bzip2, xz and lzma on the way,
recognized by their first bytes; what a compressed file may grow to is limited by its own size, so that a small file
cannot fill the memory.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from spire.errors import UserError

LIMIT = 1 << 30  # bytes read from one pickled file: 25 times the largest published k-means
EXPANSION = 200  # float32 centroids shrink to no less than a tenth; a zip bomb to a thousandth
ALLOWANCE = 16 << 20  # bytes that any compressed file may grow to
LZMA_MEMORY = 256 << 20
_CHUNK = 1 << 20
_LINE = 1 << 16
HINT = "fetch the file again from its publisher; only arrays and plain settings are ever read from such files"


def refuse(where: str | Path, reason: str, hint: str = HINT) -> NoReturn:
    """Raise the UserError of a file that is broken or wants more than it may."""
    raise UserError(f"{where}: {reason}", hint)


def refuse_stand_in(head: bytes, where: str | Path) -> None:
    """UserError when the file is what a failed download leaves: nothing, a web page, or a Git LFS pointer."""
    start = head.lstrip().lower()
    stands_for = {b"<": "a web page", b"version h": "a Git LFS pointer"}
    found = next((what for prefix, what in stands_for.items() if start.startswith(prefix)), None)
    if not head or found:
        refuse(
            where, f"is {found or 'empty'}, not the file itself", "download it again (git lfs pull, or the raw file)"
        )


class Source:
    """Sequential reader of byte chunks. `where` names the file in errors; `position` counts the bytes handed out."""

    def __init__(self, chunks: Iterable[bytes], where: str, limit: int = LIMIT):
        self.where, self.limit, self.position = where, limit, 0
        self._chunks = iter(chunks)
        self._buffer, self._at = b"", 0

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes; UserError when the file ends before or the limit is reached."""
        if count < 0 or count > self.limit - self.position:
            refuse(self.where, f"asks for {count} bytes after {self.position}, the limit is {self.limit}")
        self.position += count
        if count <= len(self._buffer) - self._at:
            self._at += count
            return self._buffer[self._at - count : self._at]
        parts, missing = [self._buffer[self._at :]], count - (len(self._buffer) - self._at)
        while missing > 0:
            self._buffer = next(self._chunks, b"")
            if not self._buffer:
                refuse(self.where, "ends in the middle of its data")
            parts.append(self._buffer[:missing])
            self._at = len(parts[-1])
            missing -= self._at
        return b"".join(parts)

    def line(self) -> bytes:
        """The bytes up to the next newline, without it; UserError when none comes within 64 KiB."""
        found = bytearray()
        while (byte := self.exactly(1)) != b"\n":
            found += byte
            if len(found) > _LINE:
                refuse(self.where, "holds a line of more than 64 KiB")
        return bytes(found)


def opened(file: BinaryIO, where: str, limit: int = LIMIT) -> Source:
    """The file from its start, decompressed when it is compressed; `file` must stay open while the source is used."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(6)
    file.seek(0)
    step = _decompressor(head, where)
    chunks = iter(lambda: file.read(_CHUNK), b"")
    if step is None:
        return Source(chunks, where, min(limit, size))
    return Source(_guarded(step, chunks, where), where, min(limit, ALLOWANCE + EXPANSION * size))


def _decompressor(head: bytes, where: str):
    """A function (data) -> iterator of pieces of at most 1 MiB, or None for plain data."""
    if head[:2] == b"\x1f\x8b" or (head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0):
        return _Zlib()
    if head[:3] == b"BZh":
        return _Staged(bz2.BZ2Decompressor())
    if head[:6] == b"\xfd7zXZ\x00" or head[:3] == b"\x5d\x00\x00":
        return _Staged(lzma.LZMADecompressor(memlimit=LZMA_MEMORY))
    if head[:4] == b"\x04\x22\x4d\x18":
        refuse(where, "is compressed with lz4, which is not read here", "save it again with compress='zlib'")
    return None


class _Zlib:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)

    def __call__(self, data: bytes) -> Iterator[bytes]:
        while data and not self._inner.eof:
            yield self._inner.decompress(data, _CHUNK)
            data = self._inner.unconsumed_tail


class _Staged:
    """bzip2 and lzma keep what they were given and could not yet hand out."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor):
        self._inner = inner

    def __call__(self, data: bytes) -> Iterator[bytes]:
        while not self._inner.eof:
            yield self._inner.decompress(data, _CHUNK)
            data = b""
            if self._inner.needs_input:
                return


def _guarded(step, chunks: Iterable[bytes], where: str) -> Iterator[bytes]:
    try:
        for data in chunks:
            for piece in step(data):
                if piece:
                    yield piece
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as e:
        refuse(where, f"cannot be decompressed: {e}")
