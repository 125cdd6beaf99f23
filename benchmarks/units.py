#!/usr/bin/env python3
"""Speed of HuBERT labelling beside the published procedure: hours of audio per hour and per processor second.

    python benchmarks/units.py                      # a quarter of an hour on one core; needs transformers, scikit-learn
    python benchmarks/units.py --quick --out /tmp   # a small model, a minute

The model has HuBERT-large's sizes and random weights, cut after layer 22; 5,000 centroids; audio of 1 to 30 s, in a
mixture of short (Common Voice, GigaSpeech) and long utterances (LibriSpeech, MLS). Every case is a process of its own
with one thread; its CPU seconds (user + system) are counted from the first utterance after a warm-up to the last label,
so they say the same on a loaded machine. Results go to units-DATE.json and units-DATE.md in --out. On a machine with a
GPU, SPIRE's cases run there too. Exit code 1: float32 is below 1.6 x the published procedure, or bfloat16 below 4 x
where the processor has matrix units (AMX).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402

LAYER = 22
BATCH = 8
LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "conv_dim": (512,) * 7,
    "num_conv_pos_embeddings": 128,
}
SMALL = {**LARGE, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, "conv_dim": (128,) * 7}
CASES = {
    "peak": "products of 256 rows",
    "published-float32": "published, float32, batches in dataset order",
    "published-float32-sorted": "published, float32, batches by length",
    "published-bfloat16-sorted": "published, bfloat16, batches by length",
    "spire-float32": "SPIRE here, float32",
    "spire-bfloat16": "SPIRE here, bfloat16",
    "spire-cuda-bfloat16": "SPIRE here, GPU, bfloat16",
    "parts-float32": "where the time goes, float32",
    "parts-bfloat16": "where the time goes, bfloat16",
    "assign": "assignment only",
    "long": "one recording of five minutes, bfloat16",
}
PAIRS = (
    ("published-float32", "published-float32-sorted"),
    ("published-float32", "spire-float32"),
    ("published-float32", "published-bfloat16-sorted"),
    ("published-float32", "spire-bfloat16"),
)


def durations(count: int) -> np.ndarray:
    """Seconds of `count` utterances, the quantiles of the mixture, shuffled."""
    rng = np.random.default_rng(0)
    short = rng.gamma(2.5, 2.0, 45_000)
    long = rng.triangular(10, 15, 20, 50_000)
    rest = rng.uniform(20, 30, 5_000)
    pool = np.sort(np.clip(np.concatenate([short, long, rest]), 1, 30))
    picked = pool[((np.arange(count) + 0.5) / count * len(pool)).astype(int)]
    return rng.permutation(picked)


def waveform(seconds: float, seed: int) -> np.ndarray:
    """A voice-like buzz of changing pitch and loudness in noise, float32."""
    rng = np.random.default_rng(seed)
    count = int(seconds * 16_000)
    anchors = int(seconds * 4) + 2
    positions = np.linspace(0, anchors - 1, count)
    pitch = np.interp(positions, np.arange(anchors), rng.uniform(80, 250, anchors))
    loudness = np.interp(positions, np.arange(anchors), rng.uniform(0, 0.3, anchors))
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    return (loudness * buzz + 0.01 * rng.standard_normal(count)).astype(np.float32)


def make_corpus(work: Path, count: int, shape: dict) -> None:
    """Weights, waveforms and centroids (frames of the model itself) for all cases."""
    import torch

    from spire.units.hubert import Hubert, HubertShape, save_hubert
    from spire.units.hubert_encoder import HubertEncoder

    torch.manual_seed(0)
    save_hubert(Hubert(HubertShape(**shape)), work / "hubert")
    wavs = [waveform(seconds, i) for i, seconds in enumerate(durations(count))]
    np.savez(work / "wavs.npz", *wavs)
    encoder = HubertEncoder(work / "hubert", LAYER, dtype="bfloat16")
    frames = np.concatenate([encoder.features(waveform(20, 1000 + i)) for i in range(5)])
    rng = np.random.default_rng(1)
    picks = rng.integers(0, len(frames), (5000, 2))
    np.save(work / "centroids.npy", frames[picks].mean(axis=1, dtype=np.float32))


def operations(shape: dict, frames: int) -> dict[str, float]:
    """Floating-point operations of one utterance by part; a product of m x k x n is 2 m k n."""
    d, wide, channels = shape["hidden_size"], shape["intermediate_size"], shape["conv_dim"]
    kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
    rates = [int(np.prod(strides[i + 1 :])) for i in range(7)]
    inputs = (1, *channels[:-1])
    front = sum(2 * frames * r * k * c * o for r, k, c, o in zip(rates, kernels, inputs, channels, strict=True))
    return {
        "convolutions": front + 2 * frames * channels[-1] * d,
        "positional convolution": 2 * frames * shape["num_conv_pos_embeddings"] * d * d / 16,
        "attention and its projections": LAYER * (2 * frames * 4 * d * d + 4 * frames * frames * d),
        "feed-forward": LAYER * 2 * frames * 2 * d * wide,
        "assignment": 2 * frames * d * 5000,
    }


class Timer:
    """CPU and wall seconds of a block."""

    def __enter__(self) -> Timer:
        self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu = time.process_time() - self._start[0]
        self.wall = time.perf_counter() - self._start[1]


def run_case(name: str, work: Path, shape: dict) -> dict:
    import torch

    torch.set_num_threads(1)
    stored = np.load(work / "wavs.npz")
    wavs = [stored[key] for key in stored.files]
    centroids = np.load(work / "centroids.npy")
    kind, _, rest = name.partition("-")
    if kind == "peak":
        return peak(shape)
    if kind == "assign":
        return assign(work, wavs, centroids)
    if kind == "parts":
        return parts(work, wavs, centroids, rest)
    warm = [waveform(seconds, 500 + i) for i, seconds in enumerate((2.0, 7.0))]
    if kind == "long":
        wavs = [np.concatenate([waveform(60, i) for i in range(5)])]
    if kind == "published":
        from units_published import Published

        dtype, _, order = rest.partition("-")
        published = Published(work / "hubert", LAYER, centroids, getattr(torch, dtype))

        def label(wavs):
            return list(published.label(wavs, BATCH, order == "sorted"))
    else:
        from spire.units.hubert_encoder import HubertEncoder
        from spire.units.kmeans import KMeans

        device, _, dtype = rest.rpartition("-")
        encoder = HubertEncoder(work / "hubert", LAYER, device=device or "cpu", dtype=dtype or "bfloat16")

        def label(wavs):
            return list(encoder.label_stream(wavs, KMeans(centroids, {})))

    if "cuda" in name:
        wavs = wavs * 100
    label(warm)
    before = memory_mb("VmRSS")
    with Timer() as timer:
        labels = label(wavs)
    np.savez(work / f"{name}.npz", *labels)
    seconds = sum(map(len, wavs)) / 16_000
    return {
        "audio_seconds": seconds,
        "cpu_seconds": timer.cpu,
        "wall_seconds": timer.wall,
        "model_mb": before,
        "peak_mb": memory_mb("VmHWM"),
        "operations": sum(sum(operations(shape, len(ids)).values()) for ids in chunks(labels)),
    }


def chunks(labels: list[np.ndarray]) -> list[np.ndarray]:
    """Attention reaches over 100 s at most."""
    return [ids[start : start + 5000] for ids in labels for start in range(0, len(ids), 5000)]


def memory_mb(key: str) -> float:
    """VmRSS, resident now, or VmHWM, the most so far, of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) / 1024


def best_seconds(function, repeats: int = 5) -> float:
    function()
    times = []
    for _ in range(repeats):
        with Timer() as timer:
            function()
        times.append(timer.cpu)
    return min(times)


def peak(shape: dict) -> dict:
    """GFLOP/s of one core in the largest products of the model, packed and as PyTorch's linear does them."""
    import torch

    from spire.units.hubert_parts import Product

    rows, d, wide = 256, shape["hidden_size"], shape["intermediate_size"]
    found = {}
    with torch.inference_mode():
        for name in ("float32", "bfloat16"):
            dtype = getattr(torch, name)
            x, weight = torch.randn(rows, d).to(dtype), torch.randn(wide, d).to(dtype)
            product = Product(weight, None, dtype, rows)
            scale = 2e-9 * rows * d * wide
            found[f"{name} packed"] = scale / best_seconds(lambda p=product, x=x: p(x))
            found[f"{name} linear"] = scale / best_seconds(lambda x=x, w=weight: torch.nn.functional.linear(x, w))
    return found


def assign(work: Path, wavs: list[np.ndarray], centroids: np.ndarray) -> dict:
    """CPU seconds for 10,000 frames."""
    from sklearn.cluster import MiniBatchKMeans

    from spire.units.assign import Assigner
    from spire.units.kmeans import nearest

    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(centroids), 10_000)
    frames = (centroids[picks] + 0.05 * rng.standard_normal((10_000, centroids.shape[1]))).astype(np.float32)
    peer = MiniBatchKMeans(len(centroids), init=centroids, n_init=1, max_iter=1, batch_size=len(centroids))
    peer.partial_fit(centroids)
    peer.cluster_centers_ = centroids
    fast = Assigner(centroids)
    theirs, ours = peer.predict(frames), fast(frames)
    return {
        "scikit-learn predict": best_seconds(lambda: peer.predict(frames), 3),
        "spire.units.kmeans.nearest": best_seconds(lambda: nearest(frames, centroids), 3),
        "spire.units.assign": best_seconds(lambda: fast(frames), 3),
        "labels that differ from scikit-learn's": int((theirs != ours).sum()),
        "frames": len(frames),
    }


def parts(work: Path, wavs: list[np.ndarray], centroids: np.ndarray, dtype: str) -> dict:
    """CPU seconds of the parts of SPIRE's encoder."""
    from spire.units import hubert_cpu
    from spire.units.hubert_encoder import HubertEncoder
    from spire.units.hubert_parts import Front, Position
    from spire.units.kmeans import KMeans

    spent: dict[str, float] = {}

    def timed(owner: type, method: str, name: str) -> None:
        original = getattr(owner, method)

        def measured(*args):
            with Timer() as timer:
                result = original(*args)
            spent[name] = spent.get(name, 0.0) + timer.cpu
            return result

        setattr(owner, method, measured)

    encoder = HubertEncoder(work / "hubert", LAYER, dtype=dtype)
    kmeans = KMeans(centroids, {})
    list(encoder.label_stream([waveform(7, 500)], kmeans))
    timed(Front, "__call__", "convolutions")
    timed(Position, "__call__", "positional convolution")
    timed(hubert_cpu._Block, "attend", "attention and its projections")
    timed(hubert_cpu._Block, "feed_forward", "feed-forward")
    timed(hubert_cpu.Assigner, "__call__", "assignment")
    some = wavs[: max(2, len(wavs) // 3)]
    with Timer() as timer:
        labels = list(encoder.label_stream(some, kmeans))
    work_of = [operations(SHAPES[os.environ["SPIRE_BENCHMARK_SHAPE"]], len(ids)) for ids in labels]
    found = {
        name: {"cpu_seconds": seconds, "gflops": sum(w[name] for w in work_of) / seconds / 1e9}
        for name, seconds in spent.items()
    }
    rest = timer.cpu - sum(spent.values())
    return {"all": timer.cpu, "rest": rest, "parts": found}


SHAPES = {"large": LARGE, "small": SMALL}


def machine() -> dict[str, str]:
    import torch

    versions = {}
    for package in ("torch", "transformers", "sklearn", "numpy"):
        try:
            versions[package] = __import__(package).__version__
        except ImportError:
            versions[package] = "missing"
    text = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "?")
    flags = text.split("flags", 1)[1].split("\n", 1)[0].split() if "flags" in text else []
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "date": datetime.date.today().isoformat(),
        "processor": model,
        "instructions": ", ".join(flag for flag in wanted if flag in flags),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": f"{platform.system()} {platform.release()}",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        **versions,
        "SPIRE": commit.stdout.strip() or "?",
    }


def differing(work: Path, first: str, second: str) -> str:
    """How many labels differ between two cases."""
    if not ((work / f"{first}.npz").exists() and (work / f"{second}.npz").exists()):
        return ""
    a, b = (np.load(work / f"{name}.npz") for name in (first, second))
    pairs = [(a[key], b[key]) for key in a.files]
    return f"{sum(int((x != y).sum()) for x, y in pairs)} of {sum(len(x) for x, _ in pairs)}"


def markdown(where: dict, found: dict[str, dict], different: dict[str, str]) -> str:
    lines = ["# Speed of HuBERT labelling", "", "Written by `benchmarks/units.py`.", (__doc__ or "").split("\n\n")[2]]
    lines += ["", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in where.items()), ""]
    base = found.get("published-float32", {}).get("cpu_seconds")
    head = "| case | audio s | CPU s | hours of audio per core-hour | beside published | GFLOP/s |"
    lines += [head + " model MB | peak MB |", "|---|---|---|---|---|---|---|---|"]
    for name, label in CASES.items():
        case = found.get(name, {})
        if "cpu_seconds" not in case:
            continue
        rate = case["audio_seconds"] / case["cpu_seconds"]
        ratio = f"{base / case['cpu_seconds']:.2f} x" if base and name != "long" else ""
        gflops = case["operations"] / case["cpu_seconds"] / 1e9
        lines.append(
            f"| {label} | {case['audio_seconds']:.0f} | {case['cpu_seconds']:.1f} | {rate:.2f} | {ratio} "
            f"| {gflops:.0f} | {case['model_mb']:.0f} | {case['peak_mb']:.0f} |"
        )
    gpu = found.get("spire-cuda-bfloat16")
    if gpu:
        hours, flops = gpu["audio_seconds"] / gpu["wall_seconds"], gpu["operations"] / gpu["wall_seconds"]
        lines += ["", f"On the GPU, by the clock: {hours:,.0f} hours of audio an hour, {flops / 1e12:.0f} TFLOP/s."]
    lines += ["", "GFLOP/s count what the utterances need, without padding. Labels that differ:", ""]
    lines += [f"- {pair}: {count} frames" for pair, count in different.items() if count]
    if "peak" in found:
        lines += ["", "One core's GFLOP/s in products of 256 rows with the feed-forward weights:", ""]
        lines += [f"- {name}: {value:.0f}" for name, value in found["peak"].items()]
    for dtype in ("float32", "bfloat16"):
        case = found.get(f"parts-{dtype}")
        if not case:
            continue
        best = found.get("peak", {}).get(f"{dtype} packed")
        lines += ["", f"Where the time goes, {dtype}:", "", "| part | CPU s | share | GFLOP/s | of the peak |"]
        lines += ["|---|---|---|---|---|"]
        for part, value in case["parts"].items():
            of_peak = f"{value['gflops'] / best:.0%}" if best else ""
            share = value["cpu_seconds"] / case["all"]
            lines.append(f"| {part} | {value['cpu_seconds']:.2f} | {share:.1%} | {value['gflops']:.0f} | {of_peak} |")
        lines.append(f"| rest | {case['rest']:.2f} | {case['rest'] / case['all']:.1%} | | |")
    if "assign" in found:
        case = dict(found["assign"])
        frames, differ = case.pop("frames"), case.pop("labels that differ from scikit-learn's")
        lines += ["", f"Assignment of {frames:,} frames to 5,000 centroids, CPU s:", ""]
        lines += [f"- {name}: {seconds:.2f}" for name, seconds in case.items()]
        lines += [f"- labels that differ from scikit-learn's: {differ}"]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="speed of HuBERT labelling beside the published procedure")
    parser.add_argument("--quick", action="store_true", help="a small model and little audio")
    parser.add_argument("--utterances", type=int, default=24)
    parser.add_argument("--cases", nargs="+", choices=CASES, help="only these")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    # How the script calls itself.
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:
        shape = SHAPES[os.environ["SPIRE_BENCHMARK_SHAPE"]]
        if options.case:
            print(json.dumps(run_case(options.case, options.work, shape)))
        else:
            make_corpus(options.work, options.utterances, shape)
        return 0
    where = machine()
    size = "small" if options.quick else "large"
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment = {**os.environ, **single, "SPIRE_BENCHMARK_SHAPE": size, "HF_HUB_OFFLINE": "1"}
    wanted = [name for name in options.cases or CASES if "cuda" not in name or where["GPU"] != "none"]
    found: dict[str, dict] = {}
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"units-{where['date']}"
    with tempfile.TemporaryDirectory(prefix="units-") as base:
        work = Path(base)
        count = 8 if options.quick else options.utterances
        again = [sys.executable, __file__, "--work", base]
        # In processes of their own: what one of them held counts for no other.
        subprocess.run([*again, "--utterances", str(count)], env=environment, check=True)
        for name in wanted:
            child = subprocess.run(
                [*again, "--case", name], env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            found[name] = json.loads(child.stdout.splitlines()[-1])
            print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
            different = {f"{CASES[a]} / {CASES[b]}": differing(work, a, b) for a, b in PAIRS}
            # After every case: a run that is stopped leaves what it has measured.
            content = {"machine": where, "cases": found, "differing": different}
            stem.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
            stem.with_suffix(".md").write_text(markdown(where, found, different))
    print(stem.with_suffix(".md"))
    return 1 if missed(where, found) else 0


def missed(where: dict, found: dict[str, dict]) -> bool:
    """Whether a goal of issue 5 is measured and not reached."""
    base = found.get("published-float32", {}).get("cpu_seconds")
    goals = {"spire-float32": 1.6, "spire-bfloat16": 4.0 if "amx_bf16" in where["instructions"] else 0.0}
    return bool(base) and any(base / found[n]["cpu_seconds"] < goal for n, goal in goals.items() if n in found)


if __name__ == "__main__":
    sys.exit(main())
