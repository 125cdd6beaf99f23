"""Learn the speech units: k-means on frames of an encoder.

    python scripts/units_kmeans.py --encoder out/hubert --layer 2 --normalize meanvar --smooth 1 --clusters 200 \
        --manifest out/train/manifest.jsonl --frames 60000 --seed 1 --out out/kmeans.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.units.encoder import NORMALIZATIONS
from spire.units.encoders import open_encoder
from spire.units.kmeans import KMeans, fit, nearest, save
from spire.units.sample import sample_frames


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="mfcc, mfccctx, or the folder of a HuBERT")
    parser.add_argument("--layer", type=int, default=0, help="HuBERT: take features after this layer (1-based)")
    parser.add_argument("--normalize", choices=NORMALIZATIONS, default="none", help="each dimension, over an utterance")
    parser.add_argument("--smooth", type=int, default=0, help="average frames with neighbours this often")
    parser.add_argument("--clusters", type=int, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=60_000, help="frames to learn from")
    parser.add_argument("--iterations", type=int, default=25)
    parser.add_argument("--pca", type=int, default=0, help="distances in this many principal components (0: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    encoder = open_encoder(args.encoder, args.layer, args.normalize, args.smooth, args.threads)
    frames = sample_frames(encoder, args.manifest, args.frames, args.seed)
    centroids = fit(frames, args.clusters, args.seed, args.iterations, args.pca)
    metadata = encoder.metadata() | {
        "seed": str(args.seed),
        "frames": str(len(frames)),
        "pca": str(args.pca),
    }
    save(args.out, KMeans(centroids, metadata))
    used = len(set(nearest(frames, centroids).tolist()))
    print(f"{args.clusters} clusters of {len(frames)} frames ({encoder.name}, {encoder.dim} dimensions), {used} in use")
    return 0


if __name__ == "__main__":
    run_main(main)
