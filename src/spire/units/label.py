"""Manifests to units files: one line an utterance, in manifest order, whatever can or cannot be read.

NAME.units: deduplicated units as private-use characters; an utterance that is unreadable or shorter than a frame is an
empty line and is listed in unreadable.json. NAME.frames.npz: the labels before deduplication (`ids` [all frames],
`lengths` [utterances]). All files of a run appear together at its end, or none.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from spire.audio import load_utterance
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest
from spire.progress import Progress
from spire.units.encoder import Encoder
from spire.units.kmeans import KMeans
from spire.units.mfcc import WINDOW
from spire.units.text import deduplicate, to_pua


def named_manifests(items: Iterable[str]) -> dict[str, Path]:
    """`NAME=PATH` arguments as {name: path}; UserError for another form, a repeated name, a name unfit for a file."""
    named: dict[str, Path] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals or not path or not name.replace("-", "").replace("_", "").isalnum():
            raise UserError(f"--manifest {item!r} is not NAME=PATH", hint="for example dev=dev/manifest.jsonl")
        if name in named:
            raise UserError(f"--manifest: the name {name!r} is given twice", hint="each manifest needs its own name")
        named[name] = Path(path)
    return named


class AudioReader:
    """Waveforms of utterances; one that cannot be read or is too short becomes empty, and `problems` says why."""

    def __init__(self) -> None:
        self.problems: list[dict[str, str]] = []

    def read(self, manifest: str, utterances: Iterable[Utterance]) -> Iterator[np.ndarray]:
        for utterance in utterances:
            try:
                wav = load_utterance(utterance)
                reason = f"too short: {len(wav)} samples, one frame needs {WINDOW}" if len(wav) < WINDOW else ""
            except (UserError, OSError) as e:
                wav, reason = None, e.message if isinstance(e, UserError) else str(e)
            if reason:
                self.problems.append({"manifest": manifest, "id": utterance.id, "reason": reason})
                wav = np.zeros(0, np.float32)
            yield wav


def label_manifests(encoder: Encoder, kmeans: KMeans, manifests: dict[str, Path], out: Path) -> dict[str, int]:
    """Label every manifest into the folder `out`; returns counts (utterances, frames, units, unreadable).

    UserError when not a single utterance of all manifests gives a frame: the paths are wrong then, not the audio.
    """
    out = Path(out)
    loaded = {name: read_manifest(path) for name, path in manifests.items()}
    reader = AudioReader()
    files: dict[str, bytes] = {}
    counts = {"utterances": 0, "frames": 0, "units": 0, "unreadable": 0}
    seconds = sum(u.duration for utterances in loaded.values() for u in utterances)
    with Progress("label", total=seconds, unit="s of audio") as progress:
        for name, utterances in loaded.items():
            lines, frames = [], []
            for features in encoder.stream(reader.read(name, utterances)):
                ids = kmeans.label(features)
                frames.append(ids)
                units = deduplicate(ids)
                lines.append(to_pua(units) + "\n")
                counts["units"] += len(units)
                progress.advance(utterances[len(lines) - 1].duration, note=name)
            if len(lines) != len(utterances):
                raise RuntimeError(f"{name}: {len(lines)} label lines for {len(utterances)} utterances")
            counts["utterances"] += len(lines)
            counts["frames"] += sum(map(len, frames))
            files[f"{name}.units"] = "".join(lines).encode()
            files[f"{name}.frames.npz"] = _frames_file(frames)
    counts["unreadable"] = len(reader.problems)
    if counts["utterances"] and not counts["frames"]:
        first = reader.problems[0]
        raise UserError(
            f"none of the {counts['utterances']} utterances could be labelled; the first: {first['reason']}",
            hint=f"check the audio paths in {manifests[first['manifest']]}: they are relative to its folder",
        )
    files["unreadable.json"] = (json.dumps(reader.problems, indent=1, ensure_ascii=False) + "\n").encode()
    _write_together(out, files)
    return counts


def read_frames(path: str | Path) -> list[np.ndarray]:
    """The labels of each utterance of a NAME.frames.npz; UserError when the file is missing or inconsistent."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            ids, lengths = stored["ids"], stored["lengths"]
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file", hint="make it with units_label.py") from e
    except (ValueError, KeyError, EOFError) as e:
        raise UserError(f"{path}: not a frames file: {e}", hint="make it again with units_label.py") from e
    if lengths.sum() != len(ids):
        raise UserError(f"{path}: lengths add up to {lengths.sum()}, there are {len(ids)} labels", hint="make it again")
    return np.split(ids, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _frames_file(frames: list[np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    ids = np.concatenate([np.zeros(0, np.int32), *frames]).astype(np.int32)
    np.savez(buffer, ids=ids, lengths=np.array([len(f) for f in frames], np.int32))
    return buffer.getvalue()


def _write_together(folder: Path, files: dict[str, bytes]) -> None:
    """Write all under temporary names first, so that a full disk or a kill leaves no file that looks finished."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = {name: folder / f".{name}.{os.getpid()}.partial" for name in files}
    try:
        for name, data in files.items():
            partial[name].write_bytes(data)
        for name in files:
            os.replace(partial[name], folder / name)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
