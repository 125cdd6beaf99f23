"""What the vocoder learns from: speech with its units, cut into segments that are drawn at random.

Guarantee: batch n depends on the training set, the seed and n alone, so a run that was stopped goes on with the same
batches. A unit takes 640 samples; in audio that is encoded in pieces of 100 s every piece has 2,499 units (spiritlm 1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spire.audio import load_utterance
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest
from spire.progress import Progress
from spire.textfiles import read_jsonl
from spiritlm.unit_strings import ids_of
from spiritlm.vocoder.recipe import CODE_HOP, PITCH_HOP, STYLE_HOP, TABLES

PIECE, PIECE_UNITS = 1_600_000, 2499  # samples encoded at once, and the units they give
RUNS = 64  # units, repeats dropped, that the durations' loss takes of an utterance
_STREAMS = {"dict": ("hubert", CODE_HOP), "f0_dict": ("pitch", PITCH_HOP), "style_dict": ("style", STYLE_HOP)}
_HINT = "encode the same manifest again with spiritlm_encode.py"


@dataclass(frozen=True)
class TrainingSet:
    """`samples` int16 [640 U] (on disk); `rows` the table rows of each unit, int32 [U] each; `bounds` int64
    [utterances + 1], in units. `speakers` and `styles` are the names behind the rows of `spkr` and `style`."""

    samples: np.ndarray
    rows: Mapping[str, np.ndarray]
    bounds: np.ndarray
    speakers: list[str]
    styles: list[str]

    def digest(self) -> str:
        """SHA-256 of all that is trained on."""
        found = hashlib.sha256(repr((self.speakers, self.styles, sorted(self.rows))).encode())
        for part in (self.samples, self.bounds, *(self.rows[name] for name in sorted(self.rows))):
            found.update(np.ascontiguousarray(part).view(np.uint8))
        return found.hexdigest()


@dataclass(frozen=True)
class SegmentBatch:
    """Attributes: wav float32 [B, 640 T]; rows int64 [B, T] each; runs int64 [B, R] units without repeats, -1 where an
    utterance has fewer; lengths float32 [B, R] units that each lasted; tokens (B T) and epoch as the loop wants."""

    wav: np.ndarray
    rows: Mapping[str, np.ndarray]
    runs: np.ndarray
    lengths: np.ndarray
    tokens: int
    epoch: int


def matched(manifest: str | Path, streams: str | Path) -> Iterator[tuple[Utterance, dict]]:
    """Utterances with their streams. The lines of `streams` are those of the manifest, or some of them, in its order;
    UserError otherwise."""
    utterances = iter(read_manifest(manifest))
    for number, line in enumerate(read_jsonl(streams), 1):
        name = line.get("id") if isinstance(line, dict) else None
        found = next((u for u in utterances if u.id == name), None)
        if found is None:
            raise UserError(f"{streams}:{number}: id {name!r} is not there in {manifest}, or in another place", _HINT)
        yield found, line


def unit_rows(streams: Mapping[str, str], tables: Mapping[str, int], where: str) -> dict[str, np.ndarray]:
    """Table rows of each unit, int32 [T] for each of `tables` (name: number of rows): pitch and style are repeated to
    the rate of the units, in step every 100 s, their last value fills the end. UserError: a stream is missing, does not
    fit, or has a unit that its table lacks."""
    values: dict[str, np.ndarray] = {}
    for table, (name, _) in _STREAMS.items():
        if table not in tables:
            continue
        if name not in streams:
            hint = "encode with the expressive tokenizer" if name != "hubert" else _HINT
            raise UserError(f"{where}: no {name} units", hint)
        values[table] = np.array(ids_of(streams[name], f"{where}: {name}"), np.int32)
        if len(values[table]) and values[table].max() >= tables[table]:
            largest = values[table].max()
            raise UserError(f"{where}: {name} {largest}, this vocoder has {tables[table]}", "see the recipe")
    units, found = len(values["dict"]), {}
    rates = {table: _STREAMS[table][1] // CODE_HOP for table in values}
    # Every 100 s lack a phonetic unit, of which pitch and style know nothing: those of long audio are not in step.
    apart = any(abs(len(values[table]) * rate - units) > rate for table, rate in rates.items())
    for table, rate in rates.items():
        pieces = [(values[table], units)]
        if apart and rate > 1:
            each = PIECE // (rate * CODE_HOP)
            split = np.split(values[table], range(each, len(values[table]), each))
            pieces = [(part, PIECE_UNITS) for part in split[:-1]]
            pieces.append((split[-1], units - PIECE_UNITS * len(pieces)))
        if any(abs(len(part) * rate - count) > rate or (count and not len(part)) for part, count in pieces):
            name = _STREAMS[table][0]
            raise UserError(f"{where}: {len(values[table])} {name} units do not go with {units} phonetic units", _HINT)
        found[table] = np.concatenate([_at_rate(part, rate, count) for part, count in pieces])
    return found


def _at_rate(values: np.ndarray, rate: int, units: int) -> np.ndarray:
    values = np.repeat(values, rate)
    return np.pad(values, (0, max(0, units - len(values))), mode="edge" if units else "constant")[:units]


def aligned(wav: np.ndarray, units: int, where: str) -> np.ndarray:
    """The samples [640 units] that the units were made of; UserError when the audio has another length."""
    pieces = [wav[start : start + PIECE_UNITS * CODE_HOP] for start in range(0, len(wav), PIECE)]
    wav = np.concatenate(pieces) if pieces else wav
    wanted = units * CODE_HOP
    if abs(len(wav) - wanted) > 2 * CODE_HOP * max(1, len(pieces)):
        raise UserError(f"{where}: {len(wav) / 16_000:.2f} s of audio do not go with {units} units", _HINT)
    return np.pad(wav, (0, max(0, wanted - len(wav))))[:wanted]


def read_training_set(
    manifest: str | Path, streams: str | Path, expressive: bool, sizes: Mapping, default_style: str, scratch: Path
) -> TrainingSet:
    """Read everything; samples go to a file in `scratch`.

    `sizes` are a recipe's (num_embeddings, ...). The manifest's style `default_style`, or none, is called conv-default,
    as the released vocoders call it. UserError as of the functions above, or when there is nothing.
    """
    names = {"dict": "num_embeddings", "f0_dict": "num_f0_tokens", "style_dict": "num_style_tokens"}
    tables = {table: sizes[name] for table, name in names.items() if table in TABLES[expressive]}
    rows: dict[str, list[np.ndarray]] = {table: [] for table in tables}
    speakers, styles, bounds = [], [], [0]
    path = scratch / "samples.i16"
    with path.open("wb") as file, Progress("read", unit="utterances") as progress:
        for utterance, line in matched(manifest, streams):
            found = unit_rows(line, tables, f"{streams}: {utterance.id}")
            units = len(found["dict"])
            wav = aligned(load_utterance(utterance), units, f"{manifest}: {utterance.id}")
            file.write(np.clip(np.round(wav * 32768), -32768, 32767).astype("<i2").tobytes())
            for table, values in found.items():
                rows[table].append(values)
            speakers.append(utterance.speaker)
            style = utterance.extra.get("style") or default_style
            styles.append("conv-default" if style == default_style else str(style))
            bounds.append(bounds[-1] + units)
            progress.advance()
    if not bounds[-1]:
        raise UserError(f"{streams}: no units to learn from", _HINT)
    lengths = np.diff(bounds)
    every = {table: np.concatenate(values) for table, values in rows.items()}
    for table, values in (("spkr", speakers), ("style", styles)):
        if table in TABLES[expressive]:
            order = sorted(set(values))
            every[table] = np.repeat(np.array([order.index(v) for v in values], np.int32), lengths)
    samples = np.memmap(path, np.dtype("<i2"), "r")
    return TrainingSet(samples, every, np.array(bounds, np.int64), sorted(set(speakers)), sorted(set(styles)))


class Segments:
    """See `spire.training.engine.Source`. `batch` segments of `frames` units, every place as likely as every other."""

    blocks = (
        "mel",
        "spectral",
        "adversarial",
        "features",
        "discriminators",
        "durations",
        "envelope",
        "periodicity",
        "shifted",
        "pulses",
    )

    def __init__(self, data: TrainingSet, batch: int, frames: int, seed: int):
        self.data, self.batch, self.frames, self.seed = data, batch, frames, seed
        self.step = 0
        places = np.maximum(np.diff(data.bounds) - frames + 1, 0)
        self._until = np.cumsum(places)
        if not self._until[-1]:
            longest = int(np.diff(data.bounds).max())
            raise UserError(f"no utterance has {frames} units, the longest {longest}", hint="lower --frames")

    def __next__(self) -> SegmentBatch:
        rng = np.random.default_rng([self.seed, self.step])
        drawn = np.sort(rng.integers(0, self._until[-1], self.batch))
        utterances = np.searchsorted(self._until, drawn, side="right")
        before = np.where(utterances > 0, self._until[utterances - 1], 0)
        starts = self.data.bounds[utterances] + drawn - before
        index = starts[:, None] + np.arange(self.frames)
        wav = np.stack([self.data.samples[s * CODE_HOP : (s + self.frames) * CODE_HOP] for s in starts])
        runs, lengths = self._runs(utterances, rng)
        epoch = self.step * index.size // int(self.data.bounds[-1])
        self.step += 1
        rows = {name: values[index].astype(np.int64) for name, values in self.data.rows.items()}
        return SegmentBatch(wav.astype(np.float32) / 32768, rows, runs, lengths, index.size, epoch)

    def _runs(self, utterances: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        runs = np.full((len(utterances), RUNS), -1, np.int64)
        lengths = np.zeros((len(utterances), RUNS), np.float32)
        for row, utterance in enumerate(utterances):
            codes = self.data.rows["dict"][self.data.bounds[utterance] : self.data.bounds[utterance + 1]]
            begins = np.flatnonzero(np.diff(codes, prepend=-1))
            first = int(rng.integers(0, max(1, len(begins) - RUNS + 1)))
            taken = slice(first, first + RUNS)
            count = len(begins[taken])
            runs[row, :count] = codes[begins[taken]]
            lengths[row, :count] = np.diff(begins, append=len(codes))[taken]
        return runs, lengths

    def identity(self) -> dict:
        return {"corpus": self.data.digest(), "batch": self.batch, "frames": self.frames, "seed": self.seed}

    def state(self) -> dict:
        return {"step": self.step}

    def restore(self, state: dict) -> None:
        self.step = state["step"]
