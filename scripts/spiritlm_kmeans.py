"""Learn k-means units on the features of a 25 Hz HuBERT; the file has the release's form.

python scripts/spiritlm_kmeans.py --hubert mhubert.pt --manifest speech/manifest.jsonl --clusters 200 --out kmeans.pt
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from spire.errors import run_main
from spire.units.kmeans import nearest
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.phonetic.hubert_files import write_kmeans
from spiritlm.phonetic.kmeans_training import learn_centroids, sampled_features


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hubert", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, action="extend", nargs="+", required=True)
    parser.add_argument("--clusters", type=int, default=500)
    parser.add_argument("--frames", type=int, default=60_000, help="frames to learn from, at most")
    parser.add_argument("--iterations", type=int, default=25, help="at most")
    parser.add_argument("--device", default="cpu", help="of HuBERT: cpu or cuda")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that decode audio ahead")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    hubert = Hubert25(args.hubert, device=args.device)
    features = sampled_features(hubert, args.manifest, args.frames, args.seed, args.workers)
    centroids = learn_centroids(features, args.clusters, args.seed, args.iterations)
    write_kmeans(args.out, centroids)
    used = len(np.unique(nearest(features, centroids)))
    print(f"{args.clusters} clusters of {len(features)} frames of {hubert.dim} dimensions, {used} in use")
    return 0


if __name__ == "__main__":
    run_main(main)
