"""Batches that do not show in the result, for encoders that work on windows of bounded length.

An utterance becomes windows; windows of one bucket wait for company and are computed in batches whose shape follows
from the bucket alone, missing rows filled up. Matrix products of one shape round alike, so a window gives the same bits
alone, in company, and in any order. Long audio needs no more memory than its own features: its windows are computed
like any others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """Input `values` of one window, in `bucket`; of its output frames, `first` up to `last` belong to the result."""

    bucket: int
    values: np.ndarray
    first: int
    last: int


def cut(total: int, size: int) -> list[tuple[int, int, int]]:
    """(start, stop, first) of windows of at most `size` that cover `total`; a window's own part begins at `first`.

    Windows follow each other; the last one starts earlier, so that it is full too and its own part has a past.
    """
    if total <= size:
        return [(0, total, 0)] if total else []
    spans = [(start, start + size, 0) for start in range(0, total - size + 1, size)]
    covered = spans[-1][1]
    return spans if covered == total else [*spans, (total - size, total, covered - (total - size))]


def stream_windows(
    utterances: Iterable[np.ndarray],
    windows_of: Callable[[np.ndarray], list[Window]],
    rows_of: Callable[[int], int],
    run: Callable[[int, list[np.ndarray]], np.ndarray],
    read_ahead: int,
) -> Iterator[list[np.ndarray]]:
    """The outputs of each utterance's windows [frames, dim], own parts only, in input order.

    `run(bucket, values)` gets at most `rows_of(bucket)` windows and returns [at least as many, frames, dim]. Utterances
    that are not yet yielded hold at most `read_ahead` input values, besides those of the one just read.
    """
    waiting: dict[int, list[tuple[int, int, Window]]] = {}
    outputs: dict[int, list[np.ndarray | None]] = {}
    sizes: deque[tuple[int, int]] = deque()
    held = 0

    def compute(bucket: int) -> None:
        taken = waiting.pop(bucket)
        for row, (position, index, window) in zip(run(bucket, [w.values for _, _, w in taken]), taken, strict=False):
            outputs[position][index] = row[window.first : window.last].copy()

    def finished() -> Iterator[list[np.ndarray]]:
        nonlocal held
        while sizes and all(part is not None for part in outputs[sizes[0][0]]):
            position, size = sizes.popleft()
            held -= size
            yield outputs.pop(position)

    for position, utterance in enumerate(utterances):
        windows = windows_of(utterance)
        outputs[position] = [None] * len(windows)
        sizes.append((position, sum(window.values.size for window in windows)))
        held += sizes[-1][1]
        for index, window in enumerate(windows):
            waiting.setdefault(window.bucket, []).append((position, index, window))
            if len(waiting[window.bucket]) == rows_of(window.bucket):
                compute(window.bucket)
        if held > read_ahead:
            for bucket in sorted(waiting):
                compute(bucket)
        yield from finished()
    for bucket in sorted(waiting):
        compute(bucket)
    yield from finished()
