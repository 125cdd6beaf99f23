#!/usr/bin/env python3
"""Speed of SpiRit-LM's tokenizers and vocoder beside a straightforward implementation, one file at a time.

    python benchmarks/spiritlm.py                      # some minutes on one core; needs the weights of torchfcpe
    python benchmarks/spiritlm.py --quick --out /tmp   # three short files
    python benchmarks/spiritlm.py --longest 12         # seconds of the longest of the 14 files

Everything has the sizes of the release, and random weights but for FCPE: the 25 Hz HuBERT base up to layer 11 with its
linear quantizer, FCPE and the VQ-VAE, the wav2vec 2.0 base style classifier, the Expressive vocoder. Files last 0.5 to
60 s. The straightforward implementation (`spiritlm_straightforward.py`) takes each file as a whole through PyTorch's
own layers: in float32 with one thread and with as many as there are cores, which is what one gets who sets nothing, and
in bfloat16 by autocast. Here the files are given together (`encode_many`) and one thread is used. All get the same
files in the same order, four at a time and by turns, in one process, after five files to warm up.

What counts are seconds of one core from samples to units, and from units to samples: CPU seconds (user and system) with
one thread, wall seconds times threads with several, wall seconds on a GPU (--device cuda). On a busy machine the second
also count what other programs use. Ratios are to the faster straightforward variant of the same precision.

In float32 results must agree: at most one unit in a thousand may differ (rounding at a tie), features by 1e-4, f0 by
1e-3 Hz, samples by 3e-6 of full scale. Results go to spiritlm-DATE.json and spiritlm-DATE.md in --out. Exit code 1:
encoding or decoding in float32 is below 2 x the straightforward implementation, or something differs.
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
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# This file has the package's name: its folder must come behind the package.
sys.path[:] = [
    str(ROOT / "src"),
    *(path for path in sys.path if Path(path) != ROOT / "benchmarks"),
    str(ROOT / "benchmarks"),
]

import numpy as np  # noqa: E402

CASES = {
    "plain": "straightforward",
    "threads": "straightforward, {threads} threads",
    "product": "here",
    "plain-bfloat16": "straightforward, bfloat16",
    "product-bfloat16": "here, bfloat16",
}
RATIOS = {"product": ("plain", "threads"), "product-bfloat16": ("plain-bfloat16",)}
PARTS = {"phonetic": "phonetic units", "pitch": "pitch units", "style": "style units"}
LEAST = 2.0
UNITS, STYLES, PROJECTION, EMBEDDING = 500, 100, 256, 128
BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "conv_bias": False,
    "num_conv_pos_embeddings": 128,
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
}
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2, 2), (5, 2, 2, 2, 2, 2, 2, 2)
VOCODER = {
    "resblock": "1",
    "upsample_rates": [5, 4, 4, 4, 2],
    "upsample_kernel_sizes": [11, 8, 8, 8, 4],
    "upsample_initial_channel": 512,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    "model_in_dim": 4 * EMBEDDING,
    "code_hop_size": 640,
}
WARM_UP = (2.9, 0.6, 1.4, 6.1, 13.0)  # seconds of files that do not count
GROUP = 4  # files that a case takes at its turn
MADE_UP = {"hubert": (7, UNITS), "pitch": (5, 64), "style": (3, STYLES)}
TABLES = {"dict": UNITS + 1, "f0_dict": 64, "style_dict": STYLES, "spkr": 4}


def durations(quick: bool, longest: float) -> list[float]:
    """Seconds of the files, shuffled: from 0.5 s to the longest, equally many in each octave."""
    found = [0.5, 1.7, 4.0] if quick else np.geomspace(0.5, longest, 14).round(2).tolist()
    return np.random.default_rng(1).permutation(found).tolist()


def convolutions(count: int) -> dict:
    return {"conv_dim": (512,) * count, "conv_kernel": KERNELS[:count], "conv_stride": STRIDES[:count]}


def write_checkpoints(folder: Path) -> None:
    """Random weights in the layout of the release, and as states of the plain modules in `plain.pt`."""
    import torch
    import yaml
    from torch import nn

    from spire.units.hubert import Hubert, HubertShape
    from spiritlm import checkpoints
    from spiritlm.phonetic.hubert25 import LAYER
    from spiritlm.phonetic.hubert_files import write_hubert25, write_linear
    from spiritlm.phonetic.quantizer_training import layers_of
    from spiritlm.pitch.vqvae import PitchVqVae
    from spiritlm.pitch.vqvae_training import published_sizes
    from spiritlm.style_training import StyleNetwork, write_style
    from spiritlm.vocoder.generator import Generator, GeneratorShape

    torch.manual_seed(0)
    hubert_file, quantizer_file, pitch, style, voice = (
        folder / getattr(checkpoints, name) for name in ("HUBERT", "QUANTIZER", "PITCH", "STYLE", "VOCODER_EXPRESSIVE")
    )
    for path in (hubert_file.parent, pitch, voice):
        path.mkdir(parents=True)

    def encoder(count: int, kind: str) -> Hubert:
        model = Hubert(HubertShape(**BASE, **convolutions(count), model_type=kind))
        for conv in model.feature_extractor.conv_layers:
            nn.init.kaiming_normal_(conv.conv.weight)  # else all frames come out nearly alike
        return model

    hubert = encoder(8, "hubert")
    write_hubert25(hubert_file, hubert, LAYER, normalize=False)
    write_linear(quantizer_file, layers_of(768, UNITS), UNITS, 768)
    sizes = published_sizes()
    vqvae = PitchVqVae(sizes)
    vqvae.codebook.k.normal_()
    (pitch / "config.yaml").write_text(yaml.safe_dump({"features": "norm_f0_interp,vuv", **sizes}))
    torch.save({"model": vqvae.state_dict()}, pitch / "model.pt")
    network = StyleNetwork(encoder(7, "wav2vec2"), PROJECTION, STYLES)
    write_style(style, network, [str(i) for i in range(STYLES)], {})
    generator = Generator(GeneratorShape.from_config(VOCODER, "benchmark"))
    tables = {f"{name}.weight": torch.randn(rows, EMBEDDING) for name, rows in TABLES.items()}
    torch.save({"generator": generator.state_dict() | tables}, voice / "generator.pt")
    (voice / "config.json").write_text(json.dumps(VOCODER))
    plain = {"hubert": hubert.state_dict(), "style": network.state_dict(), "generator": generator.state_dict()}
    torch.save(plain, folder / "plain.pt")


def cases_here(device: str) -> list[str]:
    """The cases that this machine can tell apart."""
    import torch

    if device.startswith("cuda"):
        return [case for case in CASES if case != "threads"]
    rounded = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    several = (os.cpu_count() or 1) > 1
    return [case for case in CASES if (rounded or "bfloat16" not in case) and (several or case != "threads")]


def straightforward(tokenizer, folder: Path, device: str, bfloat16: bool) -> None:
    import torch
    from spiritlm_straightforward import make_straightforward

    from spire.units.hubert import HubertShape
    from spiritlm.vocoder.generator import GeneratorShape

    encoders = {
        "hubert": HubertShape(**BASE, **convolutions(8)),
        "style": HubertShape(**BASE, **convolutions(7), model_type="wav2vec2"),
    }
    voice = GeneratorShape.from_config(VOCODER, "benchmark")
    states = torch.load(folder / "plain.pt", weights_only=True)
    make_straightforward(tokenizer, states, encoders, voice, (PROJECTION, STYLES), device, bfloat16)


class Clock:
    """Seconds of one core by part: CPU seconds with one thread, wall seconds times threads with several; or wall
    seconds of a GPU that has finished."""

    def __init__(self, device: str, threads: int = 1):
        self.cuda, self.threads, self.seconds = device.startswith("cuda"), threads, defaultdict(float)

    def now(self) -> float:
        if not self.cuda:
            return time.process_time() if self.threads == 1 else time.perf_counter() * self.threads
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, part: str, function: Callable) -> Callable:
        def run(*args, **kwargs):
            begun = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] += self.now() - begun

        return run


def watched(tokenizer, clock: Clock) -> None:
    """Have the clock count the parts of encoding."""
    tokenizer.hubert.features = clock.timed("phonetic", tokenizer.hubert.features)
    tokenizer.quantizer.units = clock.timed("phonetic", tokenizer.quantizer.units)
    tokenizer.pitch.units = clock.timed("pitch", tokenizer.pitch.units)
    tokenizer.style.units_of_many = clock.timed("style", tokenizer.style.units_of_many)


def run(work: Path, device: str, lengths: list[float]) -> dict[str, dict[str, float]]:
    """Seconds by case and part; results into CASE.npz. The cases take turns, a few files each, so that what else the
    machine does meets all."""
    import torch
    from units import waveform

    from spiritlm.speech_tokenizer import spiritlm_expressive

    tokenizers, clocks, units, samples = {}, {}, defaultdict(list), defaultdict(list)
    wavs = [waveform(seconds, i) for i, seconds in enumerate(lengths)]
    for case in cases_here(device):
        clocks[case] = Clock(device, os.cpu_count() if case == "threads" else 1)
        torch.set_num_threads(clocks[case].threads)
        here, bfloat16 = case.startswith("product"), case.endswith("bfloat16")
        dtype = "bfloat16" if here and bfloat16 else "float32"
        tokenizer = tokenizers[case] = spiritlm_expressive(folder=work, device=device, dtype=dtype)
        if not here:
            straightforward(tokenizer, work, device, bfloat16)
        for i, seconds in enumerate(WARM_UP if len(lengths) > 3 else WARM_UP[:1]):
            tokenizer.decode(tokenizer.encode_units(waveform(seconds, 100 + i)))
        watched(tokenizer, clocks[case])
    for start in range(0, len(wavs), GROUP):
        group = wavs[start : start + GROUP]
        for case in list(tokenizers)[:: -1 if start // GROUP % 2 else 1]:
            tokenizer, clock = tokenizers[case], clocks[case]
            torch.set_num_threads(clock.threads)
            together = case.startswith("product")
            encode = tokenizer.encode_many if together else partial(one_by_one, tokenizer.encode_units)
            encoded = clock.timed("encoding", encode)(group)
            units[case] += encoded
            # All decode the same units, so that samples can be compared.
            streams = list(map(made_up, encoded))
            samples[case] += clock.timed("decoding", partial(one_by_one, tokenizer.decode))(streams)
    seconds = {case: dict(clock.seconds) for case, clock in clocks.items()}
    torch.set_num_threads(1)
    short = [wav for wav in wavs if len(wav) < 6 * 16_000]
    for case, tokenizer in tokenizers.items():
        arrays = {f"samples.{i}": found for i, found in enumerate(samples[case])}
        arrays |= {f"features.{i}": found for i, found in enumerate(tokenizer.hubert.features(short))}
        arrays |= {f"f0.{i}": tokenizer.pitch.f0(wav)[0] for i, wav in enumerate(short)}
        for key in MADE_UP:
            arrays[f"units.{key}"] = np.array(" ".join(one[key] for one in units[case]).split(), np.int32)
        np.savez(work / f"{case}.npz", **arrays)
    return seconds


def one_by_one(function: Callable, items: list) -> list:
    return [function(item) for item in items]


def made_up(units: dict[str, str]) -> dict[str, str]:
    """Units that change all the time, as many as there are."""
    return {
        key: " ".join(str(i * step % size) for i in range(len(units[key].split())))
        for key, (step, size) in MADE_UP.items()
    }


def differences(folder: Path, case: str) -> dict[str, float]:
    """How far a case is from the straightforward one in float32: largest differences, shares of units that differ, and
    the ratio of samples to their error in dB."""
    powers = np.zeros(2)
    with np.load(folder / "plain.npz") as a, np.load(folder / f"{case}.npz") as b:
        found: dict[str, float] = defaultdict(float)
        for name in a.files:
            kind = name.partition(".")[0]
            if a[name].shape != b[name].shape:
                return {"shapes": 1.0}
            if kind == "units":
                found[name] = float((a[name] != b[name]).mean())
                continue
            error = a[name] - b[name]
            found[kind] = max(found[kind], float(np.abs(error).max(initial=0)))
            if kind == "samples":
                # A constant is nothing that one hears, and hides errors.
                powers += (
                    np.square(a[name] - a[name].mean(), dtype=np.float64).sum(),
                    np.square(error, dtype=np.float64).sum(),
                )
    found["samples to error, dB"] = float(10 * np.log10(powers[0] / max(powers[1], 1e-300)))
    return dict(found)


LIMITS = {"features": 1e-4, "f0": 1e-3, "samples": 3e-6}


def wrong(found: dict[str, float]) -> list[str]:
    return [name for name, value in found.items() if "dB" not in name and value > LIMITS.get(name, 1e-3)]


def machine() -> dict[str, str]:
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    return {
        "date": datetime.date.today().isoformat(),
        "processor": named or platform.processor(),
        "instructions": ", ".join(f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags),
        "cores": str(os.cpu_count()),
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": f"{platform.system()} {platform.release()}",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "version": commit.strip() or "unknown",
    }


def ratios(cases: dict, part: str) -> dict[str, float]:
    """Of each case here, how many times faster it is than the faster of its straightforward ones."""
    return {
        case: min(cases[one][part] for one in others if one in cases) / cases[case][part]
        for case, others in RATIOS.items()
        if case in cases
    }


def written(content: dict) -> str:
    about, cases, device = content["about"], content["seconds"], content["device"]
    audio = sum(content["lengths"])
    what = __doc__.partition("\n\n")[2].partition("\n\n")[2]
    lines = ["# Speed of SpiRit-LM's tokenizers and vocoder", "", "Written by `benchmarks/spiritlm.py`.", "", what]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in about.items()), ""]
    lines += [f"{len(content['lengths'])} files, {audio:.0f} s of audio, on {device}.", ""]
    names = [CASES[case].format(threads=os.cpu_count()) for case in cases]
    faster = [f"ratio of: {CASES[case]}" for case in RATIOS if case in cases]
    lines += ["Real-time factors per core (seconds of one core for a second of audio):", ""]
    lines += [f"| | {' | '.join(names + faster)} |", f"|---|{'---:|' * len(names + faster)}"]
    for part, name in {**PARTS, "encoding": "**encoding, all three streams**", "decoding": "**decoding**"}.items():
        numbers = [f"{seconds[part] / audio:.4f}" for seconds in cases.values()]
        numbers += [f"{ratio:.2f} x" for ratio in ratios(cases, part).values()]
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    compared = content["differences"]
    lines += [
        "",
        "Differences from the straightforward implementation in float32 with one thread (units: the share that",
    ]
    lines += ["differs; f0 in Hz, samples of a full scale of 1):", ""]
    lines += [f"| | {' | '.join(CASES[case].format(threads=os.cpu_count()) for case in compared)} |"]
    lines += [f"|---|{'---:|' * len(compared)}"]
    for name in sorted({name for found in compared.values() for name in found}):
        lines.append(f"| {name} | {' | '.join(f'{found[name]:.3g}' for found in compared.values())} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three short files")
    parser.add_argument("--longest", type=float, default=60, help="seconds of the longest file")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    lengths = durations(args.quick, args.longest)
    content = {"about": machine(), "device": args.device, "lengths": lengths}
    with tempfile.TemporaryDirectory() as name:
        write_checkpoints(Path(name))
        cases = content["seconds"] = run(Path(name), args.device, lengths)
        content["differences"] = {case: differences(Path(name), case) for case in cases if case != "plain"}
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"spiritlm-{content['about']['date']}"
    stem.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    text = written(content)
    stem.with_suffix(".md").write_text(text)
    print(text[text.index("Real-time factors") :])
    reached = {part: ratios(cases, part)["product"] for part in ("encoding", "decoding")}
    failed = [f"{part} is {ratio:.2f} x, not {LEAST} x" for part, ratio in reached.items() if ratio < LEAST]
    failed += [f"{name} differ" for name in wrong(content["differences"]["product"])]
    for reason in failed:
        print(f"failed: {reason}")
    return 1 if failed and not args.quick else 0


if __name__ == "__main__":
    raise SystemExit(main())
