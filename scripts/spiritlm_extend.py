"""A text model as the start of SpiRit-LM: the unified vocabulary, random rows for it, another RoPE base.

python scripts/spiritlm_extend.py --model Llama-2-7b-hf --rope-base 100000 --out base/               # 32,512 rows
python scripts/spiritlm_extend.py --model Llama-2-7b-hf --expressive --rope-base 100000 --out expressive/
"""

from __future__ import annotations

import argparse

from spire.errors import run_main


def main(argv: list[str] | None = None) -> int:
    from spiritlm.lm.extend import extend_model_folder
    from spiritlm.lm.vocabulary import HUBERT_UNITS, PITCH_UNITS, STYLE_UNITS, Units

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a Hugging Face Llama with its tokenizer")
    parser.add_argument("--expressive", action="store_true", help="pitch and style units, too")
    parser.add_argument("--hubert-units", type=int, default=HUBERT_UNITS, help="with the blank (default 501)")
    parser.add_argument("--pitch-units", type=int, default=PITCH_UNITS, help="of Expressive (default 64)")
    parser.add_argument("--style-units", type=int, default=STYLE_UNITS, help="of Expressive (default 100)")
    parser.add_argument("--tasks", action="store_true", help="[ASR] and [TTS] behind the units, for those ablations")
    parser.add_argument("--rope-base", type=float, help="base of the rotary positions (default: the model's)")
    parser.add_argument("--random-weights", action="store_true", help="only the shape of --model: ablation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True, help="folder to write; it must not exist")
    args = parser.parse_args(argv)
    streams = (args.pitch_units, args.style_units) if args.expressive else (0, 0)
    units = Units(args.hubert_units, *streams, tasks=args.tasks)
    layout = extend_model_folder(args.model, args.out, units, args.seed, args.rope_base, args.random_weights)
    print(f"{args.out}: {layout.base} ids of text, {layout.size} ids in all, {layout.padded_size} rows")
    return 0


if __name__ == "__main__":
    run_main(main)
