"""Choosing tasks of a plan by the globs of the command line (spec 10).

- A task glob and a branch glob know `*`, `?` and `{a,b}`; everything else is taken literally, dots too.
- A realization glob is `Point.branchglob` parts joined by `+`. Every point it names must be visible in the realization;
  the points it does not name must be at their baseline, unless one part is a bare `*`. So `*` alone matches everything.
  A complete canonical or full name matches as well, however it is written (long names are hashes).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from ducttape.plan.realization import BaselineBranch
from ducttape.plan.tasks import Plan, Realization, RealizedTask
from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean
from ducttape.workflow.branchpoints import BASELINE_BRANCH, BASELINE_POINT


def select_tasks(plan: Plan, task_glob: str = "*", realization_globs: Sequence[str] = ("*",)) -> list[RealizedTask]:
    """The planned tasks that match the task glob and at least one realization glob, in plan order.

    Raises TapeError, naming what there is, when a glob is malformed or matches nothing.
    """
    matches_task = _pattern(task_glob).fullmatch
    by_name = [t for t in plan.tasks.values() if matches_task(t.key.task)]
    if not by_name:
        names = dict.fromkeys(t.key.task for t in plan.tasks.values())
        raise TapeError(Diagnostic(f"no planned task matches '{task_glob}'", hint=did_you_mean(task_glob, names)))
    globs = [RealizationGlob(g) for g in (realization_globs or ("*",))]
    found, used = [], set()
    for task in by_name:
        matching = [g.text for g in globs if g.matches(task.realization)]
        used.update(matching)
        if matching:
            found.append(task)
    unused = [g.text for g in globs if g.text not in used]
    if unused:
        names = dict.fromkeys(t.realization.name for t in by_name)
        raise TapeError(
            [
                Diagnostic(
                    f"no planned realization of '{task_glob}' matches '{text}'",
                    hint=f"{did_you_mean(text, names)}; points that are not named stay at the baseline, +* frees them",
                )
                for text in dict.fromkeys(unused)
            ]
        )
    return found


class RealizationGlob:
    """One parsed realization glob."""

    def __init__(self, text: str):
        self.text = text
        self._parts: dict[str, list[re.Pattern]] = {}
        self._free = False
        for part in text.split("+"):
            if part == "*":
                self._free = True
                continue
            point, dot, branch = part.partition(".")
            if dot and point and branch:
                self._parts.setdefault(point, []).append(_pattern(branch))
            # Anything else can still be a whole name, such as the hash of a long one.
            else:
                self._parts.setdefault("", []).append(_pattern(part))

    def branches(self) -> Iterator[tuple[str, Callable[[str], object]]]:
        """The points it names, each with the test of its branch; a part that is no `Point.branch` names none."""
        for point, patterns in self._parts.items():
            if point:
                yield from ((point, pattern.fullmatch) for pattern in patterns)

    def matches(self, realization: Realization) -> bool:
        if self.text in (realization.name, realization.full_name):
            return True
        missing = len(self._parts)
        for point, branch in (*realization.branches, (BASELINE_POINT, BaselineBranch(BASELINE_BRANCH))):
            patterns = self._parts.get(point)
            if patterns is None:
                if not self._free and not isinstance(branch, BaselineBranch):
                    return False
            elif all(p.fullmatch(branch) for p in patterns):
                missing -= 1
            else:
                return False
        return not missing


def glob_matches(glob: str, name: str) -> bool:
    """Whether a task glob matches a name."""
    return _pattern(glob).fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _pattern(glob: str) -> re.Pattern:
    """The regular expression of a glob. An unbalanced brace raises TapeError."""
    out, depth = [], 0
    for character in glob:
        if character == "*":
            out.append(".*")
        elif character == "?":
            out.append(".")
        elif character == "{":
            depth += 1
            out.append("(?:")
        elif character == "}" and depth:
            depth -= 1
            out.append(")")
        elif character == "," and depth:
            out.append("|")
        else:
            out.append(re.escape(character))
    if depth:
        raise TapeError(Diagnostic(f"'{glob}' has a '{{' without '}}'", hint="quote globs for the shell: 'a{b,c}'"))
    return re.compile("".join(out), re.DOTALL)
