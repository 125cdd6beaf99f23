"""Text corpus of the base model: parallel sentences in every direction, and monolingual text, shuffled.

python scripts/corpus_base.py --parallel parallel.jsonl --mono mono.jsonl --seed 1 --out base.jsonl
"""

from __future__ import annotations

import argparse

from spire.corpora.base import count_blocks, read_text
from spire.corpora.pairs import report
from spire.corpora.prompts import BASE, load_templates
from spire.errors import run_main
from spire.textfiles import write_jsonl


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parallel", nargs="*", default=[], help="JSONL of sentences by language code")
    parser.add_argument("--mono", nargs="*", default=[], help='JSONL of {"lang", "text"}')
    parser.add_argument("--per-sentence", type=int, default=0, help="random directions a sentence (0: all)")
    parser.add_argument("--prompts", help="JSON file of templates in place of the built-in ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True, help="corpus to write")
    args = parser.parse_args(argv)
    templates = load_templates(args.prompts, BASE)
    lines = read_text(args.parallel, args.mono, args.seed, args.per_sentence, templates)
    write_jsonl(args.out, lines)
    print(f"{args.out}: {len(lines)} lines ({report(count_blocks(lines))})")
    return 0


if __name__ == "__main__":
    run_main(main)
