"""One training loop for the base model, continued pretraining and instruction tuning, over any engine.

Guarantees: what a run writes is decided by engine, source and settings; a loss that is not a number or runs away stops
it with advice. With `checkpoints`, a run that was killed at any step and started again ends with the same weights and
the same logs (but for times) as one that was not.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spire.progress import Progress
from spire.training.engine import Engine, Probe, Source
from spire.training.evaluation import Evaluation
from spire.training.log import JsonLines
from spire.training.schedule import rate
from spire.training.settings import Outcome, Settings
from spire.training.snapshots import Checkpoints
from spire.training.watch import Means, Watch


class Run:
    """All that a checkpoint keeps beside the engine's own state: counters, means, the source's position, the logs."""

    def __init__(
        self,
        source: Source,
        settings: Settings,
        logs: dict[str, JsonLines],
        evaluation: Evaluation | None = None,
    ):
        self.source, self.logs, self.evaluation = source, logs, evaluation
        self.means, self.watch = Means(source.blocks), Watch(settings)
        self.step, self.tokens, self.epoch, self.since = 0, 0, 0, 0.0
        self._wall, self._cpu = time.monotonic(), time.process_time()

    @property
    def wall(self) -> float:
        """Seconds of training so far, earlier attempts included."""
        return time.monotonic() - self._wall

    @property
    def cpu(self) -> float:
        return time.process_time() - self._cpu

    def state(self) -> dict:
        counters = {"step": self.step, "tokens": self.tokens, "epoch": self.epoch, "since": self.since}
        return counters | {
            "wall": self.wall,
            "cpu": self.cpu,
            "source": self.source.state(),
            "means": self.means.state(),
            "watch": self.watch.state(),
            "logs": {name: log.contents() for name, log in self.logs.items()},
            "evaluation": self.evaluation.state() if self.evaluation else None,
        }

    def restore(self, state: dict) -> None:
        self.step, self.tokens, self.epoch, self.since = (state[k] for k in ("step", "tokens", "epoch", "since"))
        self.source.restore(state["source"])
        self.means.restore(state["means"])
        self.watch.restore(state["watch"])
        for name, text in state["logs"].items():
            if name in self.logs:
                self.logs[name].restore(text)
        if self.evaluation and state["evaluation"]:
            self.evaluation.restore(state["evaluation"])
        self._wall, self._cpu = time.monotonic() - state["wall"], time.process_time() - state["cpu"]


def train(
    engine: Engine,
    source: Source,
    settings: Settings,
    log: JsonLines,
    label: str,
    probe: Probe | None = None,
    evaluation: Evaluation | None = None,
    checkpoints: Checkpoints | None = None,
) -> Outcome:
    """Train the engine's model, from the newest usable checkpoint if there is one. An `evaluation` that keeps its best
    weights needs `checkpoints`.

    Raises UserError when the run diverges, and SystemExit(143) after a checkpoint when it is asked to end (SIGTERM).
    """
    logs = {"train": log}
    if probe is not None:
        logs["probe"] = probe.log
    if evaluation is not None:
        logs["evaluation"] = evaluation.log
    run = Run(source, settings, logs, evaluation)
    if checkpoints is not None and (found := checkpoints.resume(engine)) is not None:
        run.restore(found)
        _say(engine, f"{label}: goes on after step {run.step}")
    first, begun = run.step, time.process_time()
    with _asked_to_end(checkpoints is not None) as asked, Progress(label, settings.steps - first, "steps") as progress:
        while run.step < settings.steps:
            batch = next(source)
            run.epoch = batch.epoch
            lr = rate(run.step, settings.steps, settings.lr, settings.warmup, settings.schedule, settings.floor)
            losses = engine.forward_backward(batch)
            norm = engine.step(lr, settings.clip)
            run.since += run.watch.check(run.step, float(losses.loss), norm, lr)
            run.tokens += batch.tokens
            run.means.add(losses)
            run.step += 1
            note = f"loss {run.watch.smooth:.3f}"
            if run.step % settings.log_every == 0 or run.step == settings.steps:
                _write_means(run, settings, log, lr, norm)
            if probe is not None and (extra := probe(run.step)):
                note += f", {extra}"
            if evaluation is not None and evaluation.due(run.step, settings.steps):
                note += f", {evaluation.measure(engine, run.step)}"
                if evaluation.improved and evaluation.keeps_best:
                    checkpoints.save_best(engine, run.step)
            progress.advance(1, note=note)
            if run.step - first == min(5, settings.steps - first) and engine.is_main:
                _estimate(label, settings.steps - first, run.step - first, time.process_time() - begun)
            if evaluation is not None and evaluation.stops:
                _say(engine, f"{label}: stops at step {run.step}, {evaluation.why}")
                break
            if checkpoints is None or run.step == settings.steps:
                continue
            if engine.any(checkpoints.due(run.step) or asked()):
                checkpoints.save(engine, run.step, run.state())
                if engine.any(asked()):
                    _say(engine, f"{label}: ended at step {run.step} as asked; the same command goes on from there")
                    raise SystemExit(128 + signal.SIGTERM)
    if evaluation is not None and evaluation.keeps_best and evaluation.best_step != run.step:
        checkpoints.load_best(engine, evaluation.best_step)
        _say(engine, f"{label}: takes the weights of step {evaluation.best_step}, loss {evaluation.best:.3f}")
    return Outcome(
        run.step,
        run.tokens,
        run.epoch + 1,
        run.watch.tail(),
        run.cpu,
        run.wall,
        engine.precision,
        engine.reason,
    )


def _write_means(run: Run, settings: Settings, log: JsonLines, lr: float, norm: float) -> None:
    log.write(
        step=run.step,
        loss=run.since / ((run.step - 1) % settings.log_every + 1),
        blocks=run.means.read(),
        lr=lr,
        grad_norm=norm,
        tokens=run.tokens,
        epoch=run.epoch,
        seconds=run.wall,
        cpu_seconds=run.cpu,
    )
    run.means.clear()
    run.since = 0.0


@contextmanager
def _asked_to_end(watched: bool) -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether SIGTERM came: it ends the run after the step, with a checkpoint."""
    came: list[int] = []
    if not watched or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, lambda number, _frame: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(engine: Engine, text: str) -> None:
    if engine.is_main:
        print(text, file=sys.stderr, flush=True)


def _estimate(label: str, steps: int, done: int, cpu: float) -> None:
    print(
        f"{label}: {cpu / done:.3f} CPU s a step, about {cpu / done * steps:.0f} CPU s in all",
        file=sys.stderr,
        flush=True,
    )
