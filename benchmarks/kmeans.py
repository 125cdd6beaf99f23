#!/usr/bin/env python3
"""k-means training beside scikit-learn's MiniBatchKMeans with the published settings: same frames, same run.

    python benchmarks/kmeans.py                       # all three cases: ten minutes of processor time
    python benchmarks/kmeans.py --cases 500x256       # one of them
    python benchmarks/kmeans.py --device cuda         # ours on a GPU, scikit-learn on one core

scikit-learn (partial fits, batches of 20,000, greedy k-means++ on the first batch) makes its updates first; then the
inertia of 10,000 other frames is taken. Ours trains until its own is no higher than that plus a thousandth (seeds
differ by more). Processor seconds count what training does; measuring is left out on both sides. One thread each.
Frames are synthetic: a nonlinear mixture of slow latent tracks with speakers, noise and a few large dimensions.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

# Before numpy and torch are loaded: both sides get one thread.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from spire.units.corpora import ArrayFrames, Corpora  # noqa: E402
from spire.units.kmeans_sklearn import inertia_of, published  # noqa: E402
from spire.units.kmeans_torch import Settings, Trainer  # noqa: E402

HELD_OUT = 10_000
EQUAL = 1.001  # times scikit-learn's inertia still counts as equal
FASTER = {"cpu": 2.0, "cuda": 20.0}  # what issue 5 asks for
CASES = {
    # clusters x dimensions: frames, frames a batch, updates of scikit-learn
    "500x256": (100_000, 20_000, 40),
    "2000x768": (100_000, 20_000, 20),
    "5000x1024": (100_000, 20_000, 12),
}


@dataclass
class Run:
    """CPU and wall seconds of the start and of all updates; inertia of the frames set aside at the end."""

    name: str
    updates: int
    start: tuple[float, float]
    training: tuple[float, float]
    inertia: float
    reached: bool = True

    @property
    def whole(self) -> tuple[float, float]:
        return self.start[0] + self.training[0], self.start[1] + self.training[1]


def features(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """[rows, dim] float32: see the head of this file. Utterances of 500 frames."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(123)
    latent, states = 48, 400
    into, out = mixing.standard_normal((latent, 2 * latent)) / 5, mixing.standard_normal((2 * latent, dim)) / 7
    scale = np.exp(0.5 * mixing.standard_normal(dim)).astype(np.float32)
    offset = (3 * mixing.standard_normal(dim) * (mixing.random(dim) < 0.02)).astype(np.float32)
    means = mixing.standard_normal((states, latent)) * 1.5
    made = np.empty((rows, dim), np.float32)
    for start in range(0, rows, 500):
        n = min(500, rows - start)
        lengths = rng.integers(3, 12, n)
        path = np.repeat(rng.integers(0, states, n), lengths)[:n]
        noise = rng.standard_normal((n, latent))
        for t in range(1, n):  # what changes slowly within a sound
            noise[t] = 0.9 * noise[t - 1] + 0.436 * noise[t]
        track = means[path] + 0.7 * noise + 0.5 * rng.standard_normal(latent)
        made[start : start + n] = np.tanh(track @ into) @ out
        made[start : start + n] += 0.15 * rng.standard_normal((n, dim), dtype=np.float32)
    return (made + offset) * scale


class Clock:
    """CPU and wall seconds of a block, added up."""

    def __init__(self, device: str = "cpu"):
        self.cpu = self.wall = 0.0
        self._device = device

    def __enter__(self) -> Clock:
        self._from = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._device != "cpu":
            torch.cuda.synchronize()
        self.cpu += time.process_time() - self._from[0]
        self.wall += time.perf_counter() - self._from[1]

    @property
    def seconds(self) -> tuple[float, float]:
        return self.cpu, self.wall


def run_sklearn(corpora: Corpora, clusters: int, batch: int, updates: int, seed: int) -> Run:
    """The published partial fits. The start is what the first takes longer than the others do on average."""
    held_out, weights = corpora.held_out()
    model = published(clusters, seed, batch)
    first, rest = Clock(), Clock()
    for step in range(updates):
        frames = corpora.batch(step, batch)
        with first if step == 0 else rest, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.partial_fit(frames)
    each = [seconds / max(updates - 1, 1) for seconds in rest.seconds]
    return Run(
        "scikit-learn",
        updates,
        (first.cpu - each[0], first.wall - each[1]),
        (rest.cpu + each[0], rest.wall + each[1]),
        inertia_of(held_out, model.cluster_centers_.astype(np.float32), weights),
    )


def run_ours(corpora: Corpora, settings: Settings, target: float) -> Run:
    """Mini-batches until the inertia of the frames set aside is no more than `target`; it is taken after each."""
    held_out, weights = corpora.held_out()
    trainer = Trainer(corpora, settings, None, 1e9)
    start, training = Clock(settings.device), Clock(settings.device)
    with start:
        state = trainer.begin()
    inertia = float("inf")
    while inertia > target and state.step < settings.batches:
        with training:
            trainer.update(state)
        centroids = (state.centroids.double() + state.shift.double()).float().cpu().numpy()
        inertia = inertia_of(held_out, centroids, weights)
    name = f"ours, {settings.products} products, {settings.device}"
    return Run(name, state.step, start.seconds, training.seconds, inertia, inertia <= target)


def run_case(name: str, device: str, products: list[str], seed: int, peer: Run | None = None) -> list[Run]:
    clusters, dim = map(int, name.split("x"))
    rows, batch, updates = CASES[name]
    frames = features(rows + HELD_OUT, dim, seed)
    corpora = Corpora([ArrayFrames(frames)], block=20, aside=HELD_OUT, seed=seed)
    runs = [peer or run_sklearn(corpora, clusters, batch, updates, seed)]
    print_run(name, runs[0])
    for product in products:
        # No checks of its own (they are measuring), and ten times scikit-learn's updates before it is given up.
        settings = Settings(
            clusters, seed, batch=batch, batches=10 * updates, check_every=10**9, products=product, device=device
        )
        runs.append(run_ours(corpora, settings, EQUAL * runs[0].inertia))
        print_run(name, runs[-1])
    return runs


def print_run(case: str, run: Run) -> None:
    print(
        f"{case}: {run.name}: start {run.start[0]:.1f} CPU s, {run.updates} updates {run.training[0]:.1f} CPU s "
        f"({run.whole[1]:.1f} s in all), inertia {run.inertia:.6g}",
        flush=True,
    )


def table(results: dict[str, list[Run]]) -> list[str]:
    """Markdown; one block a case."""
    lines = []
    for case, runs in results.items():
        clusters, dim = case.split("x")
        rows, batch, _ = CASES[case]
        peer = runs[0]
        lines += ["", f"## K = {clusters}, D = {dim}: {rows:,} frames, batches of {batch:,}", ""]
        lines += [
            "| | updates | start CPU s | an update CPU s | all CPU s | all wall s | inertia | times faster (CPU) |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for run in runs:
            each = run.training[0] / run.updates
            faster = f"{peer.whole[0] / max(run.whole[0], 1e-9):.1f}" if run.reached else "inertia not reached"
            lines.append(
                f"| {run.name} | {run.updates} | {run.start[0]:.1f} | {each:.3f} | {run.whole[0]:.1f} | "
                f"{run.whole[1]:.1f} | {run.inertia:.6g} | {'' if run is peer else faster} |"
            )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--products", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--keep-peer", action="store_true", help="keep scikit-learn's run of the same --date")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="in the names of the results")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"kmeans{'' if args.device == 'cpu' else '-gpu'}-{args.date}"
    for case in args.cases:
        # Cases of other runs of the day stay: each is a comparison of its own.
        known = json.loads(stem.with_suffix(".json").read_text()) if stem.with_suffix(".json").exists() else {}
        peer = Run(**known[case]["runs"][0]) if args.keep_peer and case in known else None
        runs = run_case(case, args.device, args.products, args.seed, peer)
        known[case] = {"load": round(load, 1), "kept": peer is not None, "runs": [asdict(run) for run in runs]}
        results = {name: known[name] for name in CASES if name in known}
        stem.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    runs = {name: [Run(**run) for run in results[name]["runs"]] for name in results}
    text = "\n".join(head(args, results) + table(runs)) + "\n"
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(max(ratios(runs[case]), default=0.0) >= FASTER[args.device] for case in args.cases) else 1


def ratios(runs: list[Run]) -> list[float]:
    """How many times faster than scikit-learn, in CPU seconds, those runs are that reached its inertia."""
    return [runs[0].whole[0] / run.whole[0] for run in runs[1:] if run.reached]


def head(args: argparse.Namespace, results: dict) -> list[str]:
    import sklearn

    gpu = torch.cuda.get_device_name() if args.device == "cuda" else "none used"
    kept = ", ".join(case for case, result in results.items() if result["kept"]) or "none"
    loads = ", ".join(f"{case} {result['load']}" for case, result in results.items())
    return [
        "# k-means training beside scikit-learn",
        "",
        f"Written by `benchmarks/kmeans.py --device {args.device}`. Each of ours stops at the first update whose",
        f"inertia ({HELD_OUT:,} frames set aside) is at most {EQUAL} times scikit-learn's after its last update. One",
        "thread each; processor seconds, without measuring; wall seconds follow the load of the machine. Issue 5 asks",
        f"for {FASTER[args.device]:g} x.",
        "",
        "| | |",
        "|---|---|",
        f"| date | {args.date} |",
        f"| processor | {_processor()} |",
        f"| cores | {os.cpu_count()} |",
        f"| GPU | {gpu} |",
        f"| load at the start of each | {loads} |",
        f"| scikit-learn's run kept from earlier that day | {kept} |",
        f"| Python | {platform.python_version()} |",
        f"| torch, scikit-learn, numpy | {torch.__version__}, {sklearn.__version__}, {np.__version__} |",
    ]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
