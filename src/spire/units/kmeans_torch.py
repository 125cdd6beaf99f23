"""k-means for large corpora, on CPU or GPU: a start, mini-batches, passes of Lloyd's algorithm, resumable at any point.

Guarantees: the result follows from the frames, the weights, the settings and the kind of machine. It does not depend on
how features lie in shards and parts, nor on interruptions: a run that goes on from its checkpoint ends with the bits
of an undisturbed one. Lloyd passes on a CPU do not depend on the batch size either.

Mini-batches (spec 5): a batch labels its frames, and each centroid becomes the mean of the frames it was given so far,
in which a frame seen at time s of t counts (s / t)^forget: `forget` 0 is scikit-learn's rule, larger values let go of
what was labelled by poor centroids. Clusters that get (almost) no frames are moved to frames of the batch drawn by
their squared distance; a Lloyd pass moves empty ones to the farthest frames. Every `check_every` batches and after each
pass the inertia (weighted mean squared distance) of frames set aside is taken; training stops after `patience` checks
without a relative gain of `tolerance`, and the best centroids are kept. With nothing set aside it stops when centroids
move by less than `tolerance` of their length.
"""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from spire.errors import UserError
from spire.progress import Progress
from spire.units.corpora import Corpora
from spire.units.kmeans import Training
from spire.units.kmeans_checkpoint import read_checkpoint, write_checkpoint
from spire.units.kmeans_scores import CPU_ROWS, Scorer, add_sums, open_device, weighted_inertia
from spire.units.kmeans_start import start_centroids

_START, _RESEED = 11, 12  # streams of random numbers, kept apart
FARTHEST = 1024  # frames kept by a Lloyd pass for clusters that end up empty
START_FRAMES = 4  # a cluster, and LEAST_START in all: the start is made on this many frames
LEAST_START = 20_000


@dataclass(frozen=True)
class Settings:
    """What to train. `batches` and `passes` are the most of each; `start_frames` 0 means four a
    cluster and 20,000 in all at least."""

    clusters: int
    seed: int = 42
    start: str = "k-means++"
    start_frames: int = 0
    batch: int = 20_000
    batches: int = 1000
    passes: int = 0
    forget: float = 0.5
    reassign: float = 0.01  # of the mean count: clusters below are moved
    check_every: int = 10
    patience: int = 3
    tolerance: float = 1e-4
    products: str = "float32"
    device: str = "cpu"

    def __post_init__(self):
        if self.clusters < 1 or self.batch < 1 or self.check_every < 1:
            reason = f"{self.clusters} clusters, batches of {self.batch}, a check every {self.check_every}"
            raise UserError(reason, hint="all are at least 1")
        if min(self.batches, self.passes, self.forget, self.tolerance, self.reassign) < 0 or self.patience < 1:
            raise UserError("a negative limit of k-means, or a patience below 1", hint="0 batches or passes: none")


@dataclass
class State:
    """Everything training goes on from. Tensors live on the device; centroids are relative to `shift` [D]."""

    phase: str  # batches, passes, done
    shift: torch.Tensor
    centroids: torch.Tensor  # [K, D] float32
    counts: torch.Tensor  # [K] float64: frames behind each centroid, as far as remembered
    best: torch.Tensor  # [K, D]
    previous: torch.Tensor  # [K, D], of the last check
    sums: torch.Tensor  # [K, D] float64, of a Lloyd pass under way
    sum_counts: torch.Tensor  # [K] float64
    far_frames: torch.Tensor  # [up to FARTHEST, D]
    far_distances: torch.Tensor  # [up to FARTHEST]
    step: int = 0  # batches done
    passes: int = 0  # passes done
    position: int = 0  # frames done of the pass under way
    frames: int = 0  # labelled for training so far
    pass_inertia: float = 0.0
    best_inertia: float = float("inf")
    misses: int = 0
    reason: str = ""
    history: list = field(default_factory=list)


def train(
    corpora: Corpora, settings: Settings, checkpoint: str | Path | None = None, checkpoint_seconds: float = 300.0
) -> Training:
    """Train, going on from `checkpoint` when it exists; it is replaced every `checkpoint_seconds` and at the end.

    UserError: too few different frames, no such device, a checkpoint of other settings or frames.
    """
    return Trainer(corpora, settings, checkpoint, checkpoint_seconds).run()


class Trainer:
    def __init__(self, corpora: Corpora, settings: Settings, checkpoint: str | Path | None, seconds: float):
        self.corpora, self.settings = corpora, settings
        self.device = open_device(settings.device)
        self.checkpoint, self.seconds = Path(checkpoint) if checkpoint else None, seconds
        described = json.dumps([asdict(settings), corpora.fingerprint], sort_keys=True)
        self.fingerprint = hashlib.sha256(described.encode()).hexdigest()
        self.held_out, self.held_weights = corpora.held_out()
        self._saved = time.monotonic()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: tuple[int, Future] | None = None

    def run(self) -> Training:
        try:
            return self._run()
        finally:
            self._reader.shutdown(cancel_futures=True)

    def _run(self) -> Training:
        state = self._resumed()
        if state is None:
            state = self.begin()
            self._save(state, now=True)
        total = self.settings.batches * self.settings.batch + self.settings.passes * self.corpora.train_rows
        with Progress("k-means", total=total, unit="frames") as progress:
            progress.advance(state.frames)
            while state.phase != "done":
                before = state.frames
                self._advance(state)
                note = f"inertia {state.history[-1]['inertia']:.6g}" if state.history else ""
                progress.advance(state.frames - before, note)
                self._save(state)
        self._save(state, now=True)
        measured = bool(len(self.held_out))
        best = state.best if measured else state.centroids
        return Training(
            (best.double() + state.shift.double()).float().cpu().numpy(),
            state.history,
            state.best_inertia if measured else None,
            state.frames,
            state.reason,
        )

    # --- the start, and coming back ---------------------------------------------------------------------------------

    def begin(self) -> State:
        s = self.settings
        sample = self.corpora.sample(s.start_frames or max(START_FRAMES * s.clusters, LEAST_START))
        _check_finite(sample)
        shift = torch.from_numpy(sample.mean(axis=0, dtype=np.float64).astype(np.float32)).to(self.device)
        frames = torch.from_numpy(sample).to(self.device) - shift
        centroids = start_centroids(frames, s.clusters, s.start, np.random.default_rng([s.seed, _START]))
        k, d = centroids.shape
        state = State(
            phase="batches",
            shift=shift,
            centroids=centroids,
            counts=torch.zeros(k, dtype=torch.float64, device=self.device),
            best=centroids.clone(),
            previous=centroids.clone(),
            sums=torch.zeros(k, d, dtype=torch.float64, device=self.device),
            sum_counts=torch.zeros(k, dtype=torch.float64, device=self.device),
            far_frames=torch.zeros(0, d, device=self.device),
            far_distances=torch.zeros(0, device=self.device),
        )
        self._check(state)
        self._next_phase(state)
        return state

    def _resumed(self) -> State | None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return None
        tensors, numbers = read_checkpoint(self.checkpoint, self.fingerprint)
        return State(**{name: tensor.to(self.device) for name, tensor in tensors.items()}, **numbers)

    def _save(self, state: State, now: bool = False) -> None:
        if self.checkpoint is None or not (now or time.monotonic() - self._saved >= self.seconds):
            return
        values = vars(state)
        tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
        numbers = {name: value for name, value in values.items() if name not in tensors}
        write_checkpoint(self.checkpoint, self.fingerprint, tensors, numbers)
        self._saved = time.monotonic()

    # --- phases -----------------------------------------------------------------------------------------------------

    def _advance(self, state: State) -> None:
        if state.phase == "batches":
            self.update(state)
        else:
            self._part_of_pass(state)
        self._next_phase(state)

    def _next_phase(self, state: State) -> None:
        s = self.settings
        if state.phase == "batches" and (state.step >= s.batches or state.reason):
            if state.step and not state.reason and state.step % s.check_every:
                self._check(state)
            state.phase, state.reason = "passes", state.reason or f"{state.step} batches done"
            if s.passes:
                state.reason = ""
                if len(self.held_out):
                    state.centroids = state.best.clone()
                state.misses = 0
        if state.phase == "passes" and state.position == 0 and (state.passes >= s.passes or state.reason):
            state.reason = state.reason or f"{state.passes} passes done"
            state.phase = "done"

    def update(self, state: State) -> None:
        s = self.settings
        frames = torch.from_numpy(self._read_batch(state.step)).to(self.device) - state.shift
        scorer = Scorer(state.centroids, s.products)
        labels = scorer.labels(frames)
        sums = torch.zeros_like(state.centroids)
        counts = torch.zeros_like(state.counts)
        add_sums(sums, counts, frames, labels, None)
        if state.step:
            state.counts *= (state.step / (state.step + 1)) ** s.forget
        state.counts += counts
        rate = (1 / state.counts.clamp(min=1e-12)).float()[:, None]
        state.centroids = state.centroids + (sums - counts.float()[:, None] * state.centroids) * rate
        state.step += 1
        state.frames += len(frames)
        every = max(1, round(10 * s.clusters / s.batch))
        if state.step % every == 0 and state.step < s.batches:
            self._move_unused(state, frames, labels)
        if state.step % s.check_every == 0:
            self._check(state)

    def _read_batch(self, step: int) -> np.ndarray:
        """Batch `step`; the one after it is read meanwhile, by a thread, if there will be one."""

        def read(number: int) -> np.ndarray:
            frames = self.corpora.batch(number, self.settings.batch)
            _check_finite(frames)
            return frames

        waiting = self._ahead[1] if self._ahead and self._ahead[0] == step else self._reader.submit(read, step)
        self._ahead = None
        frames = waiting.result()
        if step + 1 < self.settings.batches:
            self._ahead = step + 1, self._reader.submit(read, step + 1)
        return frames

    def _move_unused(self, state: State, frames: torch.Tensor, labels: torch.Tensor) -> None:
        """Clusters with less than `reassign` of the mean count go to frames of the batch, drawn by squared distance."""
        unused = torch.nonzero(state.counts < self.settings.reassign * state.counts.mean())[:, 0]
        if not len(unused):
            return
        distances = (frames - state.centroids[labels]).square_().sum(dim=1).double().cpu().numpy()
        distances[distances <= 0] = np.finfo(np.float64).tiny
        rng = np.random.default_rng([self.settings.seed, _RESEED, state.step])
        # The n largest of log(mass) + Gumbel noise are a draw of n without replacement.
        keys = np.log(distances) + rng.gumbel(size=len(distances))
        unused = unused[: len(frames) // 2]
        picks = np.argsort(-keys, kind="stable")[: len(unused)].copy()
        state.centroids[unused] = frames[torch.from_numpy(picks).to(self.device)]
        state.counts[unused] = 0.0

    def _part_of_pass(self, state: State) -> None:
        """The next stretch of frames of a Lloyd pass; at its end, new centroids."""
        s = self.settings
        rows = -(-s.batch // CPU_ROWS) * CPU_ROWS  # whole blocks of the scorer, so that no rounding follows the batch
        scorer = Scorer(state.centroids, s.products)
        started = time.monotonic()
        for position, array, weight in self.corpora.training(rows, state.position):
            _check_finite(array)
            frames = torch.from_numpy(np.ascontiguousarray(array)).to(self.device) - state.shift
            weights = torch.from_numpy(weight).to(self.device)
            labels, distances = scorer.nearest(frames)
            add_sums(state.sums, state.sum_counts, frames, labels, weights)
            self._keep_farthest(state, frames, distances)
            state.pass_inertia += float((distances.double() * weights).sum())
            state.position = position + len(frames)
            state.frames += len(frames)
            if state.position < self.corpora.train_rows and time.monotonic() - started >= min(self.seconds, 5.0):
                return
        self._end_pass(state)

    def _keep_farthest(self, state: State, frames: torch.Tensor, distances: torch.Tensor) -> None:
        both = torch.cat((state.far_distances, distances))
        order = torch.argsort(both, descending=True, stable=True)[:FARTHEST]
        state.far_frames = torch.cat((state.far_frames, frames))[order]
        state.far_distances = both[order]

    def _end_pass(self, state: State) -> None:
        used = state.sum_counts > 0
        means = (state.sums / state.sum_counts.clamp(min=1e-300)[:, None]).float()
        state.centroids = torch.where(used[:, None], means, state.centroids)
        empty = torch.nonzero(~used)[:, 0][: len(state.far_frames)]
        state.centroids[empty] = state.far_frames[: len(empty)]
        state.sums.zero_()
        state.counts = state.sum_counts.clone()
        state.sum_counts.zero_()
        state.far_frames, state.far_distances = state.far_frames[:0].clone(), state.far_distances[:0].clone()
        state.position, state.pass_inertia = 0, 0.0
        state.passes += 1
        self._check(state)

    # --- stopping ---------------------------------------------------------------------------------------------------

    def _check(self, state: State) -> None:
        s = self.settings
        if len(self.held_out):
            scorer = Scorer(state.centroids, s.products)
            inertia = weighted_inertia(scorer, self.held_out, self.held_weights, state.shift)
            entry = {"batches": state.step, "passes": state.passes, "frames": state.frames, "inertia": inertia}
            state.history.append(entry)
            gained = inertia < state.best_inertia * (1 - s.tolerance)
            if inertia < state.best_inertia:
                state.best, state.best_inertia = state.centroids.clone(), inertia
            state.misses = 0 if gained else state.misses + 1
            if state.misses >= s.patience:
                state.reason = f"inertia of frames set aside gained less than {s.tolerance:g} in {s.patience} checks"
        elif state.step or state.passes:
            length = float(state.previous.double().norm())
            change = float((state.centroids - state.previous).double().norm()) / max(length, 1e-30)
            state.previous = state.centroids.clone()
            if change < s.tolerance:
                state.reason = f"centroids moved by less than {s.tolerance:g} of their length"


def _check_finite(frames: np.ndarray) -> None:
    if not np.isfinite(frames).all():
        raise UserError("a feature is not finite", hint="make the features again with units_features.py")
