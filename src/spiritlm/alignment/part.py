"""What is made of every utterance of a transcribed corpus, in parts that jobs compute and that go on after a kill.

`run_part` writes NAME.jsonl (NAME.00003-of-00128.jsonl for a part), a line an utterance in the order of the manifest,
and beside it NAME.labels.json, the record of what it was made of. `join_parts` puts parts together to the bytes that
one job would have made, after it has checked that they are complete, unchanged, and made of the same things.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.journal import EVERY, Journal
from spire.manifest import Utterance
from spire.progress import Progress
from spire.units.label_files import Record, file_chunks, finished, read_record, write_copy
from spiritlm.alignment.corpus import Transcribed

_STREAM = "lines"
Lines = Callable[[Iterable[Utterance]], Iterator[tuple[str, int]]]
"""From utterances to (line with its end, 1 if it says why there is nothing), one each, in order."""


def run_part(
    name: str, corpus: Transcribed, shard: Shard, identity: dict, lines: Lines, out: Path, every: float = EVERY
) -> Record:
    """Make the lines of one part with `lines`, from where an earlier run stopped; `identity` is all that they follow
    from, JSON strings. A part that is there already is left alone."""
    identity = identity | {"corpus": corpus.digest}
    if record := finished(out, name, shard, identity):
        return record
    stem = shard.stem(name)
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    with Journal(Path(out) / f".{stem}.{digest}.partial", (_STREAM,), every) as journal:
        if journal.rows:
            print(f"{stem}: going on after {journal.rows} utterances", flush=True)
        with Progress(stem, len(corpus) - journal.rows, "utterances") as progress:
            for line, failed in lines(corpus.utterances(skip=journal.rows)):
                journal.append({_STREAM: line.encode("utf-8", "replace")}, {"utterances": 1, "failed": failed})
                progress.advance()
        counts = {key: journal.counts.get(key, 0) for key in ("utterances", "failed")}
        if journal.rows != len(corpus):
            raise RuntimeError(f"{stem}: {journal.rows} lines for {len(corpus)} utterances")
        journal.checkpoint()
        files = {f"{stem}.jsonl": write_copy(Path(out) / f"{stem}.jsonl", file_chunks(journal.path(_STREAM)))}
        record = Record(name, shard, (corpus.first, corpus.last), corpus.of, identity, counts, files)
        record.write(out)
        journal.discard()
    return record


def join_parts(name: str, folders: Iterable[Path], out: Path) -> Record:
    """Join the parts of `name` that lie in `folders` into `out`; UserError when one is missing, there twice, changed,
    or made of other things than its neighbours. Nothing is written then."""
    hint = "give the --out folders of all parts; make a part that is wrong again with --shard i/n"
    found: dict[int, tuple[Path, Record]] = {}
    for folder in map(Path, folders):
        for path in sorted(folder.glob(f"{name}.*-of-*.labels.json")):
            record = read_record(path)
            if record.shard.part in found:
                raise UserError(
                    f"{name}: part {record.shard} is in {found[record.shard.part][0]} and in {folder}", hint
                )
            found[record.shard.part] = (folder, record)
    if not found:
        raise UserError(f"no parts of {name!r} found", hint)
    parts = [found[key] for key in sorted(found)]
    first = parts[0][1]
    missing = sorted(set(range(1, first.shard.parts + 1)) - set(found))
    if missing:
        raise UserError(f"{name}: part {missing[0]}/{first.shard.parts} is missing, one of {len(missing)}", hint)
    end = 0
    for folder, record in parts:
        alike = record.identity == first.identity and record.of == first.of and record.shard.parts == first.shard.parts
        if not alike or record.pieces[0] != end:
            raise UserError(f"{folder}: part {record.shard} of {name} was made of other things than the first", hint)
        end = record.pieces[1]
    counts = {key: sum(record.counts[key] for _, record in parts) for key in first.counts}
    files = {f"{name}.jsonl": write_copy(Path(out) / f"{name}.jsonl", _verified(name, parts, hint))}
    record = Record(name, Shard(), (0, first.of), first.of, first.identity, counts, files)
    record.write(out)
    return record


def _verified(name: str, parts: list[tuple[Path, Record]], hint: str) -> Iterator[bytes]:
    for folder, record in parts:
        file = f"{record.shard.stem(name)}.jsonl"
        digest = hashlib.sha256()
        try:
            for chunk in file_chunks(folder / file):
                digest.update(chunk)
                yield chunk
        except FileNotFoundError as e:
            raise UserError(f"{folder / file}: no such file", hint) from e
        if digest.hexdigest() != record.files.get(file, [0, ""])[1]:
            raise UserError(f"{folder / file}: changed since it was made", hint)
