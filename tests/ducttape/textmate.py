"""A small TextMate tokenizer: enough of the rules to run the project's own grammar without an editor.

It knows `match`, `begin`/`end` (with back references into the begin), captures, and includes of the own repository;
other grammars (`source.shell`) count as empty. Regular expressions are Python's, which agree with Oniguruma on what the
grammar uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Open:
    """A begin/end rule that is open: its scopes, its end, its patterns."""

    scopes: tuple[str, ...]
    end: re.Pattern[str] | None
    rule: dict


class Grammar:
    def __init__(self, data: dict):
        self._data = data
        self.repository: dict[str, dict] = data["repository"]
        self._compiled: dict[str, re.Pattern[str]] = {}

    def scopes(self, text: str) -> list[tuple[str, ...]]:
        """For each character of the text the scopes it has, outermost first."""
        found: list[tuple[str, ...]] = []
        stack = [_Open((self._data["scopeName"],), None, self._data)]
        for line in text.splitlines(keepends=True):
            bare = line.rstrip("\r\n")
            marks: list[tuple[str, ...]] = []
            self._line(bare, stack, marks)
            found += marks + [stack[-1].scopes] * (len(line) - len(marks))
        return found

    def rules(self) -> Iterator[dict]:
        """All rules, nested ones too."""
        pending = [self._data, *self.repository.values()]
        while pending:
            rule = pending.pop()
            yield rule
            pending += rule.get("patterns", ())

    def _regex(self, pattern: str) -> re.Pattern[str]:
        if pattern not in self._compiled:
            self._compiled[pattern] = re.compile(pattern)
        return self._compiled[pattern]

    def _patterns(self, rule: dict) -> Iterator[dict]:
        for pattern in rule.get("patterns", ()):
            included = pattern.get("include")
            if included is None:
                yield pattern
            elif included.startswith("#"):
                target = self.repository[included[1:]]
                if "match" in target or "begin" in target:
                    yield target
                else:
                    yield from self._patterns(target)

    def _line(self, line: str, stack: list[_Open], marks: list[tuple[str, ...]]) -> None:
        at, empty = 0, 0
        while True:
            top = stack[-1]
            best, chosen = None, None
            if top.end is not None:
                best = top.end.search(line, at)
            for rule in self._patterns(top.rule):
                found = self._regex(rule.get("match") or rule["begin"]).search(line, at)
                if found is not None and (best is None or found.start() < best.start()):
                    best, chosen = found, rule
            if best is None:
                marks += [top.scopes] * (len(line) - at)
                return
            marks += [top.scopes] * (best.start() - at)
            if chosen is None:
                self._captures(best, top.scopes, top.rule.get("endCaptures", {}), marks)
                stack.pop()
            else:
                scopes = (*top.scopes, *([chosen["name"]] if "name" in chosen else []))
                self._captures(best, scopes, chosen.get("captures") or chosen.get("beginCaptures") or {}, marks)
                if "begin" in chosen:
                    groups = best.groups(default="")
                    end = re.sub(r"\\([1-9])", lambda m, g=groups: re.escape(g[int(m[1]) - 1]), chosen["end"])
                    stack.append(_Open(scopes, self._regex(end), chosen))
            empty = empty + 1 if best.end() == at else 0
            assert empty < 50, f"the grammar does not move on at {line[at:]!r}"
            at = best.end()

    @staticmethod
    def _captures(found: re.Match[str], scopes: tuple[str, ...], captures: dict, marks: list) -> None:
        start = found.start()
        own = [scopes] * (found.end() - start)
        for number, capture in sorted(captures.items()):
            first, last = found.span(int(number))
            for i in range(first, last):
                own[i - start] = (*own[i - start], capture["name"])
        marks += own
