"""Folders that `prepare` wrote or began: where they stand, and the parts of several jobs joined to one corpus."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from spire.datasets.prepare import DROPPED, MANIFEST, SUMMARY, check_ids
from spire.datasets.shards import parse_shard
from spire.errors import UserError
from spire.files import replaced_file
from spire.manifest import parse_line, to_line
from spire.textfiles import read_json, write_json


def begun_commit(out: Path, corpus: str, revision: str) -> str:
    """The commit at which an earlier run into `out` found this revision of this corpus; empty when there was none."""
    for path in (out / SUMMARY, out / ".parts" / "settings.json"):
        if path.is_file():
            state = read_json(path)
            state = state.get("settings", state)
            if state.get("corpus") == corpus and str(state.get("source", "")).endswith("@" + revision):
                return state.get("commit", "")
    return ""


def join(folders: list[Path], out: Path) -> dict[str, Any]:
    """One corpus in `out` from the folders of all its shards, in any order; its audio stays where it is.

    UserError: a shard is missing, given twice or unfinished, or they are not of the same corpus, settings and commit.
    """
    summaries: dict[int, tuple[Path, dict[str, Any]]] = {}
    parts, common = 0, None
    for folder in folders:
        path = folder / SUMMARY
        if not path.is_file():
            raise UserError(f"{folder}: not finished: no {SUMMARY}", hint="run its job again; it goes on where it was")
        summary = read_json(path)
        shard = parse_shard(summary["settings"]["shard"])
        same = summary["settings"] | {"shard": ""}
        if common not in (None, same):
            key = next(key for key in same if same[key] != common[key])
            hint = "pin the revision of the corpus (--revision COMMIT), so that all jobs take the same"
            raise UserError(f"{folder}: its {key} is {same[key]!r}, that of the others {common[key]!r}", hint)
        if shard.part in summaries or parts not in (0, shard.parts):
            raise UserError(f"{folder}: part {shard} is given twice or is of another cut", hint="give each part once")
        common, parts = same, shard.parts
        summaries[shard.part] = folder, summary
    if len(summaries) != parts or not parts:
        missing = sorted(set(range(1, parts + 1)) - set(summaries))
        raise UserError(f"parts {', '.join(map(str, missing[:10]))} of {parts} are missing", hint="give every part")
    ordered = [summaries[number] for number in sorted(summaries)]
    out.mkdir(parents=True, exist_ok=True)
    with replaced_file(out / MANIFEST) as partial:
        with open(partial, "w", encoding="utf-8", newline="\n") as output:
            for folder, _ in ordered:
                _moved(folder / MANIFEST, out, output)
        check_ids(ordered[0][1]["name"], [partial])
    with replaced_file(out / DROPPED) as partial, open(partial, "wb") as output:
        for folder, _ in ordered:
            with open(folder / DROPPED, "rb") as file:
                shutil.copyfileobj(file, output)
    summary = dict(ordered[0][1])
    summary["settings"] = common | {"shard": "1/1"}
    for key in ("utterances", "hours"):
        summary[key] = round(sum(one[key] for _, one in ordered), 4)
    summary["dropped"] = dict(sum((Counter(one["dropped"]) for _, one in ordered), Counter()))
    summary["parts"] = [part for _, one in ordered for part in one["parts"]]
    write_json(out / SUMMARY, summary)
    return summary


def _moved(manifest: Path, out: Path, output) -> None:
    """The lines of a manifest, their audio paths relative to `out`."""
    with open(manifest, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            utterance = parse_line(line, manifest, number)
            audio = Path(os.path.relpath(utterance.audio_path, out.absolute())).as_posix()
            output.write(to_line(utterance, audio))
