"""Names of realizations (spec 4.3): canonical, full, and what to do when they are long or hold a slash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ducttape.plan.tasks import Realization
from ducttape.workflow.branchpoints import BASELINE_BRANCH, BASELINE_POINT, BranchPoints

BASELINE_NAME = f"{BASELINE_POINT}.{BASELINE_BRANCH}"
LONGEST_NAME = 250


class BaselineBranch(str):
    """A branch name in `Realization.branches` that is the baseline of its point. Otherwise a plain string."""

    __slots__ = ()


class Namer:
    """Makes the realizations of one task from tuples of branch numbers along `order` (points), -1 = not visible."""

    def __init__(self, points: BranchPoints, order: Sequence[int], delimiter: str):
        self._delimiter = delimiter
        chosen = [points.points[p] for p in order]
        # Realizations list their points by name, whatever the order of the tuple.
        self._sorted = sorted(range(len(chosen)), key=lambda i: chosen[i].name)
        self._pairs = [[(p.name, b if i else BaselineBranch(b)) for i, b in enumerate(p.branches)] for p in chosen]
        self._labels = [[f"{_component(p.name)}.{_component(b)}" for b in p.branches] for p in chosen]

    def realization(self, choice: Sequence[int]) -> Realization:
        """The realization with its names. A name longer than 250 characters becomes its upper-case hex MD5."""
        pairs, short, full = [], [], []
        for at in self._sorted:
            branch = choice[at]
            if branch >= 0:
                label = self._labels[at][branch]
                pairs.append(self._pairs[at][branch])
                full.append(label)
                if branch:
                    short.append(label)
        full_name = self._delimiter.join(full) or BASELINE_NAME
        name = self._delimiter.join(short) or BASELINE_NAME
        if len(name) > LONGEST_NAME:
            name = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest().upper()
        return Realization(tuple(pairs), name, full_name)


def _component(text: str) -> str:
    """`text` as part of a file name: an implied branch name such as `/dev/null` may hold slashes."""
    if "/" in text:
        return text.replace("%", "%25").replace("/", "%2F")
    return text
