"""What is known about each corpus: one YAML file a corpus in configs/corpora, read and checked here.

A description says under which licence and behind which gate a corpus is, where its page is, how large it is, which
revision it is taken at, which files make a split, and which columns hold what. Keys:

    name, licence, gate, page, hours, phase, language     facts; gate is none, hub (accept a licence there) or manual
    reader       parquet, archive, or the layout of an unpacked corpus (spire.datasets.layouts.LAYOUTS)
    repository   on the hub, where there is one; `revision` is a branch, a tag or, pinned, a commit
    splits       name: {files: [pattern, ...], utterances: N}; the first pattern that finds files decides
    columns      id, text, speaker, audio; `audio.path` means the name of the audio file without ending
    translations language: column; `{target}` in it and in patterns is the target language of --target, one of `targets`
    table        of an archive corpus: file, key, header, delimiter
    clean        names of spire.datasets.transcripts.CLEANERS, in order
    microphone   of VCTK: mic1 or mic2
    untranscribed  true: utterances without a transcript are kept, with an empty text
    checksums    path: SHA-256 of files that somebody has vouched for, whatever a hub or a mirror says
    manual       what a person has to do; shown when the corpus cannot be had
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spire.datasets.facts import advice, read_values
from spire.datasets.layouts import LAYOUTS
from spire.datasets.transcripts import CLEANERS
from spire.errors import UserError

GATES = ("none", "hub", "manual")
HUB_READERS = ("parquet", "archive")
COMMIT = re.compile(r"[0-9a-f]{40}")
_TEXTS = ("name", "licence", "gate", "page", "phase", "reader", "language")
_MORE = ("hours", "repository", "revision", "splits", "columns", "translations", "targets", "table", "clean", "manual")
_KEYS = (*_TEXTS, *_MORE, "microphone", "untranscribed", "checksums")


@dataclass(frozen=True)
class Split:
    """Patterns of its files (of the hub's repository), and how many utterances it has, None where nobody said."""

    files: tuple[str, ...] = ()
    utterances: int | None = None


@dataclass(frozen=True)
class CorpusFacts:
    """One description; see the module's docstring."""

    key: str
    name: str
    licence: str
    gate: str
    page: str
    phase: str
    reader: str
    language: str
    hours: str = ""
    repository: str = ""
    revision: str = ""
    splits: Mapping[str, Split] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    translations: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    table: Mapping[str, Any] = field(default_factory=dict)
    clean: tuple[str, ...] = ()
    manual: str = ""
    microphone: str = ""
    untranscribed: bool = False
    checksums: Mapping[str, str] = field(default_factory=dict)

    @property
    def pinned(self) -> bool:
        """Whether `revision` is a commit, which cannot change."""
        return bool(COMMIT.fullmatch(self.revision))

    def advice(self) -> str:
        """What to do when the corpus cannot be had."""
        return advice(self.manual, self.page)


def read_facts(path: str | Path) -> CorpusFacts:
    """The description in a YAML file. UserError names the file and the key that is missing, unknown or malformed."""
    path = Path(path)
    values = read_values(path, _KEYS, _TEXTS, "configs/corpora")
    if values["gate"] not in GATES:
        raise UserError(f"{path}: gate is {values['gate']!r}", hint="one of " + ", ".join(GATES))
    if values["reader"] not in (*HUB_READERS, *LAYOUTS):
        raise UserError(f"{path}: no reader {values['reader']!r}", hint="one of " + ", ".join((*HUB_READERS, *LAYOUTS)))
    if values["reader"] in HUB_READERS and not (values.get("repository") and values.get("revision")):
        raise UserError(f"{path}: a corpus of the hub needs repository and revision")
    clean = tuple(values.get("clean") or ())
    for name in clean:
        if name not in CLEANERS:
            raise UserError(f"{path}: no cleaner {name!r}", hint="one of " + ", ".join(CLEANERS))
    return CorpusFacts(
        key=path.stem,
        **{key: values[key] for key in _TEXTS},
        hours=str(values.get("hours", "")),
        repository=values.get("repository") or "",
        revision=values.get("revision") or "",
        splits=_splits(values.get("splits"), path),
        columns=_texts(values, "columns", path),
        translations=_texts(values, "translations", path),
        targets=tuple(values.get("targets") or ()),
        table=values.get("table") or {},
        clean=clean,
        manual=" ".join((values.get("manual") or "").split()),
        microphone=values.get("microphone") or "",
        untranscribed=values.get("untranscribed") is True,
        checksums=_texts(values, "checksums", path),
    )


def _splits(value: Any, path: Path) -> dict[str, Split]:
    if not isinstance(value, dict) or not value:
        raise UserError(f"{path}: splits must name at least one split")
    splits = {}
    for name, facts in value.items():
        facts = facts or {}
        files = facts.get("files") if isinstance(facts, dict) else None
        files = [files] if isinstance(files, str) else files or []
        count = facts.get("utterances") if isinstance(facts, dict) else None
        well = isinstance(facts, dict) and all(isinstance(file, str) for file in files)
        if not well or not set(facts) <= {"files", "utterances"} or not (count is None or isinstance(count, int)):
            raise UserError(f"{path}: split {name}: expected files (patterns) and utterances (a number)")
        splits[str(name)] = Split(tuple(files), count)
    return splits


def _texts(values: dict, key: str, path: Path) -> dict[str, str]:
    mapping = values.get(key) or {}
    if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
        raise UserError(f"{path}: {key} must map names to text")
    return {str(name): column for name, column in mapping.items()}
