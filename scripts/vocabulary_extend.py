"""Extend a base model by speech units: tokenizer, embedding matrices and configs, into a new model directory.

    python scripts/vocabulary_extend.py --model base/ --units 5000 --seed 42 --out extended/

A `.model` file of SentencePiece, or --tokenizer-only, gives the tokenizer alone. What the ids mean, and which base
models fit: docs/vocabulary.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main
from spire.vocabulary.embeddings import extend_directory, extend_tokenizer
from spire.vocabulary.extend import FORMS, VARIANTS, Extension, read_types
from spire.vocabulary.rows import SCALES
from spire.vocabulary.units_of import units_of_kmeans


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face directory of the base model, or a .model file")
    parser.add_argument("--units", type=int, help="how many units (k-means clusters)")
    parser.add_argument(
        "--new-types",
        metavar="FILE",
        help="other new pieces, after the units: first tab-separated field of each line (vocabulary_unit_bpe.py)",
    )
    parser.add_argument("--form", choices=FORMS, default="pua", help="units are characters, or <extra_id_N> pieces")
    parser.add_argument("--scoring", choices=("bpe", "none"), default="bpe", help="scores of the new pieces")
    parser.add_argument(
        "--variant",
        choices=VARIANTS,
        default="both",
        help="chat marks and chat template (instruct), neither (base), or marks for a base model (both)",
    )
    parser.add_argument("--init", choices=tuple(SCALES), default="mean", help="new rows: spread 1e-5 or 1e-9")
    parser.add_argument("--kmeans", type=Path, help="safetensors of the units' k-means, to record it")
    parser.add_argument("--tokenizer-only", action="store_true", help="no weights")
    parser.add_argument("--seed", type=int, default=42, help="seed of the new rows")
    parser.add_argument("--out", required=True, help="model directory to write; must not exist")
    args = parser.parse_args(argv)
    if args.units is None and not args.new_types:
        raise UserError("nothing to extend by", hint="give --units N, --new-types FILE, or both")
    units = args.units or 0
    types = read_types(args.new_types) if args.new_types else []
    units_of = units_of_kmeans(args.kmeans, units) if args.kmeans else None
    how = {"form": args.form, "scoring": args.scoring, "variant": args.variant, "units_of": units_of}
    if args.tokenizer_only or Path(args.model).is_file():
        layout = extend_tokenizer(args.model, args.out, Extension(units, types, **how))
    else:
        layout = extend_directory(args.model, args.out, units, args.seed, types, init=args.init, **how)
    other = layout.size - layout.base - len(layout.specials) - layout.units - len(layout.instruct)
    print(
        f"{args.out}: {layout.base} base pieces + {len(layout.specials)} specials + {layout.units} units + "
        + (f"{other} other types + " if other else "")
        + f"{len(layout.instruct)} chat marks = {layout.size} ids in {layout.padded_size} rows"
    )
    return 0


if __name__ == "__main__":
    run_main(main)
