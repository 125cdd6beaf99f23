"""Corpora to units files: one line an utterance, in corpus order, whatever can or cannot be read.

NAME.units: deduplicated units as private-use characters; an utterance that is unreadable or shorter than a frame is an
empty line and is listed in unreadable.json. NAME.frames.npz: the labels before deduplication (`ids` [all frames],
`lengths` [utterances]). NAME.labels.json: what was labelled with what. All files of a run appear together at its end,
or none; a killed run goes on where it was and ends with the same bytes (spire.units.label_part).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from spire.datasets.corpus import Corpus
from spire.datasets.open import named_corpora
from spire.errors import UserError
from spire.textfiles import write_json
from spire.units.encoder import Encoder
from spire.units.kmeans import KMeans
from spire.units.label_part import COUNTS, PartLabelling, Settings


def named_manifests(items: Iterable[str]) -> dict[str, Path]:
    """`NAME=PATH` arguments as {name: path}; UserError for another form, a repeated name, a name unfit for a file."""
    return {name: Path(path) for name, path in named_corpora(items, "--manifest").items()}


def label_corpora(
    encoder: Encoder, kmeans: KMeans, corpora: dict[str, Corpus], out: Path, settings: Settings | None = None
) -> dict[str, int]:
    """Label every corpus, or one part of each, into the folder `out`; returns counts (utterances, frames, units,
    unreadable, samples). What is there already, labelled with the same things, is not labelled again.

    UserError when not a single utterance of all corpora gives a frame: the paths are wrong then, not the audio. (Of a
    part this is only printed; `join` refuses a whole without frames.)
    """
    settings = settings or Settings()
    out = Path(out)
    existed = out.exists()
    parts = [PartLabelling(name, corpus, encoder, kmeans, out, settings) for name, corpus in corpora.items()]
    counts = dict.fromkeys(COUNTS, 0)
    for part in parts:
        for key, value in part.run().items():
            counts[key] += value
    if counts["utterances"] and not counts["frames"]:
        first = next(problem for part in parts for problem in part.problems())
        reason = f"none of the {counts['utterances']} utterances could be labelled; the first: {first['reason']}"
        if settings.shard.parts == 1:
            for part in parts:
                part.discard()
            if not existed:
                shutil.rmtree(out, ignore_errors=True)
            raise UserError(reason, hint="check the audio paths: those in a manifest are relative to its folder")
        print(f"warning: {reason}", file=sys.stderr, flush=True)
    problems = [
        {"manifest": part.name, "id": problem["id"], "reason": problem["reason"]}
        for part in parts
        for problem in part.problems()
    ]
    for part in parts:
        part.publish()
    if settings.shard.parts == 1:
        write_json(out / "unreadable.json", problems)
    return counts


def read_frames(path: str | Path) -> list[np.ndarray]:
    """The labels of each utterance of a NAME.frames.npz; UserError when the file is missing or inconsistent."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            ids, lengths = stored["ids"], stored["lengths"]
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file", hint="make it with units_label.py, without --no-frames") from e
    except (ValueError, KeyError, EOFError) as e:
        raise UserError(f"{path}: not a frames file: {e}", hint="make it again with units_label.py") from e
    if lengths.sum() != len(ids):
        raise UserError(f"{path}: lengths add up to {lengths.sum()}, there are {len(ids)} labels", hint="make it again")
    return np.split(ids, np.cumsum(lengths)[:-1]) if len(lengths) else []
