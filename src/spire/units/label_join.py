"""Joining labelled parts into one corpus: the same bytes as if it had been labelled whole.

Nothing is taken on trust: every part must be there once, labelled with the same things, next to its neighbour, with the
recorded sizes, digests and counts. Files are streamed; nothing appears when a check fails.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.textfiles import read_jsonl, write_json
from spire.units.label_files import (
    Record,
    file_chunks,
    frames_chunks,
    read_record,
    write_copy,
    write_frames,
)

Parts = list[tuple[Path, Record]]


def join(folders: Iterable[Path], out: Path, names: Iterable[str] = ()) -> dict[str, int]:
    """Join all corpora whose parts lie in `folders` (or those of `names`) into `out`; returns the summed counts.

    UserError when a part is missing, there twice, damaged, or labelled with other things than its neighbours, and when
    no utterance of all has a frame.
    """
    out = Path(out)
    found = _found(folders)
    wanted = list(names) or sorted(found)
    for name in wanted:
        if name not in found:
            raise UserError(f"no parts of {name!r} found", hint="there are: " + (", ".join(sorted(found)) or "none"))
    if not wanted:
        raise UserError("no labelled parts found", hint="give the --out folders of units_label.py --shard i/n")
    corpora = {name: _checked(name, found[name]) for name in wanted}
    counts: dict[str, int] = {}
    for parts in corpora.values():
        for _, record in parts:
            for key, value in record.counts.items():
                counts[key] = counts.get(key, 0) + value
    if counts["utterances"] and not counts["frames"]:
        hint = "the reasons are in the parts' unreadable.jsonl: check the audio paths"
        raise UserError(f"none of the {counts['utterances']} utterances has a frame", hint)
    problems: list[dict] = []
    for name, parts in corpora.items():
        problems += _join(name, parts, out)
    write_json(out / "unreadable.json", problems)
    return counts


def _found(folders: Iterable[Path]) -> dict[str, Parts]:
    found: dict[str, Parts] = {}
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"{folder}: no such folder", hint="give the --out folders of units_label.py --shard i/n")
        for path in sorted(Path(folder).glob("*.labels.json")):
            record = read_record(path)
            found.setdefault(record.name, []).append((Path(folder), record))
    # A whole corpus beside its parts is what an earlier join made of them.
    cut = {name: [part for part in parts if part[1].shard.parts > 1] for name, parts in found.items()}
    return {name: cut[name] or parts for name, parts in found.items()}


def _checked(name: str, parts: Parts) -> Parts:
    """The parts in order, complete and agreeing."""
    parts = sorted(parts, key=lambda part: part[1].shard.part)
    first = parts[0][1]
    total = first.shard.parts
    for folder, record in parts:
        differing = [
            f"{key} {record.identity.get(key)!r} and {first.identity.get(key)!r}"
            for key in sorted({*first.identity, *record.identity})
            if record.identity.get(key) != first.identity.get(key)
        ]
        if record.shard.parts != total:
            differing.append(f"{record.shard.parts} and {total} parts")
        if differing:
            hint = "parts of two runs: give the folders of one, or label the part again"
            raise UserError(f"{folder}: part {record.shard} of {name} differs: " + "; ".join(differing), hint)
    there = [record.shard.part for _, record in parts]
    missing = sorted(set(range(1, total + 1)) - set(there))
    if missing:
        listed = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        hint = f"run units_label.py with --shard {missing[0]}/{total}"
        raise UserError(f"{name}: {len(missing)} of {total} parts missing: {listed}", hint)
    for (folder, record), (other, before) in zip(parts[1:], parts[:-1], strict=True):
        if record.shard == before.shard:
            raise UserError(f"{name}: part {record.shard} is both in {other} and in {folder}", hint="give one of them")
        if record.pieces[0] != before.pieces[1] or record.of != before.of:
            raise UserError(f"{name}: part {record.shard} does not begin where {before.shard} ends", "label it again")
    return parts


def _join(name: str, parts: Parts, out: Path) -> list[dict]:
    """Write the files of one corpus, the record last; returns its entries of unreadable.json."""
    counts = {key: sum(record.counts[key] for _, record in parts) for key in parts[0][1].counts}
    first = parts[0][1]
    files = {f"{name}.units": write_copy(out / f"{name}.units", _lines(name, parts))}
    entries: list[dict] = []
    file = f"{name}.unreadable.jsonl"
    files[file] = write_copy(out / file, _unreadable(name, parts, entries))
    if len(entries) != counts["unreadable"]:
        raise UserError(f"{name}: {len(entries)} unreadable utterances listed, {counts['unreadable']} counted")
    if any(file.endswith(".frames.npz") for file in first.files):
        file = f"{name}.frames.npz"
        for folder, record in parts:
            for _ in _verified(folder, record, f"{record.shard.stem(name)}.frames.npz"):
                pass
        ids, lengths = (_frames(name, parts, array) for array in ("ids", "lengths"))
        files[file] = write_frames(out / file, ids, counts["frames"], lengths, counts["utterances"])
    Record(name, Shard(), (0, first.of), first.of, first.identity, counts, files).write(out)
    return entries


def _lines(name: str, parts: Parts) -> Iterator[bytes]:
    for folder, record in parts:
        file = f"{record.shard.stem(name)}.units"
        lines = 0
        for chunk in _verified(folder, record, file):
            lines += chunk.count(b"\n")
            yield chunk
        if lines != record.counts["utterances"]:
            raise UserError(f"{folder / file}: {lines} lines, {record.counts['utterances']} utterances", "label again")


def _unreadable(name: str, parts: Parts, entries: list[dict]) -> Iterator[bytes]:
    """Lines with rows counted from the beginning of the corpus; `entries` collects them for unreadable.json."""
    before = 0
    for folder, record in parts:
        file = f"{record.shard.stem(name)}.unreadable.jsonl"
        for _ in _verified(folder, record, file):
            pass
        for entry in read_jsonl(folder / file):
            entries.append({"manifest": name, "id": entry["id"], "reason": entry["reason"]})
            yield json.dumps(entry | {"row": entry["row"] + before}, ensure_ascii=False).encode() + b"\n"
        before += record.counts["utterances"]


def _frames(name: str, parts: Parts, array: str) -> Iterator[bytes]:
    counted = {"ids": "frames", "lengths": "utterances"}[array]
    for folder, record in parts:
        path = folder / f"{record.shard.stem(name)}.frames.npz"
        count, chunks = frames_chunks(path, array)
        if count != record.counts[counted]:
            raise UserError(f"{path}: {count} {array}, {record.counts[counted]} counted", "label this part again")
        yield from chunks


def _verified(folder: Path, record: Record, file: str) -> Iterator[bytes]:
    """The content of a part's file; UserError at its end when it is not what was recorded."""
    hint = f"label this part again: units_label.py --shard {record.shard}"
    if file not in record.files:
        raise UserError(f"{folder}: the record of part {record.shard} knows no {file}", hint)
    digest = hashlib.sha256()
    try:
        for chunk in file_chunks(folder / file):
            digest.update(chunk)
            yield chunk
    except FileNotFoundError as e:
        raise UserError(f"{folder / file}: no such file", hint) from e
    if digest.hexdigest() != record.files[file][1]:
        raise UserError(f"{folder / file}: changed since it was made", hint)
