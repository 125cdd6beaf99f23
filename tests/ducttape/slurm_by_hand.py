"""Runs of hand-written tasks on the stand-in for Slurm, with a controller in a hurry."""

from __future__ import annotations

from pathlib import Path

import hand_plans
from hand_plans import BASELINE

from ducttape.run.outcome import Outcome
from ducttape.run.progress import Silent
from ducttape.run.scheduler import Scheduler
from ducttape.run.slurm import Slurm
from ducttape.run.slurm_flights import Patience
from ducttape.store.layout import Layout
from ducttape.store.record import Record

HASTY = Patience(
    interval=0.03, ask=0.1, ask_longest=0.3, look=0.03, look_longest=0.1, settle=0.2, files=1.5, lost=0.5, call=2.0
)


def task(name: str, body: str, inputs=None, outputs=("out",), params=None, real: str = BASELINE, **dots):
    """A task for Slurm; further keywords are dot-params."""
    params = {".submitter": "slurm"} | {f".{k}": str(v) for k, v in dots.items()} | (params or {})
    return hand_plans.task(name, body, inputs, outputs, params, real)


class Run(Silent):
    """A run that keeps what it was told, and can stop itself: `stop(reporter)` is asked at every tick."""

    def __init__(self, stop=None):
        super().__init__()
        self.lines: list[str] = []
        self.seen: set[str] = set()
        self._stop = stop

    def say(self, kind: str, text: str) -> None:
        self.lines.append(f"{kind} {text}")

    def away(self, found) -> None:
        self.seen.update(found.values())

    def tick(self) -> None:
        if self._stop is not None and self._stop(self):
            raise Gone


class Gone(Exception):
    """The controller died here."""


def make(base: Path, *tasks, patience: Patience = HASTY, reporter=None, **options) -> Outcome:
    """Make the tasks complete under `base`, as the command would."""
    store = hand_plans.store(base, *tasks)
    clusters = {"slurm": Slurm(store.layout, store.cache, patience)}
    scheduler = Scheduler(store, {}, reporter or Silent(), clusters=clusters, version=1, **options)
    return scheduler.run(store.survey())


def reasons(outcome: Outcome) -> list[str]:
    return [failure.reason for failure in outcome.failed]


def record(base: Path, name: str, real: str = BASELINE) -> Record:
    found = Record.read(Path(base) / name / real)
    assert found is not None, f"{name}/{real} has no record"
    return found


def cluster(base: Path, patience: Patience = HASTY, **options) -> Slurm:
    """A controller by itself, as `cancel` and `--detach` have one."""
    store = hand_plans.store(base)
    return Slurm(Layout(Path(base)), store.cache, patience, **options)
