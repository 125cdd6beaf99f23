"""Items of likelihood tests: candidates of which one is right, each an ending behind a context, in text and speech.

A test set is a JSONL file `<test_set>.<direction>.jsonl`, an item a line, the candidates of a pair together:

    {"id": "w1.right", "pair": "w1", "right": true, "context": [], "ending": [{"text": "brick"}]}
    {"id": "w1.wrong", "pair": "w1", "right": false, "context": [], "ending": [{"streams": {"hubert": "99 49 7"}}]}

A segment is text as it is (blanks included) or a units dictionary (spiritlm 5). Optional: "group" (pairs of one group
count as one, such as a word in several voices) and "subset" (a part of the test set that is also measured on its own).
Guarantee: what is read has in every pair exactly one right candidate and at least one wrong one, and ids occur once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spire.errors import UserError
from spire.textfiles import read_jsonl, write_jsonl
from spiritlm.evaluation.measures import DIRECTIONS

_NAME = re.compile(r"([A-Za-z0-9_-]+)\.(" + "|".join(DIRECTIONS) + r")\.jsonl")
_FIELDS = {"id", "pair", "right", "context", "ending", "group", "subset"}
_STREAMS = ("hubert", "pitch", "style")


@dataclass(frozen=True)
class Segment:
    """Text, or the units of speech: exactly one of the two."""

    text: str | None = None
    streams: Mapping[str, str] | None = field(default=None, hash=False)

    @property
    def spoken(self) -> bool:
        return self.streams is not None

    def to_json(self) -> dict:
        if self.streams is None:
            return {"text": self.text}
        return {"streams": {name: self.streams[name] for name in _STREAMS if name in self.streams}}


@dataclass(frozen=True)
class Item:
    """One candidate. `group` is the pair where none is given; `subset` "" where there is none."""

    id: str
    pair: str
    right: bool
    context: tuple[Segment, ...]
    ending: tuple[Segment, ...]
    group: str
    subset: str = ""

    def to_json(self) -> dict:
        row = {"id": self.id, "pair": self.pair, "right": self.right}
        row |= {"context": [s.to_json() for s in self.context], "ending": [s.to_json() for s in self.ending]}
        return row | ({"group": self.group} if self.group != self.pair else {}) | self._subset()

    def _subset(self) -> dict:
        return {"subset": self.subset} if self.subset else {}


@dataclass(frozen=True)
class TestSet:
    """The items of one file, in its order; `name` and `direction` are those of the file's name."""

    name: str
    direction: str
    items: tuple[Item, ...]

    __test__ = False  # no test for pytest to collect

    @property
    def file(self) -> str:
        return f"{self.name}.{self.direction}.jsonl"


def pair(
    name: str,
    context: Iterable[Segment],
    endings: Iterable[Iterable[Segment]],
    right: int = 0,
    group: str = "",
    subset: str = "",
) -> list[Item]:
    """The items of one pair: the same context and several endings, of which the one with number `right` is right."""
    before = tuple(context)
    return [
        Item(f"{name}.{i}", name, i == right, before, tuple(ending), group or name, subset)
        for i, ending in enumerate(endings)
    ]


def write_test_set(folder: Path, test: TestSet) -> Path:
    """Write the file into `folder`; its path. Errors as `check_pairs`."""
    check_pairs(test.items, test.file)
    write_jsonl(Path(folder) / test.file, (item.to_json() for item in test.items))
    return Path(folder) / test.file


def read_test_sets(folder: Path, names: Iterable[str] = ()) -> list[TestSet]:
    """All test sets of a folder by file name, or those called `<test_set>` or `<test_set>.<direction>` in `names`.

    UserError: none there, a name that is none, a malformed line, a pair without exactly one right candidate.
    """
    folder, names = Path(folder), list(names)
    paths = {path: m for path in sorted(folder.glob("*.jsonl")) if (m := _NAME.fullmatch(path.name))}
    if not paths:
        hint = f"test sets are called <test_set>.<direction>.jsonl; directions: {', '.join(DIRECTIONS)}"
        raise UserError(f"{folder}: no test sets", hint)
    for name in names:
        if not any(name in (m[1], f"{m[1]}.{m[2]}") for m in paths.values()):
            there = ", ".join(f"{m[1]}.{m[2]}" for m in paths.values())
            raise UserError(f"{folder}: no test set {name!r}", f"there are {there}")
    wanted = {p: m for p, m in paths.items() if not names or m[1] in names or f"{m[1]}.{m[2]}" in names}
    return [TestSet(m[1], m[2], read_items(path)) for path, m in wanted.items()]


def read_items(path: Path) -> tuple[Item, ...]:
    """The items of one file. UserError names file and line."""
    items = tuple(_item(row, f"{path}: item {number}") for number, row in enumerate(read_jsonl(path), start=1))
    check_pairs(items, str(path))
    return items


def check_pairs(items: Iterable[Item], where: str) -> None:
    """UserError: no items, an id twice, a pair in two places, or one without exactly one right candidate."""
    seen: set[str] = set()
    pairs: dict[str, list[Item]] = {}
    last = None
    for item in items:
        if item.id in seen:
            raise UserError(f"{where}: the id {item.id!r} occurs twice")
        if item.pair in pairs and item.pair != last:
            raise UserError(f"{where}: the pair {item.pair!r} is in two places", "candidates follow each other")
        seen.add(item.id)
        pairs.setdefault(item.pair, []).append(item)
        last = item.pair
    if not pairs:
        raise UserError(f"{where}: no items")
    for name, candidates in pairs.items():
        right = sum(item.right for item in candidates)
        if right != 1 or len(candidates) < 2:
            raise UserError(f"{where}: pair {name!r} has {len(candidates)} candidates, {right} of them right")
        if len({(item.group, item.subset) for item in candidates}) > 1:
            raise UserError(f"{where}: the candidates of pair {name!r} are of several groups or subsets")


def _item(row: dict, where: str) -> Item:
    unknown = set(row) - _FIELDS
    if unknown or not all(isinstance(row.get(key), str) and row[key] for key in ("id", "pair")):
        raise UserError(f"{where}: expected id, pair, right, context, ending", _HINT if not unknown else f"{unknown}?")
    if not isinstance(row.get("right"), bool):
        raise UserError(f"{where}: `right` is {row.get('right')!r}", "true or false")
    parts = {key: _segments(row.get(key), f"{where}, {key}") for key in ("context", "ending")}
    if not parts["ending"]:
        raise UserError(f"{where}: no ending, so nothing can be scored")
    group, subset = row.get("group", row["pair"]), row.get("subset", "")
    if not (isinstance(group, str) and isinstance(subset, str) and re.fullmatch(r"[A-Za-z0-9_-]*", subset)):
        raise UserError(f"{where}: group {group!r}, subset {subset!r}", "subsets are of letters, digits, _ and -")
    return Item(row["id"], row["pair"], row["right"], parts["context"], parts["ending"], group, subset)


def _segments(value: object, where: str) -> tuple[Segment, ...]:
    if not isinstance(value, list):
        raise UserError(f"{where}: expected a list of segments", _HINT)
    found = []
    for segment in value:
        if not isinstance(segment, dict) or len(segment) != 1:
            raise UserError(f"{where}: a segment is {str(segment)[:60]}", _HINT)
        ((kind, content),) = segment.items()
        if kind == "text" and isinstance(content, str):
            found.append(Segment(text=content))
        elif kind == "streams" and isinstance(content, dict) and _units(content):
            found.append(Segment(streams=content))
        else:
            raise UserError(f"{where}: a segment is {str(segment)[:60]}", _HINT)
    return tuple(found)


def _units(content: dict) -> bool:
    known = set(content) <= set(_STREAMS) and all(isinstance(value, str) for value in content.values())
    return known and bool(content.get("hubert", "").strip())


_HINT = 'a segment is {"text": "..."} or {"streams": {"hubert": "99 49 7"}}'
