"""Waveforms of a corpus in order, decoded ahead by worker processes.

What comes out is the same for any number of workers, none included: each utterance is decoded by itself, and one that
cannot be decoded (missing, damaged, or deadly to its decoder) comes as empty with the reason. Memory is bounded:
samples that wait to be taken stay below HELD_BYTES, apart from one utterance per worker.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spire.datasets import decode_worker
from spire.datasets.corpus import Item, Reference
from spire.errors import UserError

HELD_BYTES = 1 << 30  # 4.6 hours of float32 at 16 kHz
AHEAD = 16  # utterances requested ahead, per worker


@dataclass(frozen=True, slots=True)
class Decoded:
    """One utterance: float32 [N] at 16 kHz, and why N is 0 where it should not be."""

    item: Item
    samples: np.ndarray
    reason: str = ""


def decoded(items: Iterable[Item], workers: int = 0) -> Iterator[Decoded]:
    """The utterances in order; `workers` processes decode ahead, 0 decodes in this process when asked."""
    if workers < 0:
        raise UserError(f"{workers} workers asked for", hint="0 decodes in the labelling process")
    if not workers:
        for item in items:
            yield _decode_here(item)
        return
    with closing(_Pool(workers)) as pool:
        yield from pool.decoded(items)


def default_workers() -> int:
    """One for each core this process may use but the one that computes, at most 16."""
    return max(1, min(len(os.sched_getaffinity(0)) - 1, 16))


def _decode_here(item: Item) -> Decoded:
    if item.reference is None:
        return _failed(item, item.problem)
    samples = item.reference.decoded()
    return _failed(item, samples) if isinstance(samples, str) else Decoded(item, samples)


def _failed(item: Item, reason: str) -> Decoded:
    return Decoded(item, np.zeros(0, np.float32), reason)


class _Pool:
    """A thread for each process, which sends it one reference at a time; the processes outlive a damaged file."""

    def __init__(self, workers: int):
        self._ahead = AHEAD * workers
        self._own = threading.local()
        self._processes: list[subprocess.Popen] = []
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._state = threading.Condition()
        self._held = 0  # bytes decoded and not yet taken
        self._wanted = 0  # number of the utterance that is taken next
        self._closed = False

    def decoded(self, items: Iterable[Item]) -> Iterator[Decoded]:
        waiting: deque[Future[Decoded]] = deque()
        source = enumerate(items)
        exhausted = False
        while waiting or not exhausted:
            while not exhausted and len(waiting) < self._ahead:
                number, item = next(source, (None, None))
                if number is None:
                    exhausted = True
                else:
                    waiting.append(self._threads.submit(self._decode, number, item))
            if waiting:
                result = waiting.popleft().result()
                with self._state:
                    self._held -= result.samples.nbytes
                    self._wanted += 1
                    self._state.notify_all()
                yield result

    def close(self) -> None:
        with self._state:
            self._closed = True
            self._state.notify_all()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._threads.shutdown(wait=True)
        for process in self._processes:
            _end(process)

    def _decode(self, number: int, item: Item) -> Decoded:
        with self._state:
            self._state.wait_for(lambda: self._closed or self._held < HELD_BYTES or number == self._wanted)
        if item.reference is None:
            return _failed(item, item.problem)
        answer = self._ask(item.reference)
        if isinstance(answer, str):
            return _failed(item, answer)
        with self._state:
            self._held += answer.nbytes
        # Without the encoded bytes, which are not needed any more.
        return Decoded(Item(item.id, None, item.weight), answer)

    def _ask(self, reference: Reference) -> np.ndarray | str:
        """The samples, or the reason why there are none."""
        if self._closed:
            return "closed"
        process = getattr(self._own, "process", None)
        if process is None:
            process = self._own.process = self._start()
        try:
            decode_worker.write_request(process.stdin, reference)
            head = process.stdout.read(decode_worker.ANSWER.size)
            if len(head) == decode_worker.ANSWER.size:
                status, size = decode_worker.ANSWER.unpack(head)
                content = np.empty(size, np.uint8)
                if process.stdout.readinto(memoryview(content)) == size:
                    return content.view(np.float32) if status == decode_worker.OK else bytes(content).decode("utf-8")
        except OSError:  # a broken pipe: the process is gone
            pass
        self._own.process = None
        _end(process)
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
        return f"{reference.path}: the decoder crashed on it ({how})"

    def _start(self) -> subprocess.Popen:
        paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        process = subprocess.Popen(
            # -P and PYTHONPATH: this very library, and no file of the current folder in place of a module.
            [sys.executable, "-P", "-m", decode_worker.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"},
            # Not in the terminal's group: Ctrl-C is for the labelling process, which then ends these.
            start_new_session=True,
        )
        with self._state:
            self._processes.append(process)
        if process.stdout.read(len(decode_worker.READY)) != decode_worker.READY and not self._closed:
            process.wait()
            raise UserError(
                f"a decoder process did not start (exit code {process.returncode}); its message is above",
                hint="soundfile and soxr must be importable; --workers 0 decodes without processes",
            )
        return process


def _end(process: subprocess.Popen) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # unsent bytes of a broken pipe
            pipe.close()
    process.wait()
