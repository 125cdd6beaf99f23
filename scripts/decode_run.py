"""Decode all jobs of one model greedily: hypotheses, one line a prompt, and decoding.json.

python scripts/decode_run.py --model spire_full/ --prompts prompts/ --jobs asr,st,cascade --out hypotheses/
"""

from __future__ import annotations

import argparse

from spire.errors import run_main


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face Llama directory with its tokenizer")
    parser.add_argument("--prompts", required=True, help="folder written by decode_prompts.py")
    parser.add_argument("--out", required=True, help="folder to write: JOB.txt and decoding.json")
    parser.add_argument("--jobs", default="", help="modes or job names, separated by commas (default: all)")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--rows", type=int, default=128, help="prompts a batch; does not change the answers")
    parser.add_argument("--limit", type=int, default=0, help="only the first N prompts of every job (0: all)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)

    from spire.decoding.jobs import Limits, decode_all

    decode_all(
        args.model,
        args.prompts,
        args.out,
        args.jobs,
        Limits(args.max_new_tokens, args.rows, args.limit),
        args.threads,
    )
    return 0


if __name__ == "__main__":
    run_main(main)
