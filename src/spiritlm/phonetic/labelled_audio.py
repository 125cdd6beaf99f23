"""A corpus laid end to end with a label for each 25 Hz frame, on disk: what HuBERT's pretraining draws its crops from.

Labels are k-means of cepstra, two 50 Hz frames pooled to one, or of an earlier HuBERT's features (its next iteration).
Files in a folder: audio.f16 (samples of shuffled utterances, each cut to whole frames), labels.i16 (-1 where a frame
has none) and audio.json, written last. They depend on corpus, settings and seed alone; they are mapped, not read, so
the corpus may be larger than memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.manifest import Utterance, read_manifest
from spire.progress import Progress
from spire.textfiles import read_json, write_json
from spire.units import kmeans, mfcc
from spire.units.hubert_encoder import normalize_wav
from spire.units.pooling import pool
from spiritlm.phonetic.waveforms import grouped, waveforms

HOP = 640  # samples a frame
REACH = 80  # samples of the last frame's window beyond its hop
WAVEFORM_EPS = 1e-5  # as the release's reader normalizes (spiritlm 2.1)

Features = Callable[[list[np.ndarray]], list[np.ndarray]]
_AT_ONCE = 16  # utterances whose features are computed together


def cepstra_of(wavs: list[np.ndarray]) -> list[np.ndarray]:
    """`pooled_cepstra` of each."""
    return list(map(pooled_cepstra, wavs))


def pooled_cepstra(wav: np.ndarray) -> np.ndarray:
    """float32 [N] to [T, 13]: normalized cepstra at 50 Hz, the mean of every two frames; T as for HuBERT at 25 Hz.

    No slopes or neighbours: on the generated speech 100 clusters of these hold 57 % of the phones' entropy, of cepstra
    with three neighbours on each side 48 %, and the latter cost three times as much.
    """
    return pool(mfcc.normalize(mfcc.cepstra(wav)), "mean", 2)


@dataclass(frozen=True)
class Labels:
    """`clusters` of k-means learned on the first `frames` frames."""

    clusters: int = 100
    frames: int = 30_000
    seed: int = 1


@dataclass(frozen=True)
class LabelledAudio:
    """wav [640 T + 80] float16 and labels [T] int16, both mapped from disk; `record`: what they were made of."""

    wav: np.ndarray
    labels: np.ndarray
    record: dict


def label_audio(
    manifests: list[Path],
    folder: Path,
    labels: Labels,
    features: Features,
    normalize: bool,
    identity: dict,
    earlier: Sequence[Path] = (),
    workers: int = 0,
) -> LabelledAudio:
    """Make the files in `folder`, unless they are there, or in one of the folders `earlier`, of the same `identity`
    (JSON values that tell `features`). `workers` processes decode ahead; they change nothing.

    Recordings that cannot be read or have no frame are left out, and counted on standard output. UserError when frames
    are too few for the clusters.
    """
    known = {
        "manifests": [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in manifests],
        "labels": vars(labels),
        "normalize": normalize,
        **identity,
    }
    known = json.loads(json.dumps(known))
    for made in map(Path, (folder, *earlier)):
        if (made / "audio.json").exists() and read_json(made / "audio.json") == known:
            return _opened(made, known)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "audio.json").unlink(missing_ok=True)
    _write(manifests, folder, labels, features, normalize, workers)
    write_json(folder / "audio.json", known)
    return _opened(folder, known)


def _opened(folder: Path, known: dict) -> LabelledAudio:
    targets = np.memmap(folder / "labels.i16", np.int16, "r")
    return LabelledAudio(np.memmap(folder / "audio.f16", np.float16, "r"), targets, known)


def _write(
    manifests: list[Path], folder: Path, labels: Labels, features: Features, normalize: bool, workers: int
) -> None:
    utterances = [utterance for path in manifests for utterance in read_manifest(path)]
    order = np.random.default_rng(labels.seed).permutation(len(utterances))
    shuffled = [utterances[i] for i in order]
    prepared = _prepared(shuffled, features, normalize, workers)
    first: list[tuple[np.ndarray, np.ndarray]] = []
    seen = 0
    for item in prepared:
        first.append(item)
        seen += len(item[1])
        if seen >= labels.frames:
            break
    sample = np.concatenate([np.zeros((0, 1), np.float32)] if not first else [part for _, part in first])
    centroids = kmeans.fit(sample[: labels.frames], labels.clusters, labels.seed)
    with open(folder / "audio.f16", "wb") as audio, open(folder / "labels.i16", "wb") as targets:
        for source in (first, prepared):
            for wav, part in source:
                whole = np.full(len(wav) // HOP, -1, np.int16)
                whole[: len(part)] = kmeans.nearest(part, centroids)
                audio.write(wav.astype(np.float16).tobytes())
                targets.write(whole.tobytes())
        audio.write(np.zeros(REACH, np.float16).tobytes())


def _prepared(utterances: list[Utterance], features: Features, normalize: bool, workers: int) -> Iterator[tuple]:
    """(samples cut to whole frames, features) of each utterance that has a frame."""
    lost = 0
    with (
        Progress("label", total=len(utterances), unit="utterances") as progress,
        closing(waveforms(utterances, workers)) as source,
    ):
        for group in grouped(source, _AT_ONCE):
            wavs = [one.samples for one in group if len(one.samples) >= HOP + REACH]
            lost += len(group) - len(wavs)
            progress.advance(len(group))
            for wav, part in zip(wavs, features(wavs), strict=True):
                yield normalize_wav(wav, WAVEFORM_EPS if normalize else None)[: len(wav) // HOP * HOP], part
    if lost:
        print(f"{lost} of {len(utterances)} recordings cannot be read, or are shorter than a frame", flush=True)


def check_length(audio: LabelledAudio, frames: int) -> None:
    """UserError when there is less audio than one crop of `frames` frames."""
    if len(audio.labels) < frames + 1:
        raise UserError(f"less audio than one crop of {frames} frames", hint="give more audio, or lower --frames")
