"""Zip archives from strangers, read in place: a bounded table of contents, no encryption, nothing extracted to disk."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from spire.foreign.source import refuse

DIRECTORY = 8 << 20  # bytes of the table of contents; Python needs about ten times as much to hold it
ERRORS = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)
"""zipfile's ways to say that an archive is broken, encrypted, or compressed in a way it does not know."""


class _Guarded:
    """The file for zipfile, which reads a table of contents in one piece, however long the archive says it is."""

    def __init__(self, file: BinaryIO, where: str):
        self._file, self._where, self.limit = file, where, DIRECTORY
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def seekable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        if count > self.limit:
            refuse(self._where, f"has a table of contents of {count} bytes")
        return self._file.read(min(count, self.limit) if count >= 0 else self.limit)


def open_archive(file: BinaryIO, where: str) -> zipfile.ZipFile:
    """The archive in an open file; UserError when it is broken, encrypted, or holds a name twice."""
    guarded = _Guarded(file, where)
    try:
        archive = zipfile.ZipFile(guarded)  # type: ignore[arg-type]
    except ERRORS as e:
        refuse(where, f"is not a readable archive: {e}")
    guarded.limit = file.seek(0, 2)
    members = archive.infolist()
    if len({member.filename for member in members}) != len(members):
        refuse(where, "is an archive with two members of one name")
    if any(member.flag_bits & 1 for member in members):
        refuse(where, "is an encrypted archive")
    return archive


def read_member(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    """The bytes of a member, checked against its checksum; UserError when it is missing or damaged."""
    try:
        return archive.read(name)
    except KeyError:
        refuse(where, f"lacks {name[:80]}, which it refers to")
    except ERRORS as e:
        refuse(where, f"{name[:80]} in it cannot be read: {e}")
