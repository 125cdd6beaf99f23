"""Train SpiRit-LM on a mixture of documents whose spans are drawn anew in every epoch.

python scripts/spiritlm_train.py --model extended/ --group speech=1:speech:docs --group text=1:text:text_docs \\
    --group interleaved=1:interleaved:docs --steps 100000 --tokens-per-step 1048576 --out model/

Groups are NAME=SHARE:FORMAT:FOLDER[,FOLDER...]; shares count tokens. Formats: speech, text, interleaved, unimodal,
pairs, word_level (spiritlm.lm.render).
"""

from __future__ import annotations

import argparse

from spire.errors import run_main


def main(argv: list[str] | None = None) -> int:
    from spire.training.flags import add_recipe_flags, settings_from
    from spiritlm.lm.run import run_training

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, conflict_handler="resolve"
    )
    parser.add_argument("--model", required=True, help="model folder of spiritlm_extend.py")
    parser.add_argument("--group", action="append", required=True, metavar="NAME=SHARE:FORMAT:FOLDER[,FOLDER]")
    parser.add_argument("--out", required=True, help="model folder to write")
    parser.add_argument("--text-span", default="10-30", metavar="WORDS", help="of interleaved text (default 10-30)")
    parser.add_argument("--speech-span", default="5-15", metavar="WORDS", help="of interleaved speech (default 5-15)")
    parser.add_argument("--unit-weight", type=float, default=1.0, help="loss weight of units; text has 1 (default 1)")
    add_recipe_flags(parser, lr=3e-5, tokens_per_step=1 << 20, steps=100_000, warmup=100)
    # In place of a corpus in one file, and of the rows' length in two flags.
    parser.add_argument("--eval", action="append", default=[], metavar="GROUP", help="held-out documents, as --group")
    parser.add_argument("--max-length", help=argparse.SUPPRESS)
    parser.add_argument("--sequence-length", type=int, default=4096, help="tokens of a row (default 4096)")
    args = parser.parse_args(argv)
    run_training(args, settings_from(args, args.unit_weight))
    return 0


if __name__ == "__main__":
    run_main(main)
