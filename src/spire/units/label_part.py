"""Labelling one part of a corpus: resumable, with bytes that do not depend on parts, workers, batches or kills.

While it runs, everything is in a journal in a hidden folder; at the end the files of spire.units.label_files appear,
the record last. A part that is there already, labelled with the same things, is left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spire.audio import RATE
from spire.datasets.corpus import Corpus
from spire.datasets.loader import decoded
from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.journal import Journal
from spire.progress import AudioProgress
from spire.textfiles import read_jsonl
from spire.units.encoder import Encoder
from spire.units.kmeans import KMeans
from spire.units.label_files import Record, file_chunks, finished, write_copy, write_frames
from spire.units.lines import LineForm
from spire.units.text import MAX_UNIT

_STREAMS = ("units", "ids", "lengths", "unreadable")
COUNTS = ("utterances", "frames", "units", "unreadable", "samples")


@dataclass(frozen=True)
class Settings:
    """How to label: the form of lines; whether labels before deduplication are kept; decoding processes; which part;
    the folder of the journal (None: beside the results); and what the encoder computes in, which nearly equal distances
    may depend on. Workers, part and folder change nothing in what comes out."""

    line: LineForm = field(default_factory=LineForm)
    frames: bool = True
    workers: int = 0
    shard: Shard = field(default_factory=Shard)
    work: Path | None = None
    precision: str = "float32 on cpu"


class PartLabelling:
    """The labelling of one part of the corpus `name` into the folder `out`: `run`, then `publish` or `discard`."""

    def __init__(
        self, name: str, corpus: Corpus, encoder: Encoder, kmeans: KMeans, out: Path, settings: Settings
    ) -> None:
        if settings.line.form != "indices" and kmeans.clusters > MAX_UNIT + 1:
            raise UserError(f"{kmeans.clusters} clusters do not fit into characters", hint="--form indices")
        self.name, self.out, self.settings = name, Path(out), settings
        self._corpus, self._encoder, self._kmeans = corpus, encoder, kmeans
        self._pieces = settings.shard.cut(corpus.pieces, corpus.weights)
        self.identity = _identity(encoder, kmeans, corpus, settings)
        self.record = finished(self.out, name, settings.shard, self.identity)
        self._stem = settings.shard.stem(name)
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:12]
        # Named by what is being labelled: a run with another encoder never continues this one.
        self._work = (settings.work or self.out) / f".{self._stem}.{digest}.partial"

    def run(self) -> dict[str, int]:
        """Label to the end, from where an earlier run stopped; returns the counts."""
        if self.record:
            return self.record.counts
        first, last = self._pieces
        with Journal(self._work, _STREAMS) as journal:
            total = self._corpus.total(first, last)
            before = journal.counts.get("progress", 0) / 1000
            if journal.rows:
                print(f"{self._stem}: going on after {journal.rows} utterances", flush=True)
            items = self._corpus.items(first, last, skip=journal.rows)
            with (
                closing(decoded(items, self.settings.workers)) as source,
                AudioProgress(f"label {self._stem}", total, before) as progress,
            ):
                for sample_count, size, entry, labels in self._labelled(source):
                    progress.advance_audio(sample_count / RATE, size)
                    self._append(journal, sample_count, size, entry, labels)
            if self._corpus.single and journal.rows != last - first:
                raise RuntimeError(f"{self._stem}: {journal.rows} lines for {last - first} utterances")
            return {key: journal.counts.get(key, 0) for key in COUNTS}

    def _labelled(self, source: Iterator) -> Iterator[tuple[int, float, dict, np.ndarray]]:
        """(samples, share of the corpus, {id, reason}, labels) of each utterance; encoders read ahead of labels."""
        waiting: deque[tuple[int, float, dict]] = deque()

        def waves() -> Iterator[np.ndarray]:
            for utterance in source:
                entry = {"id": utterance.item.id, "reason": utterance.reason}
                waiting.append((len(utterance.samples), utterance.item.weight, entry))
                yield utterance.samples

        for labels in self._encoder.label_stream(waves(), self._kmeans):
            yield *waiting.popleft(), labels
        if waiting:
            raise RuntimeError(f"{self._stem}: {len(waiting)} utterances got no labels")

    def _append(self, journal: Journal, samples: int, size: float, entry: dict, labels: np.ndarray) -> None:
        units = self.settings.line.units(labels)
        labels = np.ascontiguousarray(labels, "<i4")
        unreadable = b""
        if not len(labels):
            reason = entry["reason"] or f"too short: {samples} samples give no frame"
            row = {"row": journal.rows, "id": entry["id"], "reason": reason}
            unreadable = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        journal.append(
            {
                "units": self.settings.line.line(units).encode() + b"\n",
                "ids": labels.tobytes() if self.settings.frames else b"",
                "lengths": len(labels).to_bytes(4, "little") if self.settings.frames else b"",
                "unreadable": unreadable,
            },
            {
                "utterances": 1,
                "frames": len(labels),
                "units": len(units),
                "unreadable": int(not len(labels)),
                "samples": samples,
                "progress": round(1000 * size),
            },
        )

    def problems(self) -> list[dict]:
        """{row, id, reason} of each utterance without a frame, once `run` is through."""
        path = self.out / f"{self._stem}.unreadable.jsonl" if self.record else self._work / "unreadable"
        return read_jsonl(path)

    def publish(self) -> Record:
        """Make the files of the part from the journal, and remove it; nothing to do for a part that was there."""
        if self.record:
            return self.record
        with Journal(self._work, _STREAMS) as journal:
            counts = {key: journal.counts.get(key, 0) for key in COUNTS}
            files = {}
            for ending, stream in (("units", "units"), ("unreadable.jsonl", "unreadable")):
                file = f"{self._stem}.{ending}"
                files[file] = write_copy(self.out / file, file_chunks(journal.path(stream)))
            if self.settings.frames:
                file = f"{self._stem}.frames.npz"
                ids, lengths = (file_chunks(journal.path(stream)) for stream in ("ids", "lengths"))
                files[file] = write_frames(self.out / file, ids, counts["frames"], lengths, counts["utterances"])
            record = Record(
                self.name, self.settings.shard, self._pieces, self._corpus.pieces, self.identity, counts, files
            )
            record.write(self.out)
            journal.discard()
        self.record = record
        return record

    def discard(self) -> None:
        """Remove the journal."""
        if not self.record:
            Journal(self._work, _STREAMS).discard()


def _identity(encoder: Encoder, kmeans: KMeans, corpus: Corpus, settings: Settings) -> dict:
    """Everything that labels and lines follow from; strings only, so that it survives JSON unchanged."""
    centroids = np.ascontiguousarray(kmeans.centroids)
    return {
        "corpus": corpus.digest,
        "encoder": {key: str(value) for key, value in encoder.metadata().items()},
        "precision": settings.precision,
        "kmeans": hashlib.sha256(centroids.tobytes()).hexdigest()[:16],
        "form": settings.line.form,
        "deduplicated": str(settings.line.deduplicated).lower(),
        "frames": str(settings.frames).lower(),
    }
