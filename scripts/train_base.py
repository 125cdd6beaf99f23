"""Train the base language model ("Tower" of the mini study) from random weights on text.

python scripts/train_base.py --corpus base.jsonl --vocabulary base.model --hidden 192 --layers 4 --heads 4 --ffn 528
--out base
"""

from __future__ import annotations

import argparse

from spire.errors import run_main


def main(argv: list[str] | None = None) -> int:
    from spire.training.flags import add_recipe_flags, settings_from
    from spire.training.run import run_training

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help='JSONL of {"text", "block"}')
    parser.add_argument("--vocabulary", required=True, help="SentencePiece model (vocabulary_train.py)")
    parser.add_argument("--out", required=True, help="model directory to write")
    shape = parser.add_argument_group("model")
    shape.add_argument("--hidden", type=int, default=192)
    shape.add_argument("--layers", type=int, default=4)
    shape.add_argument("--heads", type=int, default=4)
    shape.add_argument("--kv-heads", type=int, default=0, help="key/value heads (default: as many as --heads)")
    shape.add_argument("--ffn", type=int, default=528, help="width of the feed-forward layers")
    shape.add_argument("--rope-theta", type=float, default=10000.0)
    shape.add_argument("--init-range", type=float, default=0.02, help="standard deviation of the random weights")
    shape.add_argument("--untied", action="store_true", help="an output matrix of its own")
    add_recipe_flags(parser, lr=3e-3, tokens_per_step=1024, steps=1100, warmup=50)
    args = parser.parse_args(argv)

    from spire.training.checkpoint import new_model
    from spire.training.llama import LlamaShape
    from spire.vocabulary.tokenizer import Vocabulary

    vocabulary = Vocabulary.load(args.vocabulary)
    settings = settings_from(args)
    model_shape = LlamaShape(
        vocab_size=vocabulary.padded_size,
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        intermediate_size=args.ffn,
        rope_theta=args.rope_theta,
        initializer_range=args.init_range,
        tie_word_embeddings=not args.untied,
        max_position_embeddings=max(1024, args.max_length),
    )
    run_training("base", args, vocabulary, settings, lambda: new_model(model_shape, args.seed), vocabulary.eos)
    return 0


if __name__ == "__main__":
    run_main(main)
