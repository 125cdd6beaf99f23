"""Corpora on this machine's disks: manifests, TSV lists, folders of audio files, tar archives.

Order: manifests and lists as written; folders and archives sorted by name. Nothing is extracted and nothing written.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from spire.datasets.corpus import Corpus, Item, ListCorpus, Reference, digest_of
from spire.errors import UserError
from spire.manifest import read_manifest
from spire.textfiles import read_lines

# Endings of the formats that libsndfile reads; other files of a folder or archive (transcripts, say) are not audio.
ENDINGS = frozenset(
    [".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".nist", ".oga", ".ogg", ".opus"]
    + [".rf64", ".snd", ".sph", ".voc", ".w64", ".wav"]
)


def is_audio(name: str) -> bool:
    """By its ending, in either case."""
    return os.path.splitext(name)[1].lower() in ENDINGS


class ManifestCorpus(ListCorpus):
    """The utterances of a manifest (JSONL, see spire.manifest), weighed by their durations."""

    def __init__(self, path: str | Path):
        utterances = read_manifest(path)
        items = [Item(u.id, Reference(str(u.audio_path), u.start, u.duration), u.duration) for u in utterances]
        lengths = np.array([u.duration for u in utterances], np.float64)
        super().__init__(items, digest_of(["manifest", Path(path).read_bytes()]), lengths)
        self.lengths = lengths


class TsvCorpus(ListCorpus):
    r"""A list as fairseq and SPIRE write it: the root folder on line 1, then `relative path\tnumber of samples`.

    The numbers only weigh the utterances, because their sampling rate is not said. A root that is relative is so to the
    folder of the list. UserError with the line number for anything else.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        lines = read_lines(path)
        if not lines or not lines[0].strip():
            raise UserError(
                f"{path}:1: expected the folder of the audio", hint="line 1 is a folder, then path TAB samples"
            )
        root = Path(os.path.abspath(path.parent / lines[0].strip()))
        items, samples = [], []
        for number, line in enumerate(lines[1:], start=2):
            name, tab, count = line.partition("\t")
            if not tab or not name or not count.strip().isdecimal():
                raise UserError(f"{path}:{number}: expected path TAB samples, found {line[:60]!r}")
            samples.append(float(count))
            items.append(Item(os.path.splitext(name)[0], Reference(str(root / name)), samples[-1]))
        super().__init__(items, digest_of(["tsv", path.read_bytes()]), np.array(samples))


class FolderCorpus(ListCorpus):
    """All audio files below a folder, sorted by path; ids are the paths without ending. Weighed by file size."""

    def __init__(self, path: str | Path):
        root = Path(path)
        found = []
        for folder, _, names in os.walk(root):
            found += [os.path.relpath(os.path.join(folder, name), root) for name in names if is_audio(name)]
        if not found:
            raise UserError(f"{root}: no audio file in it", hint="endings looked for: " + " ".join(sorted(ENDINGS)))
        # By parts: "a/b" stands before "a.wav" on every machine, whatever its locale.
        found.sort(key=lambda name: name.split(os.sep))
        sizes = np.array([_size(root / name) for name in found], np.float64)
        base = os.path.abspath(root)
        items = [
            Item(Path(os.path.splitext(name)[0]).as_posix(), Reference(os.path.join(base, name)), size)
            for name, size in zip(found, sizes.tolist(), strict=True)
        ]
        names = [f"{name}\t{size:.0f}" for name, size in zip(found, sizes, strict=True)]
        super().__init__(items, digest_of(["folder", *names]), sizes)


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
