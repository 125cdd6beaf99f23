"""What is known about each text corpus: one YAML file a corpus in configs/corpora/text, read and checked here.

Keys:

    name, licence, gate, page, phase   facts; gate is none, hub (accept a licence there) or manual
    size         in words, for people
    reader       what becomes of it: one of READERS
    repository   on the hub; `revision` is a branch or a tag of it, `commit` what to hold it to ("": not known)
    splits       name: {files: [pattern, ...], rows: N}; the first pattern that finds files decides; `{language}` in a
                 pattern is the hub's name of the language; a split that has `rows` must have exactly as many
    languages    our code: the hub's name
    columns      role: column; `translation.de` is the field de of the column translation, `{code}` our code
    tasks        of an archive of tasks: task: {folder: subtask pattern, subtasks: [...], rows: N}
    take         fetch: whole files, verified; stream: only the stretches that are used, which nothing verifies
    checksums    path: SHA-256 of files that somebody has vouched for
    manual       what a person has to do; shown when the corpus cannot be had
    unverified   what nobody could check when this was written; shown by --facts
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spire.datasets.facts import advice, read_values
from spire.errors import UserError

GATES = ("none", "hub", "manual")
# sentences: n-way by language; tasks: MT, APE and NER test sets in an archive; conversations and table: rows as they
# are; mono and parallel: a sample of running text or of sentence pairs; questions, stories: several answers.
READERS = ("sentences", "tasks", "conversations", "table", "mono", "parallel", "questions", "stories")
TAKES = ("fetch", "stream")
COMMIT = re.compile(r"[0-9a-f]{40}")
_TEXTS = ("name", "licence", "gate", "page", "phase", "reader", "repository", "revision")
_OPTIONAL = ("size", "commit", "take", "manual", "unverified")
_MAPPINGS = ("languages", "columns", "checksums")
_KEYS = (*_TEXTS, *_OPTIONAL, *_MAPPINGS, "splits", "tasks")


@dataclass(frozen=True)
class TextSplit:
    """Patterns of a split's files, and how many rows it has, None where nobody said."""

    files: tuple[str, ...]
    rows: int | None = None


@dataclass(frozen=True)
class TextTask:
    """A task of an archive: `folder` below raw_data with `{subtask}` in it, its subtasks, rows of each or None."""

    folder: str
    subtasks: tuple[str, ...]
    rows: int | None = None


@dataclass(frozen=True)
class TextFacts:
    """One description; see the module's docstring."""

    key: str
    name: str
    licence: str
    gate: str
    page: str
    phase: str
    reader: str
    repository: str
    revision: str
    splits: Mapping[str, TextSplit]
    size: str = ""
    commit: str = ""
    take: str = "fetch"
    manual: str = ""
    unverified: str = ""
    languages: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, TextTask] = field(default_factory=dict)

    def advice(self) -> str:
        """What to do when the corpus cannot be had."""
        return advice(self.manual, self.page)

    def column(self, role: str) -> str:
        """The column of a role. UserError when the description names none."""
        if role not in self.columns:
            raise UserError(f"{self.name}: the description names no column for {role}", hint="add it under `columns`")
        return self.columns[role]


def read_text_facts(path: str | Path) -> TextFacts:
    """The description in a YAML file. UserError names the file and the key that is missing, unknown or malformed."""
    path = Path(path)
    values = read_values(path, _KEYS, _TEXTS, "configs/corpora/text")
    for key, known in (("gate", GATES), ("reader", READERS), ("take", TAKES)):
        if values.get(key, known[0]) not in known:
            raise UserError(f"{path}: {key} is {values[key]!r}", hint="one of " + ", ".join(known))
    texts = {key: " ".join(str(values.get(key) or "").split()) for key in _OPTIONAL}
    if texts["commit"] and not COMMIT.fullmatch(texts["commit"]):
        raise UserError(f"{path}: commit is {texts['commit']!r}", hint="40 hexadecimal digits, or nothing")
    texts["take"] = texts["take"] or "fetch"
    return TextFacts(
        key=path.stem,
        splits={name: TextSplit(*facts) for name, facts in _groups(values, "splits", "files", path).items()},
        tasks={name: TextTask(*facts) for name, facts in _tasks(values, path).items()},
        **{key: values[key] for key in _TEXTS},
        **texts,
        **{key: _mapping(values, key, path) for key in _MAPPINGS},
    )


def _groups(values: dict[str, Any], key: str, listed: str, path: Path) -> dict[str, tuple]:
    groups = values.get(key)
    if not isinstance(groups, dict) or not groups:
        raise UserError(f"{path}: {key} must name at least one")
    found = {}
    for name, facts in groups.items():
        items = facts.get(listed) if isinstance(facts, dict) else None
        items = [items] if isinstance(items, str) else items
        rows = facts.get("rows") if isinstance(facts, dict) else None
        well = isinstance(items, list) and items and all(isinstance(item, str) for item in items)
        if not well or not set(facts) <= {listed, "rows", "folder"} or not (rows is None or type(rows) is int):
            raise UserError(f"{path}: {key}, {name}: expected {listed} (a list of text) and rows (a number)")
        found[str(name)] = (tuple(items), rows)
    return found


def _tasks(values: dict[str, Any], path: Path) -> dict[str, tuple]:
    if "tasks" not in values:
        if values["reader"] == "tasks":
            raise UserError(f"{path}: the reader `tasks` needs tasks")
        return {}
    groups = _groups(values, "tasks", "subtasks", path)
    for name in groups:
        folder = values["tasks"][name].get("folder")
        if not isinstance(folder, str) or "{subtask}" not in folder:
            raise UserError(f"{path}: tasks, {name}: folder must be text with {{subtask}} in it")
        groups[name] = (folder, *groups[name])
    return groups


def _mapping(values: dict[str, Any], key: str, path: Path) -> dict[str, str]:
    mapping = values.get(key) or {}
    if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
        raise UserError(f"{path}: {key} must map names to text")
    return {str(name): value for name, value in mapping.items()}
