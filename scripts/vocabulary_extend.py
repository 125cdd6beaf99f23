"""Extend a base model by speech units: tokenizer, embedding matrices and configs, into a new model directory.

python scripts/vocabulary_extend.py --model base/ --units 5000 --seed 42 --out extended/
"""

from __future__ import annotations

import argparse

from spire.errors import run_main
from spire.vocabulary.embeddings import extend_directory
from spire.vocabulary.extend import read_types


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face directory of the base model")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--units", type=int, help="how many units (k-means clusters)")
    what.add_argument("--new-types", metavar="FILE", help="new pieces instead: first tab-separated field of each line")
    parser.add_argument("--scoring", choices=("bpe", "none"), default="bpe", help="scores of the new pieces")
    parser.add_argument("--seed", type=int, default=42, help="seed of the new rows")
    parser.add_argument("--out", required=True, help="model directory to write; must not exist")
    args = parser.parse_args(argv)
    types = read_types(args.new_types) if args.new_types else None
    layout = extend_directory(args.model, args.out, args.units or 0, args.seed, types, args.scoring)
    print(
        f"{args.out}: {layout.base} base pieces + {len(layout.specials)} specials + {layout.units} units + "
        f"{len(layout.instruct)} chat marks = {layout.size} ids in {layout.padded_size} rows"
    )
    return 0


if __name__ == "__main__":
    run_main(main)
