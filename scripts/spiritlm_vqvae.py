"""Train the pitch quantizer: a VQ-VAE over f0 and voicing, 16 values a code, in the form of the published one.

    python scripts/spiritlm_vqvae.py --f0 f0 --steps 20000 --out vqvae_f0_quantizer

A run that is stopped goes on with the same command. The folder opens as pitch tokenizer (docs/spiritlm.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spiritlm.devices import device_named
from spiritlm.learning import add_learning_flags, checkpoints_from
from spiritlm.pitch.f0_files import F0Folder
from spiritlm.pitch.tokenizer import FEATURES
from spiritlm.pitch.vqvae_training import Training, identity, published_sizes, train


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--f0", type=Path, nargs="+", required=True, help="folders of spiritlm_f0.py")
    parser.add_argument("--features", choices=FEATURES, default=FEATURES[0])
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--width", type=int, default=32, help="channels of the residual blocks")
    parser.add_argument("--depth", type=int, default=4, help="residual blocks a stage")
    parser.add_argument("--dimensions", type=int, default=128, help="of a code")
    parser.add_argument("--values", type=int, default=640, help="values of f0 in a crop (200 a second)")
    parser.add_argument("--commit", type=float, default=0.02, help="weight of the commitment")
    parser.add_argument("--mu", type=float, default=0.99, help="what the codes' moving averages keep")
    parser.add_argument("--threshold", type=float, default=1.0, help="latents a batch that keep a code in its place")
    add_learning_flags(parser, steps=20_000, batch=32, rate=1e-3)
    args = parser.parse_args(argv)
    args.device = device_named(args.device)
    import torch

    torch.set_num_threads(1)
    settings = Training(
        args.steps,
        args.batch,
        args.values,
        args.rate,
        args.commit,
        args.mu,
        args.threshold,
        args.seed,
        args.features,
    )
    contours = F0Folder(args.f0)
    config = published_sizes(args.codes, args.width, args.depth, args.dimensions)
    checkpoints = checkpoints_from(args, lambda: identity(contours, config, settings))
    curve = train(contours, config, settings, args.out, checkpoints, args.device)
    numbers = ", ".join(f"{name} {value:g}" for name, value in curve[-1].items() if name != "step")
    print(f"{args.codes} codes from {len(contours)} contours, {args.steps} steps: {numbers}")
    return 0


if __name__ == "__main__":
    run_main(main)
