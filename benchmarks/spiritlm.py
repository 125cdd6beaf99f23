#!/usr/bin/env python3
"""Speed of SpiRit-LM's tokenizers and vocoder beside a straightforward implementation, one file at a time.

    python benchmarks/spiritlm.py                      # some minutes on one core; needs the weights of torchfcpe
    python benchmarks/spiritlm.py --quick --out /tmp   # three short files

Everything has the sizes of the release, and random weights but for FCPE: the 25 Hz HuBERT base up to layer 11 with its
linear quantizer, FCPE and the VQ-VAE, the wav2vec 2.0 base style classifier, the Expressive vocoder. Files last 0.5 to
60 s. The straightforward implementation is what one writes with the same modules in PyTorch: each file as a whole
through the forward passes in float32, convolutions by nn.Conv1d, attention by scaled_dot_product_attention, inference
mode, no weight normalization left. Both get the same files in the same order, four at a time and by turns, in one
process with one thread, after five files to warm up; here the four are given together (`encode_many`). CPU seconds
(user and system) count from samples to units, and from units to samples; on a GPU (--device cuda) wall seconds do.

Results must agree: at most one unit in a thousand may differ (rounding at a tie), features by 1e-4, f0 by 1e-3 Hz,
samples by 3e-6 of full scale. They go to spiritlm-DATE.json and spiritlm-DATE.md in --out. Exit code 1: encoding or
decoding is below 2 x the straightforward implementation, or something differs.
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

CASES = ("plain", "product")
PARTS = {"phonetic": "phonetic units", "pitch": "pitch units", "style": "style units", "decoding": "decoding"}
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


def durations(quick: bool) -> list[float]:
    """Seconds of the files, shuffled: from 0.5 to 60 s, equally many in each octave."""
    found = [0.5, 1.7, 4.0] if quick else np.geomspace(0.5, 60, 14).round(2).tolist()
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


def make_straightforward(tokenizer, folder: Path, device: str) -> None:
    """Give the tokenizer the plain modules: each file alone, whole, as one writes it with PyTorch's own layers."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from spire.units.hubert import Hubert, HubertShape
    from spire.units.hubert_encoder import normalize_wav
    from spiritlm.phonetic.hubert25 import LAYER
    from spiritlm.pitch.fcpe import Network, bundled_weights, network_tensors
    from spiritlm.style_training import StyleNetwork
    from spiritlm.vocoder.generator import Generator, GeneratorShape

    states = torch.load(folder / "plain.pt", weights_only=True)

    def ready(module: nn.Module, state: dict) -> nn.Module:
        module.load_state_dict(state)
        for part in module.modules():
            if nn.utils.parametrize.is_parametrized(part):
                nn.utils.parametrize.remove_parametrizations(part, "weight")
        return module.eval().requires_grad_(False).to(device)

    def states_of(model: Hubert, wav: np.ndarray, layers: int) -> torch.Tensor:
        x = torch.from_numpy(wav)[None, None].to(device)
        for conv in model.feature_extractor.conv_layers:
            x = conv.conv(x)
            x = F.gelu(conv.layer_norm(x) if hasattr(conv, "layer_norm") else x)
        projection = model.feature_projection
        return model.layer(projection.projection(projection.layer_norm(x.transpose(1, 2))), layers)

    hubert = ready(Hubert(HubertShape(**BASE, **convolutions(8))), states["hubert"])
    shape = HubertShape(**BASE, **convolutions(7), model_type="wav2vec2")
    style = ready(StyleNetwork(Hubert(shape), PROJECTION, STYLES), states["style"])
    generator = ready(Generator(GeneratorShape.from_config(VOCODER, "benchmark")), states["generator"])

    @torch.inference_mode()
    def features(wavs: list[np.ndarray]) -> list[np.ndarray]:
        return [states_of(hubert, wav, LAYER)[0].cpu().numpy() for wav in wavs]

    @torch.inference_mode()
    def style_units(wav: np.ndarray) -> np.ndarray:
        projected = style.projector(states_of(style.wav2vec2, normalize_wav(wav), 12))[0]
        means = torch.stack([chunk.mean(dim=0) for chunk in projected.split(50)])
        return style.classifier(means).argmax(dim=1).cpu().numpy()

    tokenizer.hubert.features = features
    tokenizer.style.units = style_units
    tokenizer.style.units_of_many = lambda wavs: list(map(style_units, wavs))
    weights = network_tensors(bundled_weights())
    del weights["cent_table"]
    tokenizer.pitch._fcpe.network = ready(Network(), weights)
    del tokenizer.vocoder.generator
    tokenizer.vocoder.generator = generator


class Clock:
    """Seconds by part: CPU seconds of this process, or wall seconds of a GPU that has finished."""

    def __init__(self, device: str):
        self.cuda, self.seconds = device.startswith("cuda"), defaultdict(float)

    def now(self) -> float:
        if not self.cuda:
            return time.process_time()
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


def run(work: Path, device: str, quick: bool) -> dict[str, dict[str, float]]:
    """Seconds by case and part; results into CASE.npz. The cases take turns, a few files each, so that what else the
    machine does meets both."""
    import torch
    from units import waveform

    from spiritlm.speech_tokenizer import spiritlm_expressive

    torch.set_num_threads(1)
    tokenizers = {case: spiritlm_expressive(folder=work, device=device) for case in CASES}
    make_straightforward(tokenizers["plain"], work, device)
    wavs = [waveform(seconds, i) for i, seconds in enumerate(durations(quick))]
    clocks, units, samples = {}, defaultdict(list), defaultdict(list)
    for case, tokenizer in tokenizers.items():
        for i, seconds in enumerate(WARM_UP[:1] if quick else WARM_UP):
            tokenizer.decode(tokenizer.encode_units(waveform(seconds, 100 + i)))
        clocks[case] = Clock(device)
        watched(tokenizer, clocks[case])
    for start in range(0, len(wavs), GROUP):
        group = wavs[start : start + GROUP]
        for case in list(CASES)[:: -1 if start // GROUP % 2 else 1]:
            tokenizer, clock = tokenizers[case], clocks[case]
            encode = tokenizer.encode_many if case == "product" else partial(one_by_one, tokenizer.encode_units)
            encoded = clock.timed("encoding", encode)(group)
            units[case] += encoded
            # Both decode the same units, so that samples can be compared.
            streams = list(map(made_up, encoded))
            samples[case] += clock.timed("decoding", partial(one_by_one, tokenizer.decode))(streams)
    seconds = {case: dict(clock.seconds) for case, clock in clocks.items()}
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


def differences(folder: Path) -> dict[str, float]:
    """The largest differences between the cases, and the share of units that differ."""
    with np.load(folder / "plain.npz") as a, np.load(folder / "product.npz") as b:
        found: dict[str, float] = defaultdict(float)
        for name in a.files:
            kind = name.partition(".")[0]
            if a[name].shape != b[name].shape:
                return {"shapes": 1.0}
            if kind == "units":
                found[name] = float((a[name] != b[name]).mean())
            else:
                found[kind] = max(found[kind], float(np.abs(a[name] - b[name]).max(initial=0)))
    return dict(found)


LIMITS = {"features": 1e-4, "f0": 1e-3, "samples": 3e-6}


def wrong(found: dict[str, float]) -> list[str]:
    return [name for name, value in found.items() if value > LIMITS.get(name, 1e-3)]


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


def written(about: dict, cases: dict, lengths: list[float], found: dict[str, float], device: str) -> str:
    audio, unit = sum(lengths), "wall s" if device.startswith("cuda") else "CPU s"
    what = __doc__.partition("\n\n")[2].partition("\n\n")[2]
    lines = ["# Speed of SpiRit-LM's tokenizers and vocoder", "", "Written by `benchmarks/spiritlm.py`.", what]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in about.items()), ""]
    lines += [
        f"{len(lengths)} files, {audio:.0f} s of audio, on {device}.",
        f"The real-time factor is {unit} a second of audio.",
        "",
        f"| | straightforward, {unit} | here, {unit} | real-time factor | here | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    plain, product = (cases[name] for name in CASES)
    for part, name in {**PARTS, "encoding": "**encoding, all three streams**"}.items():
        a, b = plain[part], product[part]
        lines.append(f"| {name} | {a:.2f} | {b:.2f} | {a / audio:.4f} | {b / audio:.4f} | {a / b:.2f} x |")
    lines += ["", "Differences between the two:", ""]
    lines += [f"- {name}: {value:.3g}" for name, value in sorted(found.items())]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three short files")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    about = machine()
    with tempfile.TemporaryDirectory() as name:
        write_checkpoints(Path(name))
        cases = run(Path(name), args.device, args.quick)
        found = differences(Path(name))
    date = about["date"]
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"spiritlm-{date}"
    lengths = durations(args.quick)
    content = {"about": about, "device": args.device, "lengths": lengths, "seconds": cases, "differences": found}
    stem.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    text = written(about, cases, lengths, found, args.device)
    stem.with_suffix(".md").write_text(text)
    print(text[text.index("| | straightforward") :])
    ratios = {part: cases["plain"][part] / cases["product"][part] for part in ("encoding", "decoding")}
    failed = [f"{part} is {ratio:.2f} x, not {LEAST} x" for part, ratio in ratios.items() if ratio < LEAST]
    failed += [f"{name} differ" for name in wrong(found)]
    for reason in failed:
        print(f"failed: {reason}")
    return 1 if failed and not args.quick else 0


if __name__ == "__main__":
    raise SystemExit(main())
