"""Batches that do not show in the result, for encoders that work on windows of bounded length.

An utterance becomes windows; windows of one bucket wait for company and are computed in batches whose shape follows
from the bucket alone, missing rows filled up. Matrix products of one shape round alike, so a window gives the same bits
alone, in company, and in any order. Long audio needs no more memory than its own features: its windows are computed
like any others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
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
    threads: int = 1,
) -> Iterator[list[np.ndarray]]:
    """The outputs of each utterance's windows [frames, dim], own parts only, in input order.

    `run(bucket, values)` gets at most `rows_of(bucket)` windows and returns [at least as many, frames, dim]; `threads`
    of them run at a time, each with one torch thread, so that their number changes no bit. Utterances that are not yet
    yielded hold at most `read_ahead` input values, besides those of the one just read.
    """
    with ThreadPoolExecutor(threads, initializer=_one_torch_thread) if threads > 1 else nullcontext() as pool:
        batches = _Batches(rows_of, run, pool, threads)
        order: deque[tuple[list[np.ndarray | None], int]] = deque()  # of utterances: outputs, input values
        held = 0
        for utterance in utterances:
            windows = windows_of(utterance)
            outputs: list[np.ndarray | None] = [None] * len(windows)
            order.append((outputs, sum(window.values.size for window in windows)))
            held += order[-1][1]
            for index, window in enumerate(windows):
                batches.add(window, outputs, index)
            if held > read_ahead:
                batches.flush()
            while order and all(part is not None for part in order[0][0]):
                parts, size = order.popleft()
                held -= size
                yield parts
        batches.flush()
        for parts, _ in order:
            yield parts


class _Batches:
    """Windows that wait for company, and batches that are being computed."""

    def __init__(self, rows_of, run, pool: ThreadPoolExecutor | None, threads: int):
        self._rows_of, self._run, self._pool, self._threads = rows_of, run, pool, threads
        self._waiting: dict[int, list[tuple[Window, list, int]]] = {}
        self._running: deque[tuple[list[tuple[Window, list, int]], Future]] = deque()

    def add(self, window: Window, outputs: list[np.ndarray | None], index: int) -> None:
        """`outputs[index]` becomes the window's part of the result, sooner or later."""
        batch = self._waiting.setdefault(window.bucket, [])
        batch.append((window, outputs, index))
        if len(batch) == self._rows_of(window.bucket):
            self._compute(window.bucket)

    def flush(self) -> None:
        """Compute everything that waits, and wait for it."""
        for bucket in sorted(self._waiting):
            self._compute(bucket)
        while self._running:
            self._settle()

    def _compute(self, bucket: int) -> None:
        batch = self._waiting.pop(bucket)
        values = [window.values for window, _, _ in batch]
        if self._pool is None:
            _keep(batch, self._run(bucket, values))
            return
        self._running.append((batch, self._pool.submit(self._run, bucket, values)))
        if len(self._running) > self._threads:
            self._settle()

    def _settle(self) -> None:
        batch, future = self._running.popleft()
        _keep(batch, future.result())


def _keep(batch: list[tuple[Window, list, int]], results: np.ndarray) -> None:
    for (window, outputs, index), frames in zip(batch, results, strict=False):
        outputs[index] = frames[window.first : window.last].copy()


def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)
