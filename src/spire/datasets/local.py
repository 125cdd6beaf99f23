"""Corpora on this machine's disks: manifests, TSV lists, folders of audio files, tar archives.

Order: manifests and lists as written; folders and archives sorted by name. Nothing is extracted and nothing written.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from spire.datasets.corpus import Corpus, Item, Reference, digest_of
from spire.errors import UserError
from spire.manifest import parse_line
from spire.textfiles import read_lines

# Endings of the formats that libsndfile reads; other files of a folder or archive (transcripts, say) are not audio.
ENDINGS = frozenset(
    [".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".nist", ".oga", ".ogg", ".opus"]
    + [".rf64", ".snd", ".sph", ".voc", ".w64", ".wav"]
)


def is_audio(name: str) -> bool:
    """By its ending, in either case."""
    return os.path.splitext(name)[1].lower() in ENDINGS


class ManifestCorpus(Corpus):
    """The utterances of a manifest (JSONL, see spire.manifest), weighed by their durations.

    Only places and durations are held, so that tens of millions of utterances fit into memory; every line is checked.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)
        places, lengths, digest = array("q"), array("d"), hashlib.sha256()
        self._numbers = array("q")
        place = 0
        for number, line in _lines(self._path):
            digest.update(line)
            if line.strip():
                lengths.append(parse_line(_text(line, self._path, number), self._path, number).duration)
                places.append(place)
                self._numbers.append(number)
            place += len(line)
        self._places = places
        self.lengths = self.weights = np.array(lengths, np.float64)
        self.digest = digest_of(["manifest", digest.digest()])
        self.pieces = len(places)

    def items(self, first: int, last: int, skip: int = 0) -> Iterator[Item]:
        with open(self._path, "rb") as file:
            for row in range(min(first + skip, last), last):
                file.seek(self._places[row])
                line = _text(file.readline(), self._path, self._numbers[row])
                u = parse_line(line, self._path, self._numbers[row])
                yield Item(u.id, Reference(str(u.audio_path), u.start, u.duration, *u.stretch), u.duration)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with open(path, "rb") as file:
            yield from enumerate(file, start=1)
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such manifest", hint="run the step that makes it") from e


def _text(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as e:
        raise UserError(f"{path}:{number}: not UTF-8 text: {e.reason} at byte {e.start} of the line") from e


class FilesCorpus(Corpus):
    """Files below one folder, by their relative names; ids are the names without ending."""

    def __init__(self, root: str, names: list[str], weights: np.ndarray, digest: str):
        self._root, self._names = root, names
        self.weights, self.digest, self.pieces = weights, digest, len(names)

    def items(self, first: int, last: int, skip: int = 0) -> Iterator[Item]:
        for row in range(min(first + skip, last), last):
            name = self._names[row]
            reference = Reference(os.path.join(self._root, name))
            yield Item(Path(os.path.splitext(name)[0]).as_posix(), reference, float(self.weights[row]))


class TsvCorpus(FilesCorpus):
    r"""A list as fairseq and SPIRE write it: the root folder on line 1, then `relative path\tnumber of samples`.

    The numbers only weigh the utterances, because their sampling rate is not said. A root that is relative is so to the
    folder of the list. UserError with the line number for anything else.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        lines = read_lines(path)
        if not lines or not lines[0].strip():
            hint = "line 1 is a folder, then path TAB samples"
            raise UserError(f"{path}:1: expected the folder of the audio", hint=hint)
        names, samples = [], array("d")
        for number, line in enumerate(lines[1:], start=2):
            name, tab, count = line.partition("\t")
            if not tab or not name or not (count.strip().isascii() and count.strip().isdecimal()):
                raise UserError(f"{path}:{number}: expected path TAB samples, found {line[:60]!r}")
            names.append(name)
            samples.append(float(count))
        root = os.path.abspath(path.parent / lines[0].strip())
        super().__init__(root, names, np.array(samples), digest_of(["tsv", path.read_bytes()]))


class FolderCorpus(FilesCorpus):
    """All audio files below a folder, sorted by path. Weighed by file size."""

    def __init__(self, path: str | Path):
        root = Path(path)
        names = []
        for folder, _, files in os.walk(root):
            names += [os.path.relpath(os.path.join(folder, name), root) for name in files if is_audio(name)]
        if not names:
            raise UserError(f"{root}: no audio file in it", hint="endings looked for: " + " ".join(sorted(ENDINGS)))
        # By parts: "a/b" stands before "a.wav" on every machine, whatever its locale.
        names.sort(key=lambda name: name.split(os.sep))
        sizes = np.array([_size(root / name) for name in names], np.float64)
        digest = digest_of(["folder", *[f"{name}\t{size:.0f}" for name, size in zip(names, sizes, strict=True)]])
        super().__init__(os.path.abspath(root), names, sizes, digest)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a dangling link: its utterance will be listed as unreadable
        return 0


class TarCorpus(Corpus):
    """Audio in uncompressed tar archives (as webdataset makes them), read where it lies. Each archive is a piece.

    Order: archives as given, members as stored. Members that are not audio files by their ending are passed over; ids
    are the members' names without ending. UserError when an archive is compressed, damaged or cut off.
    """

    single = False

    def __init__(self, paths: list[Path]):
        self._paths = paths
        sizes = []
        for path in paths:
            try:
                sizes.append(path.stat().st_size)
            except OSError as e:
                raise UserError(f"{path}: {e.strerror}", hint="check the path of the archives") from e
        self.pieces = len(paths)
        self.weights = np.array(sizes, np.float64)
        self.digest = digest_of(["tar", *[f"{p.name}\t{size}" for p, size in zip(paths, sizes, strict=True)]])

    def items(self, first: int, last: int, skip: int = 0) -> Iterator[Item]:
        return islice((item for path in self._paths[first:last] for item in _members(path)), skip, None)


def _members(path: Path) -> Iterator[Item]:
    absolute = os.path.abspath(path)
    try:
        with tarfile.open(path, mode="r:") as archive:
            while (member := archive.next()) is not None:
                # The list that tarfile keeps for look-ups by name would grow with the archive.
                archive.members.clear()
                if member.isreg() and not member.issparse() and is_audio(member.name):
                    reference = Reference(absolute, offset=member.offset_data, size=member.size)
                    # With the header and the padding, so that the weights of the members are the archive's size.
                    yield Item(os.path.splitext(member.name)[0], reference, 512 + -(-member.size // 512) * 512)
    except (tarfile.TarError, OSError, EOFError) as e:
        hint = "archives must be plain .tar (decompress once: audio hardly shrinks); fetch it again if it is cut off"
        raise UserError(f"{path}: not a whole tar archive: {e}", hint) from e
