"""Lengths of all utterances in seconds, without decoding: NAME.times.npy and NAME.times.json for each corpus.

python scripts/units_lengths.py --corpus train=configs/datasets/gigaspeech_xl_train.yml --out out/lengths
python scripts/units_lengths.py --corpus train=shards/ --shard 3/8 --out out/lengths
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.datasets.lengths import measure
from spire.datasets.open import named_corpora, open_corpus
from spire.datasets.shards import Shard, parse_shard
from spire.errors import run_main


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", action="extend", nargs="+", required=True, metavar="NAME=CORPUS")
    parser.add_argument("--shard", type=parse_shard, default=Shard(), help="part i/n of each corpus")
    parser.add_argument("--threads", type=int, default=8, help="headers read at a time")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    for name, spec in named_corpora(args.corpus).items():
        record = measure(name, open_corpus(spec), args.out, args.shard, args.threads)
        lost = len(record["unreadable"])
        print(f"{name}: {record['utterances']} utterances, {record['seconds'] / 3600:.3f} hours, {lost} unreadable")
    return 0


if __name__ == "__main__":
    run_main(main)
