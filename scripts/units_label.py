"""Label speech with units: NAME.units, NAME.frames.npz for each manifest and one unreadable.json.

    python scripts/units_label.py --encoder out/hubert --layer 2 --kmeans out/kmeans.safetensors \
        --manifest train=out/train/manifest.jsonl --manifest dev=out/dev/manifest.jsonl --out out/units
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.units.encoders import encoder_for
from spire.units.kmeans import load
from spire.units.label import label_manifests, named_manifests


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="mfcc, mfccctx, or the folder of a HuBERT")
    parser.add_argument("--layer", type=int, default=0, help="HuBERT: take features after this layer (1-based)")
    parser.add_argument("--kmeans", type=Path, required=True)
    parser.add_argument("--manifest", action="extend", nargs="+", required=True, metavar="NAME=PATH")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    manifests = named_manifests(args.manifest)
    kmeans = load(args.kmeans)
    encoder = encoder_for(kmeans, args.kmeans, args.encoder, args.layer, args.threads)
    counts = label_manifests(encoder, kmeans, manifests, args.out)
    print(", ".join(f"{value} {name}" for name, value in counts.items()))
    return 0


if __name__ == "__main__":
    run_main(main)
