"""Lengths of a corpus's utterances in seconds, without decoding: NAME.times.npy, float64 [utterances], corpus order.

Where the corpus's own table says them (a manifest's durations; GigaSpeech's begin and end, MLS's audio_duration,
SPGISpeech's wav_filesize: spec 6) no file is opened; elsewhere the header of each file is read. An utterance without
audio has length 0 and is listed with the reason. Parts and kills change nothing in the bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from spire.datasets.corpus import Corpus, Item
from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.files import replaced_file
from spire.journal import Journal
from spire.progress import AudioProgress
from spire.textfiles import read_json, read_jsonl, write_json

FORMAT = "spire-times-1"
_STREAMS = ("times", "unreadable")
_AHEAD = 64  # headers being read at once, per thread


def measure(name: str, corpus: Corpus, out: Path, shard: Shard | None = None, threads: int = 8) -> dict:
    """Write NAME.times.npy and NAME.times.json (of one part: with its number in the name); returns the latter.

    Its keys: name, shard, pieces, of, corpus (digest), utterances, seconds, sha256 of the array, unreadable ([{row,
    id, reason}]). A part that is there is left alone; a killed run goes on where it was.
    """
    shard, out = shard or Shard(), Path(out)
    first, last = shard.cut(corpus.pieces, corpus.weights)
    record_file = out / f"{shard.stem(name)}.times.json"
    if record_file.exists():
        record = _read(record_file)
        if record["corpus"] == corpus.digest and (out / f"{shard.stem(name)}.times.npy").exists():
            return record
    with Journal(out / f".{shard.stem(name)}.{corpus.digest}.times.partial", _STREAMS) as journal:
        before = journal.counts.get("progress", 0) / 1000
        total = corpus.total(first, last)
        with AudioProgress(f"lengths {shard.stem(name)}", total, before) as progress:
            for item, seconds, reason in _lengths(corpus, first, last, journal.rows, threads):
                entry = {"row": journal.rows, "id": item.id, "reason": reason}
                line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n" if reason else b""
                journal.append(
                    {"times": np.array(seconds, "<f8").tobytes(), "unreadable": line},
                    {"progress": round(1000 * item.weight)},
                )
                progress.advance_audio(seconds, item.weight)
        journal.checkpoint()
        if corpus.single and journal.rows != last - first:
            raise RuntimeError(f"{shard.stem(name)}: {journal.rows} lengths for {last - first} utterances")
        times = np.fromfile(journal.path("times"), "<f8")
        record = {
            "format": FORMAT,
            "name": name,
            "shard": [shard.part, shard.parts],
            "pieces": [first, last, corpus.pieces],
            "corpus": corpus.digest,
            "unreadable": read_jsonl(journal.path("unreadable")),
        }
        record = _write(out / f"{shard.stem(name)}.times.npy", record, times)
        journal.discard()
    return record


def join_lengths(folders: Iterable[Path], out: Path, names: Iterable[str] = ()) -> dict[str, int | float]:
    """Join the parts in `folders`; returns {utterances, hours, unreadable}. UserError when a part is missing, there
    twice, changed since it was made, or of another corpus."""
    found: dict[str, list[tuple[Path, dict]]] = {}
    for folder in folders:
        for path in sorted(Path(folder).glob("*.times.json")):
            record = _read(path)
            if record["shard"][1] > 1:
                found.setdefault(record["name"], []).append((path, record))
    wanted = list(names) or sorted(found)
    if not wanted or not all(name in found for name in wanted):
        hint = "give the --out folders of units_lengths.py --shard i/n"
        raise UserError("no parts of " + (", ".join(n for n in wanted if n not in found) or "anything"), hint)
    counts: dict[str, int | float] = {"utterances": 0, "hours": 0.0, "unreadable": 0}
    for name in wanted:
        record = _join(name, sorted(found[name], key=lambda part: part[1]["shard"]), Path(out))
        counts["utterances"] += record["utterances"]
        counts["hours"] = round(counts["hours"] + record["seconds"] / 3600, 3)
        counts["unreadable"] += len(record["unreadable"])
    return counts


def _join(name: str, parts: list[tuple[Path, dict]], out: Path) -> dict:
    total = parts[0][1]["shard"][1]
    if [record["shard"] for _, record in parts] != [[part, total] for part in range(1, total + 1)]:
        there = ", ".join("/".join(map(str, record["shard"])) for _, record in parts)
        raise UserError(f"{name}: of {total} parts there are {there}", hint="each part is needed once")
    arrays, unreadable, end, rows = [], [], 0, 0
    for path, record in parts:
        times = np.load(path.with_suffix(".npy"), allow_pickle=False)
        hint = f"run units_lengths.py --shard {record['shard'][0]}/{total} again"
        if record["pieces"][0] != end or record["corpus"] != parts[0][1]["corpus"]:
            raise UserError(f"{path}: does not continue the part before it", hint)
        if len(times) != record["utterances"] or hashlib.sha256(times.tobytes()).hexdigest() != record["sha256"]:
            raise UserError(f"{path.with_suffix('.npy')}: changed since it was made", hint)
        arrays.append(times)
        unreadable += [entry | {"row": entry["row"] + rows} for entry in record["unreadable"]]
        end, rows = record["pieces"][1], rows + len(times)
    first = parts[0][1]
    joined = first | {"shard": [1, 1], "pieces": [0, end, end], "unreadable": unreadable}
    return _write(out / f"{name}.times.npy", joined, np.concatenate(arrays))


def _write(path: Path, record: dict, times: np.ndarray) -> dict:
    with replaced_file(path) as partial, open(partial, "wb") as file:
        np.save(file, times)
    record = {key: value for key, value in record.items() if key not in ("utterances", "seconds", "sha256")}
    record |= {
        "utterances": len(times),
        "seconds": float(times.sum()),
        "sha256": hashlib.sha256(times.tobytes()).hexdigest(),
    }
    write_json(path.with_suffix(".json"), record)
    return record


def _read(path: Path) -> dict:
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UserError(f"{path}: not a record of lengths", hint="make it with units_lengths.py")
    return record


def _lengths(corpus: Corpus, first: int, last: int, skip: int, threads: int) -> Iterator[tuple[Item, float, str]]:
    """(item, seconds, reason) in order."""
    if corpus.lengths is not None:
        for row in range(min(first + skip, last), last):
            seconds = float(corpus.lengths[row])
            weight = 1.0 if corpus.weights is None else float(corpus.weights[row])
            yield Item(str(row), None, weight), seconds, "" if seconds > 0 else f"the table says {seconds:g} s"
        return
    items = corpus.items(first, last, skip)
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(_measure, item) for item in islice(items, _AHEAD * threads))
        while waiting:
            yield waiting.popleft().result()
            for item in islice(items, 1):
                waiting.append(pool.submit(_measure, item))


def _measure(item: Item) -> tuple[Item, float, str]:
    bare = Item(item.id, None, item.weight)
    if item.reference is None:
        return bare, 0.0, item.problem
    try:
        return bare, item.reference.seconds(), ""
    except UserError as e:
        return bare, 0.0, e.message
    except OSError as e:
        return bare, 0.0, str(e)
