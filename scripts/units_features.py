"""Write an encoder's features as shards, for k-means on more audio than fits in memory. Resumable; one part a job.

    python scripts/units_features.py --encoder out/hubert --layer 22 --corpus corpus/manifest.jsonl \
        --shard 3/8 --store float16 --out out/features

When parts 1/8 to 8/8 are done, `units_kmeans.py --features out/features` reads them as one corpus.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.datasets.open import open_corpus
from spire.datasets.shards import parse_shard
from spire.errors import run_main
from spire.units.encoder_arguments import add_encoder_arguments, encoder_from
from spire.units.feature_shards import DTYPES, write_features


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_encoder_arguments(parser)
    parser.add_argument("--corpus", required=True, help="manifest, TSV list, dataset YAML, folder, or tar archives")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="write part I of N, I from 1")
    parser.add_argument("--hours-per-shard", type=float, default=1.0, help="audio in one .npy file")
    parser.add_argument("--store", choices=DTYPES, default="float32", help="type of stored numbers")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode audio ahead")
    parser.add_argument("--out", type=Path, required=True, help="folder; all parts share it")
    args = parser.parse_args(argv)
    shard = parse_shard(args.shard)
    corpus = open_corpus(args.corpus)
    encoder = encoder_from(args)
    index = write_features(encoder, corpus, args.out, shard, args.hours_per_shard, args.store, args.workers)
    print(
        f"part {args.shard}: {index['utterances']} utterances, {index['seconds'] / 3600:.2f} hours, "
        f"{index['frames']} frames, {len(index['shards'])} shards, {len(index['unreadable'])} unreadable"
    )
    return 0


if __name__ == "__main__":
    run_main(main)
