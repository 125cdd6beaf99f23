"""Corpora of the `datasets` library: hub ids and saved datasets. Audio stays encoded until a decoder of ours reads it.

The library's own audio decoding needs torchcodec and ffmpeg; here `Audio(decode=False)` hands out bytes or paths. The
table lies on disk, memory-mapped: opening it reads no audio.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spire.datasets.corpus import Corpus, Item, Reference, digest_of
from spire.datasets.description import Description
from spire.errors import UserError

ROWS = 16  # read at once
PCM_BYTES = 32_000  # a second of 16-bit samples at 16 kHz


class HuggingFaceCorpus(Corpus):
    """The rows of one split in table order, each a piece.

    UserError when the library is missing, the dataset cannot be loaded, the split is not named where there are several,
    or no column holds audio.
    """

    def __init__(self, description: Description):
        self._name = description.path
        table = _load(description)
        # As it was loaded: the same on every machine, whatever its cache folder.
        fingerprint = table._fingerprint
        self._column = _audio_column(table, self._name)
        from datasets import Audio

        table = table.cast_column(self._column, Audio(decode=False))
        id_column = "id" if "id" in table.column_names else None
        path_column = next((name for name in ("file", "path") if name in table.column_names), None)
        if description.filter_mic:
            table = _filter_mic(table, self._column, path_column, description.filter_mic)
        self.digest = digest_of(["datasets", fingerprint, description.filter_mic or "", str(len(table))])
        self.pieces = len(table)
        self.lengths = self.weights = _lengths(table)
        self._id = id_column
        self._table = table.select_columns([self._column, *([id_column] if id_column else [])])

    def items(self, first: int, last: int, skip: int = 0) -> Iterator[Item]:
        for start in range(min(first + skip, last), last, ROWS):
            rows = self._table[start : min(start + ROWS, last)]
            for offset, audio in enumerate(rows[self._column]):
                name = rows[self._id][offset] if self._id else None
                weight = 1.0 if self.weights is None else float(self.weights[start + offset])
                yield _item(audio, name, start + offset, weight, self._name)


def _item(audio: dict | None, name: object, row: int, weight: float, dataset: str) -> Item:
    path = (audio or {}).get("path") or ""
    identifier = str(name) if name is not None else os.path.splitext(os.path.basename(path))[0] or str(row)
    if audio and audio.get("bytes") is not None:
        return Item(identifier, Reference(path or f"{dataset} row {row}", data=audio["bytes"]), weight)
    if path and "://" not in path:
        return Item(identifier, Reference(path), weight)
    return Item(identifier, None, weight, f"{path}: audio outside of the table" if path else "no audio in this row")


def _load(description: Description):
    """A `datasets.Dataset` of one split."""
    try:
        import datasets
    except ImportError as e:
        raise UserError(
            f"{description.path}: the library `datasets` is needed to read it", hint="pip install datasets"
        ) from e
    name = description.path
    try:
        if Path(name).is_dir():
            if description.arguments or description.config:
                given = ", ".join([*description.arguments, *(["config"] if description.config else [])])
                raise UserError(f"{name}: {given} given for a saved dataset", hint="it has splits only; remove the key")
            loaded = datasets.load_from_disk(name)
        else:
            loaded = datasets.load_dataset(name, description.config, split=description.split, **description.arguments)
    except UserError:
        raise
    # The library raises errors of every kind: of its own, of the network, of arrow, of Python.
    except Exception as e:
        told = f"{e}: {e.__cause__}" if isinstance(e, datasets.exceptions.DatasetGenerationError) else str(e)
        reason = " ".join(told.split())[:300] or type(e).__name__
        raise UserError(f"{name}: cannot be loaded: {reason}", _advice(name, reason)) from e
    if isinstance(loaded, datasets.DatasetDict):
        splits = list(loaded)
        chosen = description.split or (splits[0] if len(splits) == 1 else None)
        if chosen not in loaded:
            said = f"no split {chosen!r}" if chosen else "several splits"
            raise UserError(f"{name}: {said}", hint="split: one of " + ", ".join(splits))
        return loaded[chosen]
    return loaded


def _advice(name: str, reason: str) -> str:
    """What to do about the library's message."""
    page = f"{os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'}/datasets/{name}"
    if "gated" in reason:
        return f"accept its licence at {page}, then set HF_TOKEN to a token that may read"
    if "doesn't exist" in reason:
        return f"check its name: {page}"
    if "scripts are no longer supported" in reason:
        return "take its converted branch, revision: refs/convert/parquet, with the configuration as data_dir"
    if "BuilderConfig" in reason:
        return "check config; on a converted branch it is a folder: data_dir in place of config"
    return "check path, config and split"


def _audio_column(table, name: str) -> str:
    from datasets import Audio

    columns = [column for column, feature in table.features.items() if isinstance(feature, Audio)]
    if not columns and "audio" in table.column_names:
        columns = ["audio"]
    if not columns:
        raise UserError(f"{name}: no column holds audio", hint="columns: " + ", ".join(table.column_names))
    return "audio" if "audio" in columns else columns[0]


def _lengths(table) -> np.ndarray | None:
    """[rows] float64 seconds, where columns of the published corpora say them (spec 6)."""
    for columns, seconds in (
        (("begin_time", "end_time"), lambda begin, end: end - begin),  # GigaSpeech
        (("audio_duration",), lambda duration: duration),  # MLS
        (("wav_filesize",), lambda size: size / PCM_BYTES),  # SPGISpeech
    ):
        if all(name in table.column_names for name in columns):
            arrays = [np.array(table[name][:], np.float64) for name in columns]
            lengths = seconds(*arrays)
            return np.where(np.isfinite(lengths) & (lengths > 0), lengths, 0.0)
    return None


def _filter_mic(table, audio_column: str, path_column: str | None, microphone: str):
    """Rows whose file name, without ending, ends with `_microphone`."""
    if path_column:
        paths = table[path_column]
    else:
        # As arrow, because the audio bytes beside the paths then stay where they are.
        import pyarrow.compute as pc

        batches = table.select_columns([audio_column]).with_format("arrow").iter(1000)
        paths = [path for batch in batches for path in pc.struct_field(batch[audio_column], "path").to_pylist()]
    kept = [row for row, path in enumerate(paths) if os.path.splitext(path or "")[0].endswith(f"_{microphone}")]
    if not kept:
        raise UserError(f"filter_mic: no file name ends with _{microphone}", hint="VCTK has mic1 and mic2")
    return table.select(kept)
