"""Pretrain a small HuBERT from scratch on the audio of a manifest; labels are k-means of cepstra.

    python scripts/units_pretrain.py --manifest out/train/manifest.jsonl --steps 850 --seed 1 --out out/hubert
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from spire.errors import UserError, run_main
from spire.units.hubert import HubertShape
from spire.units.pretrain import Pretraining, pretrain
from spire.units.products import fast_dtype


def main(argv: list[str] | None = None) -> int:
    plain = Pretraining()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--config", type=Path, help="sizes as in a HuBERT config.json; default: mini")
    # optimization
    parser.add_argument("--steps", type=int, default=plain.steps)
    parser.add_argument("--batch", type=int, default=plain.batch, help="crops a step")
    parser.add_argument("--frames", type=int, default=plain.frames, help="frames a crop (50 a second)")
    parser.add_argument("--rate", type=float, default=plain.peak_rate, help="peak learning rate")
    # task
    parser.add_argument("--mask-start", type=float, default=plain.mask_start, help="chance that a frame starts a mask")
    parser.add_argument("--mask-length", type=int, default=plain.mask_length, help="frames")
    parser.add_argument("--unmasked-weight", type=float, default=plain.unmasked_weight, help="unmasked frames' weight")
    parser.add_argument("--label-clusters", type=int, nargs="+", default=list(plain.label_clusters), help="label sets")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="of products")
    parser.add_argument("--seed", type=int, default=plain.seed)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--out", type=Path, required=True, help="folder in Hugging Face form")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    precision = args.precision
    if precision == "auto":
        dtype, reason = fast_dtype()
        precision = str(dtype).removeprefix("torch.")
        print(f"matrix products in {precision}: {reason}")
    settings = Pretraining(
        steps=args.steps,
        batch=args.batch,
        frames=args.frames,
        peak_rate=args.rate,
        mask_start=args.mask_start,
        mask_length=args.mask_length,
        unmasked_weight=args.unmasked_weight,
        label_clusters=tuple(args.label_clusters),
        precision=precision,
        seed=args.seed,
    )
    curve = pretrain(args.manifest, _shape(args.config), settings, args.out)
    last = curve[-1]
    accuracy = f"accuracy {last['masked_accuracy']} masked, {last['unmasked_accuracy']} unmasked"
    print(f"{args.steps} steps, loss {last['loss']}, {accuracy}")
    return 0


def _shape(path: Path | None) -> HubertShape:
    """The mini model's sizes, with those that the file names replaced."""
    if path is None:
        return HubertShape()
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise UserError(f"{path}: not JSON: {e}", hint="sizes are named as in a HuBERT config.json") from e
    return HubertShape.from_config(asdict(HubertShape()) | given, str(path))


if __name__ == "__main__":
    run_main(main)
