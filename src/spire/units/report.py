"""How good units are: phonetic information, use, rates; how far they agree with others; per split, as plain numbers.

Measures of a split (a frame's phone is the one at the middle of its window; frames outside all phones do not count):
- pnmi: mutual information of phone and unit over the entropy of the phone, 0..1;
- phone_purity: share of frames whose phone is their unit's most frequent phone;
- cluster_purity: share of frames whose unit is their phone's most frequent unit;
- units_in_use, usage (the share of clusters that is), most_used (the largest share of frames that one unit has);
- units_per_second after deduplication, and bits_per_second three ways: by the entropy of single units, by their entropy
  given the unit before (no more than the former), and as numbers of fixed length, log2 K each;
- agreement: with the labels of another folder, float32 beside bfloat16 say (spire.units.agreement).
Without phones the first three are left out. Everything follows from the files alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.manifest import Utterance, read_manifest
from spire.units.agreement import agreement
from spire.units.kmeans import KMeans
from spire.units.label import read_frames
from spire.units.label_files import read_record
from spire.units.lines import LineForm
from spire.units.mfcc import HOP, WINDOW
from spire.units.text import deduplicate

RATE = 16_000


def report(units: Path, kmeans: KMeans, manifests: dict[str, Path], compare: Path | None = None) -> dict:
    """{"clusters", "kmeans": metadata, "splits": {name: measures}}; with `compare`, another folder of labels of the
    same audio, each split's "agreement". Without manifests every corpus, or part of one, that the folder holds the
    labels of is a split, and has no phones. UserError when the files disagree, or there is nothing."""
    splits = {}
    for name, path in (manifests or _labelled(Path(units))).items():
        splits[name] = _split(Path(units), name, path, kmeans.clusters)
        if compare is not None:
            splits[name]["agreement"] = _agreement(Path(units), Path(compare), name)
    return {"clusters": kmeans.clusters, "kmeans": dict(sorted(kmeans.metadata.items())), "splits": splits}


def _labelled(units: Path) -> dict[str, None]:
    records = [read_record(path) for path in sorted(units.glob("*.labels.json"))]
    if not records:
        raise UserError(f"{units}: no labels in it", hint="give the --out folder of units_label.py or units_join.py")
    return {record.shard.stem(record.name): None for record in records}


def _agreement(units: Path, compare: Path, name: str) -> dict:
    file = f"{name}.frames.npz"
    labels = read_frames(units / file), read_frames(compare / file)
    if len(labels[0]) != len(labels[1]):
        reason = f"{compare / file}: {len(labels[1])} utterances, {units / file} has {len(labels[0])}"
        raise UserError(reason, hint="label the same audio in both ways")
    try:
        return agreement(*labels)
    except ValueError as e:
        raise UserError(f"{compare / file}: {e}", hint="label the same audio in both ways") from e


def _split(units: Path, name: str, manifest: Path | None, clusters: int) -> dict:
    path = units / f"{name}.labels.json"
    record = read_record(path) if manifest is None or path.exists() else None
    frames = read_frames(units / f"{name}.frames.npz")
    utterances = [] if manifest is None else read_manifest(manifest)
    expected = (path, record.counts["utterances"]) if manifest is None else (manifest, len(utterances))
    form = LineForm(record.identity["form"], record.identity["deduplicated"] == "true") if record else LineForm()
    _check_lines(units / f"{name}.units", *expected, frames, form)
    deduplicated = [deduplicate(ids) for ids in frames]
    flat = np.concatenate([np.zeros(0, np.int32), *frames])
    if len(flat) and flat.max() >= clusters:
        raise UserError(f"{units}: label {flat.max()} of {clusters} clusters", hint="give the k-means of these labels")
    seconds = record.counts["samples"] / RATE if manifest is None else sum(u.duration for u in utterances)
    kept = np.array([i for ids in deduplicated for i in ids], np.int64)
    bits = entropy_bits(np.bincount(kept, minlength=clusters))
    counts = np.bincount(flat, minlength=clusters)
    in_use = int((counts > 0).sum())
    rate = len(kept) / seconds if seconds else 0.0
    measures = {
        "utterances": len(frames),
        "empty": sum(not len(ids) for ids in frames),
        "seconds": round(seconds, 3),
        "frames": len(flat),
        "units": len(kept),
        "units_per_second": rate,
        "removed_by_deduplication": 1 - len(kept) / len(flat) if len(flat) else 0.0,
        "units_in_use": in_use,
        "usage": in_use / clusters,
        "most_used": int(counts.max()) / len(flat) if len(flat) else 0.0,
        "frame_entropy_bits": entropy_bits(counts),
        "unit_entropy_bits": bits,
        # An upper bound: the entropy of single units, as if each came independently of its neighbours.
        "bits_per_second": rate * bits,
        "bits_per_second_given_previous": rate * conditional_bits(deduplicated, clusters),
        "bits_per_second_fixed": rate * float(np.log2(clusters)),
    }
    return measures if manifest is None else measures | phone_measures(frames, utterances, clusters)


def _check_lines(path: Path, source: Path, utterances: int, frames: list[np.ndarray], form: LineForm) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file", hint="make it with units_label.py") from e
    lines = text.removesuffix("\n").split("\n") if text else []
    if not len(lines) == len(frames) == utterances:
        counts = f"{len(lines)} lines, {len(frames)} label lists, {utterances} utterances in {source}"
        raise UserError(f"{path}: {counts}", hint="label this corpus again with units_label.py")
    for number, (line, ids) in enumerate(zip(lines, frames, strict=True), 1):
        if line != form.line(form.units(ids)):
            raise UserError(f"{path}:{number}: differs from the frames file", hint="files of two runs: label again")


def entropy_bits(counts: np.ndarray) -> float:
    """Entropy of the distribution that `counts` (any shape) stand for; 0 for no counts."""
    p = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(p * np.log2(p)).sum()) + 0.0


def conditional_bits(sequences: Sequence[Sequence[int]], clusters: int) -> float:
    """Entropy of a unit given the one before it (none, before the first), by their counts; 0 for no units. With few
    units for the number of pairs it is too low: it is a measure of these sequences, not of the language."""
    before, after = [], []
    for ids in sequences:
        if len(ids):
            before += [clusters, *ids[:-1]]
            after += ids
    if not after:
        return 0.0
    pairs = np.array(before, np.int64) * clusters + np.array(after, np.int64)
    joint = entropy_bits(np.unique(pairs, return_counts=True)[1])
    return max(joint - entropy_bits(np.bincount(before)), 0.0)


def phone_measures(frames: Sequence[np.ndarray], utterances: Sequence[Utterance], clusters: int) -> dict:
    """pnmi, phone_purity, cluster_purity, phone_frames, phones; {} when no frame has a phone."""
    symbols = sorted({phone[0] for u in utterances for phone in u.phones})
    if not symbols:
        return {}
    index = {symbol: i for i, symbol in enumerate(symbols)}
    joint = np.zeros((len(symbols), clusters), np.int64)
    for ids, utterance in zip(frames, utterances, strict=True):
        phones = frame_phones(len(ids), utterance, index)
        np.add.at(joint, (phones[phones >= 0], ids[phones >= 0]), 1)
    total = joint.sum()
    if not total:
        return {}
    phone_bits, unit_bits = entropy_bits(joint.sum(axis=1)), entropy_bits(joint.sum(axis=0))
    information = phone_bits + unit_bits - entropy_bits(joint)
    return {
        "pnmi": information / phone_bits if phone_bits else 0.0,
        "phone_purity": float(joint.max(axis=0).sum() / total),
        "cluster_purity": float(joint.max(axis=1).sum() / total),
        "phone_frames": int(total),
        "phones": int((joint.sum(axis=1) > 0).sum()),
    }


def frame_phones(frames: int, utterance: Utterance, index: dict[str, int]) -> np.ndarray:
    """[frames] int64: index of the phone at the middle of each frame's window, -1 where there is none."""
    phones = np.full(frames, -1, np.int64)
    middles = (np.arange(frames) * HOP + WINDOW / 2) / RATE
    for symbol, start, end in utterance.phones:
        phones[(middles >= start) & (middles < end)] = index[symbol]
    return phones
