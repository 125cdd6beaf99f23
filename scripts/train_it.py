"""Instruction tuning on conversations; loss on the assistant's turns only.

python scripts/train_it.py --model spire_base/ --corpus it.jsonl --steps 300 --tokens-per-step 2048 --lr 1.5e-3 --out
spire_full/
"""

from __future__ import annotations

import argparse

from spire.errors import UserError, run_main


def main(argv: list[str] | None = None) -> int:
    from spire.training.flags import add_recipe_flags, settings_from
    from spire.training.run import run_training

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model directory with chat marks in its vocabulary")
    parser.add_argument("--corpus", required=True, help='JSONL of {"conversations", "block"}')
    parser.add_argument("--out", required=True, help="model directory to write")
    add_recipe_flags(parser, lr=1.5e-3, tokens_per_step=2048, steps=300, warmup=30)
    args = parser.parse_args(argv)

    from spire.training.checkpoint import load_model
    from spire.vocabulary.tokenizer import Vocabulary

    vocabulary = Vocabulary.load(args.model)
    if vocabulary.im_end is None:
        raise UserError(
            f"{args.model}: the vocabulary has no <|im_end|>, so it cannot learn conversations",
            hint="extend the model first: vocabulary_extend.py --model DIR --units K --out DIR",
        )
    run_training("IT", args, vocabulary, settings_from(args), lambda: load_model(args.model), vocabulary.im_end)
    return 0


if __name__ == "__main__":
    run_main(main)
