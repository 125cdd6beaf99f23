"""Features on disk: written in parts by any number of jobs, resumable, and read back as one array in corpus order.

A feature folder holds one folder a part, `part-00002-of-00008/`, with numbered .npy shards ([rows, dim], float32 or
float16) and an index.json. A shard closes at the end of the utterance that fills it (an hour of audio unless told
otherwise); then the index is replaced, so that an interrupted part goes on after its last shard and ends with the bytes
of an undisturbed run. Parts are contiguous stretches of the corpus: frame g of the folder is frame g of the corpus,
whatever the number of parts and the size of shards. A folder of published shards (`shard_0.npy`, ...; spec 5) is read
as well. Defects 7 and 17 of spec 13 are absent: nothing is dropped, appended twice, or left as an empty shard.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from spire.audio import RATE
from spire.datasets.corpus import Corpus, Item
from spire.datasets.loader import decoded
from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.files import replaced_file
from spire.progress import AudioProgress
from spire.units.encoder import Encoder

WHOLE = Shard()
FORMAT = "spire-features-1"
DTYPES = ("float32", "float16")
OPEN_SHARDS = 64
_HEADER = 128  # bytes before the data of a shard: the row count can be written last


def write_features(
    encoder: Encoder,
    corpus: Corpus,
    out: str | Path,
    shard: Shard = WHOLE,
    hours_per_shard: float = 1.0,
    dtype: str = "float32",
    workers: int = 0,
) -> dict:
    """Encode part `shard` of the corpus into the folder `out`; returns the part's index, at once when it is finished.

    The index: part, parts, dim, dtype, rows_per_shard, encoder (its metadata), corpus (its digest), pieces [first,
    stop), utterances, frames, seconds, weight (of the corpus, done so far), shards [{file, rows}], unreadable [{id,
    reason}], finished. An utterance without a frame adds none and is listed under `unreadable`. UserError: settings
    differ from those of the part's index, a frame is not finite, float16 cannot hold it, or no utterance of the corpus
    gives a frame. (Of one part among several this is only printed; a folder without frames is refused by its readers.)
    """
    if dtype not in DTYPES:
        raise UserError(f"features cannot be stored as {dtype}", hint="--store " + " or ".join(DTYPES))
    rows_per_shard = round(hours_per_shard * 3600 * encoder.rate_hz)
    if rows_per_shard < 1:
        raise UserError(f"{hours_per_shard} hours a shard are no frame", hint="--hours-per-shard 1 is the usual size")
    folder = Path(out) / f"part-{shard.part:05d}-of-{shard.parts:05d}"
    settings = {
        "format": FORMAT,
        "part": shard.part,
        "parts": shard.parts,
        "dim": encoder.dim,
        "dtype": dtype,
        "rows_per_shard": rows_per_shard,
        "encoder": encoder.metadata(),
        "corpus": corpus.digest,
        "pieces": list(shard.cut(corpus.pieces, corpus.weights)),
    }
    index = _resumed(folder, settings)
    if not index["finished"]:
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob(".*.npy.*.partial"):  # a killed run's; up to an hour of features each
            unfinished.unlink(missing_ok=True)
        _write_part(encoder, corpus, folder, index, workers)
    if index["utterances"] and not index["frames"]:
        first = index["unreadable"][0]
        reason = f"none of {index['utterances']} utterances gave a frame; the first, {first['id']}: {first['reason']}"
        if shard.parts == 1:
            raise UserError(reason, hint=f"check the audio paths, then remove {folder}")
        print(f"warning: {reason}", file=sys.stderr, flush=True)
    return index


def _resumed(folder: Path, settings: dict) -> dict:
    """The index of a part begun earlier, or a fresh one."""
    path = folder / "index.json"
    if not path.exists():
        counts = {"utterances": 0, "frames": 0, "seconds": 0.0, "weight": 0.0}
        return settings | counts | {"shards": [], "unreadable": [], "finished": False}
    index = _read_index(path)
    for key, value in settings.items():
        if index.get(key) != value:
            reason = f"{path}: {key} is {index.get(key)!r} there and {value!r} now"
            raise UserError(reason, hint=f"remove {folder}, or give another --out")
    for shard in index["shards"]:
        _open_shard(folder / shard["file"], shard["rows"], index["dim"])
    return index


def _write_part(encoder: Encoder, corpus: Corpus, folder: Path, index: dict, workers: int) -> None:
    read_ahead: deque[tuple[Item, float, str]] = deque()

    def waveforms() -> Iterator[np.ndarray]:
        for utterance in decoded(corpus.items(*index["pieces"], skip=index["utterances"]), workers):
            read_ahead.append((utterance.item, len(utterance.samples) / RATE, utterance.reason))
            yield utterance.samples

    stream = encoder.stream(waveforms())
    with AudioProgress("features", corpus.total(*index["pieces"]), index["weight"]) as progress:
        while not index["finished"]:
            name = f"{len(index['shards']):06d}.npy"
            rows = 0
            with _shard_file(folder / name, index["dim"], index["dtype"]) as add:
                while rows < index["rows_per_shard"]:
                    features = next(stream, None)
                    if features is None:
                        index["finished"] = True
                        break
                    item, seconds, reason = read_ahead.popleft()
                    if len(features):
                        add(features, item.id)
                        rows += len(features)
                    else:
                        index["unreadable"].append({"id": item.id, "reason": reason or f"too short: {seconds:.4f} s"})
                    index["utterances"] += 1
                    index["seconds"] += seconds
                    index["weight"] += item.weight
                    progress.advance_audio(seconds, item.weight)
            index["frames"] += rows
            if rows:
                index["shards"].append({"file": name, "rows": rows})
            _write_index(folder, index)


@contextmanager
def _shard_file(path: Path, dim: int, dtype: str) -> Iterator:
    """A function that appends features [T, dim]; the .npy appears when the block ends, unless it has no row."""
    rows = 0
    with replaced_file(path) as partial, open(partial, "wb") as file:
        file.write(b"\0" * _HEADER)

        def add(features: np.ndarray, name: str) -> None:
            nonlocal rows
            with np.errstate(over="ignore"):
                stored = np.ascontiguousarray(features, dtype=np.dtype(dtype).newbyteorder("<"))
            if features.shape[1] != dim:
                raise RuntimeError(f"{name}: {features.shape[1]} dimensions, the encoder promised {dim}")
            if not np.isfinite(stored).all():
                reason = f"{name}: a feature is not finite" + (" in float16" if dtype == "float16" else "")
                raise UserError(reason, hint="store float32, or remove the utterance from the manifest")
            file.write(stored.data)
            rows += len(stored)

        yield add
        file.seek(0)
        file.write(_npy_header(rows, dim, dtype))
    if not rows:
        path.unlink()


def _npy_header(rows: int, dim: int, dtype: str) -> bytes:
    """The 128 bytes that make the file an .npy of format 1.0."""
    descr = np.dtype(dtype).newbyteorder("<").str
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}".encode()
    return b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + text.ljust(_HEADER - 11) + b"\n"


def _write_index(folder: Path, index: dict) -> None:
    with replaced_file(folder / "index.json") as partial:
        partial.write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_index(path: Path) -> dict:
    hint = "make the features again with units_features.py"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file", hint) from e
    except ValueError as e:
        raise UserError(f"{path}: not JSON: {e}", hint) from e
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise UserError(f"{path}: not an index of features", hint)
    return index


def _open_shard(path: Path, rows: int | None, dim: int | None) -> np.ndarray:
    """The shard as a read-only memory map; UserError when it is missing, cut short, or of another shape."""
    hint = "remove its part and run units_features.py again"
    try:
        shard = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such shard", hint) from e
    except (ValueError, EOFError) as e:
        raise UserError(f"{path}: not a whole .npy shard: {e}", hint) from e
    wanted = (rows if rows is not None else len(shard), dim if dim is not None else shard.shape[-1])
    if shard.ndim != 2 or shard.shape != wanted or shard.dtype.kind != "f":
        raise UserError(f"{path}: {shard.dtype} {list(shard.shape)}, expected {list(wanted)} floats", hint)
    return shard


class FeatureFolder:
    """All frames of a feature folder as one array [rows, dim], read in slices.

    Attributes: rows, dim, seconds (of audio; None for published shards), metadata (of the encoder), fingerprint.
    UserError: no shards, a part is missing or unfinished, parts disagree, a shard is damaged.
    """

    def __init__(self, folder: str | Path):
        self.path = Path(folder)
        if not self.path.is_dir():
            raise UserError(f"{folder}: no such feature folder", hint="make it with units_features.py")
        parts = sorted(self.path.glob("part-*-of-*/index.json"))
        self._shards = self._of_parts(parts) if parts else self._published()
        self._ends = np.cumsum([rows for _, rows, _ in self._shards]).tolist()
        self.rows = self._ends[-1] if self._ends else 0
        # A memory map holds its file open, and a process may hold a thousand or so.
        self._map = lru_cache(maxsize=OPEN_SHARDS)(_open_shard)
        if not self.rows:
            raise UserError(f"{folder}: no frames in it", hint="make it with units_features.py")
        self.dim = self._shards[0][2]
        shape = json.dumps([self.rows, self.dim, self.metadata, self._source], sort_keys=True)
        self.fingerprint = hashlib.sha256(shape.encode()).hexdigest()[:16]

    def _of_parts(self, paths: list[Path]) -> list[tuple[Path, int, int]]:
        indexes = [_read_index(path) for path in paths]
        parts = indexes[0]["parts"]
        for path, index in zip(paths, indexes, strict=True):
            for key in ("parts", "dim", "encoder", "corpus"):
                if index[key] != indexes[0][key]:
                    reason = f"{path}: {key} differs from that of {paths[0].parent.name}"
                    raise UserError(reason, hint="a feature folder holds one corpus, encoder and number of parts")
        finished = {index["part"] for index in indexes if index["finished"]}
        missing = [i for i in range(1, parts + 1) if i not in finished]
        if missing:
            listed = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            hint = f"run units_features.py with --shard {missing[0]}/{parts}"
            raise UserError(f"{self.path}: part {listed} of {parts} not finished", hint=hint)
        self.metadata = dict(indexes[0]["encoder"])
        self.seconds = sum(index["seconds"] for index in indexes)
        self._source = indexes[0]["corpus"]
        indexed = sorted(zip(indexes, paths, strict=True), key=lambda pair: pair[0]["part"])
        shards = [
            (path.parent / shard["file"], shard["rows"], index["dim"])
            for index, path in indexed
            for shard in index["shards"]
        ]
        for shard in shards:
            _open_shard(*shard)
        return shards

    def _published(self) -> list[tuple[Path, int, int]]:
        def number(path: Path) -> tuple[int, str]:
            digits = re.findall(r"\d+", path.stem)
            return int(digits[-1]) if digits else -1, path.name

        self.metadata, self.seconds = {}, None
        paths = sorted(self.path.glob("*.npy"), key=number)
        self._source = [path.name for path in paths]
        dim = _open_shard(paths[0], None, None).shape[1] if paths else 0
        return [(path, len(_open_shard(path, None, dim)), dim) for path in paths]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop) as float32 [stop - start, dim], a copy."""
        out = np.empty((stop - start, self.dim), np.float32)
        filled, shard = 0, bisect_right(self._ends, start)
        while filled < len(out):
            begin = start + filled - (self._ends[shard] - self._shards[shard][1])
            rows = self._map(*self._shards[shard])[begin : begin + len(out) - filled]
            out[filled : filled + len(rows)] = rows
            filled += len(rows)
            shard += 1
        return out
