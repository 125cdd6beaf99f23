"""Transcribed speech for CTC training: batches of about equal lengths, in an order that follows from the seed.

`Utterances` is a source of `spire.training.loop`: after `restore` the same batches follow. Every epoch takes each
utterance once. Audio is read when it is needed, and kept in memory as far as `HELD` goes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spire.audio import RATE, load_utterance
from spire.errors import UserError
from spire.manifest import read_manifest
from spire.units.hubert import HubertShape
from spire.units.hubert_encoder import normalize_wav
from spiritlm.alignment.letters import Letters
from spiritlm.alignment.viterbi import needed_frames

HELD = 2 << 30  # bytes of float16 samples
JITTER = 0.07  # lengths are taken so much longer or shorter when utterances are sorted, so that batches change


@dataclass(frozen=True)
class Batch:
    """wav float32 [B, N] normalized, 0 behind each end; samples, frames int64 [B]; labels int64, all utterances' one
    after the other, `counts` [B] of each; tokens: frames that count; epoch; number: of the batch in the whole run."""

    wav: torch.Tensor
    samples: torch.Tensor
    frames: torch.Tensor
    labels: torch.Tensor
    counts: torch.Tensor
    tokens: int
    epoch: int
    number: int


class Utterances:
    """The utterances of a manifest that can be learned from: with letters, and with a frame for each.

    `frames_per_batch`: so many frames a batch has at most, padding included (one long utterance is a batch of its own).
    Attributes: left_out (ids of the others), blocks (as the loop wants them). UserError when there is none.
    """

    blocks = ("ctc",)

    def __init__(self, manifest: Path, letters: Letters, shape: HubertShape, frames_per_batch: int, seed: int):
        self._shape, self._most, self._seed = shape, frames_per_batch, seed
        self._rows, self._labels, self.left_out = [], [], []
        for utterance in read_manifest(manifest):
            words = letters.words(utterance.text)
            labels, _ = letters.joined(words)
            frames = shape.frames(int(utterance.duration * RATE))
            if not labels or letters.star in labels or needed_frames(labels) > frames:
                self.left_out.append(utterance.id)
                continue
            self._rows.append(utterance)
            self._labels.append(labels)
        if not self._rows:
            hint = "its texts must be written in the letters of the vocabulary, numbers as words"
            raise UserError(f"{manifest}: no utterance to learn from", hint)
        self._lengths = np.array([row.duration * RATE for row in self._rows])
        self._held: dict[int, np.ndarray] = {}
        self._held_bytes = 0
        self._epoch, self._place, self._number = 0, 0, 0
        self._order = self._batches(0)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def seconds(self) -> float:
        return float(self._lengths.sum() / RATE)

    def _batches(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self._seed, epoch])
        apparent = self._lengths * rng.uniform(1 - JITTER, 1 + JITTER, len(self._lengths))
        batches, current, longest = [], [], 0.0
        for row in np.argsort(apparent, kind="stable"):
            longest = max(longest, self._lengths[row])
            if current and self._shape.frames(int(longest)) * (len(current) + 1) > self._most:
                batches.append(np.array(current))
                current, longest = [], self._lengths[row]
            current.append(row)
        batches.append(np.array(current))
        return [batches[i] for i in rng.permutation(len(batches))]

    def __next__(self) -> Batch:
        if self._place == len(self._order):
            self._epoch, self._place = self._epoch + 1, 0
            self._order = self._batches(self._epoch)
        rows = self._order[self._place]
        self._place += 1
        self._number += 1
        return self._batch(rows)

    def _batch(self, rows: np.ndarray) -> Batch:
        waves = [self._wave(int(row)) for row in rows]
        wav = np.zeros((len(rows), max(map(len, waves))), np.float32)
        for line, wave in zip(wav, waves, strict=True):
            line[: len(wave)] = wave
        frames = [self._shape.frames(len(wave)) for wave in waves]
        labels = [self._labels[row] for row in rows]
        return Batch(
            torch.from_numpy(wav),
            torch.tensor([len(wave) for wave in waves]),
            torch.tensor(frames),
            torch.tensor([label for each in labels for label in each]),
            torch.tensor([len(each) for each in labels]),
            sum(frames),
            self._epoch,
            self._number,
        )

    def _wave(self, row: int) -> np.ndarray:
        if row in self._held:
            return self._held[row]
        wave = normalize_wav(load_utterance(self._rows[row])).astype(np.float16)
        if not self._shape.frames(len(wave)):
            raise UserError(f"{self._rows[row].audio_path}: shorter than its manifest says", hint="make it again")
        if self._held_bytes + wave.nbytes <= HELD:
            self._held[row] = wave
            self._held_bytes += wave.nbytes
        return wave

    def identity(self) -> dict:
        digest = hashlib.sha256()
        for row, labels in zip(self._rows, self._labels, strict=True):
            digest.update(f"{row.id}\t{row.duration!r}\t{labels}\n".encode())
        return {"utterances": digest.hexdigest()[:16], "seed": self._seed, "frames": self._most}

    def state(self) -> dict:
        return {"epoch": self._epoch, "place": self._place, "number": self._number}

    def restore(self, state: dict) -> None:
        self._epoch, self._place, self._number = (int(state[key]) for key in ("epoch", "place", "number"))
        self._order = self._batches(self._epoch)
