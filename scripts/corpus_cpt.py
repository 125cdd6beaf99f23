"""Corpus of continued pretraining: units with their transcripts, and text at a stated share.

    python scripts/corpus_cpt.py --manifest train/manifest.jsonl --units train.units --parallel parallel.jsonl \\
        --mono mono.jsonl --text-share 0.3 --seed 1 --out cpt.jsonl
"""

from __future__ import annotations

import argparse

from spire.corpora.base import count_blocks, read_text
from spire.corpora.cpt import build
from spire.corpora.pairs import read_pairs, report
from spire.corpora.prompts import BASE, load_templates
from spire.errors import run_main
from spire.textfiles import write_jsonl
from spire.vocabulary.tokenizer import Vocabulary


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", required=True, help="training utterances")
    parser.add_argument("--units", required=True, help="their units, line by line")
    parser.add_argument("--parallel", nargs="*", default=[], help="JSONL of sentences by language code")
    parser.add_argument("--mono", nargs="*", default=[], help='JSONL of {"lang", "text"}')
    parser.add_argument("--text-share", type=float, default=1 / 6, help="text in the corpus (default 1/6, the paper's)")
    parser.add_argument("--vocabulary", help="extended model directory: measure the share in tokens, not in lines")
    parser.add_argument("--passes", type=int, default=1, help="repeat the speech so often, each time among other text")
    parser.add_argument("--prompts", help="JSON file of templates in place of the built-in ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True, help="corpus to write")
    args = parser.parse_args(argv)
    templates = load_templates(args.prompts, BASE)
    lines, dropped = build(
        read_pairs(args.manifest, args.units),
        read_text(args.parallel, args.mono, args.seed, templates=templates),
        args.text_share,
        args.seed,
        args.passes,
        Vocabulary.load(args.vocabulary) if args.vocabulary else None,
        templates,
    )
    write_jsonl(args.out, lines)
    print(f"{args.out}: {len(lines)} lines ({report(count_blocks(lines))}); dropped: {report(dropped) or 'none'}")
    return 0


if __name__ == "__main__":
    run_main(main)
