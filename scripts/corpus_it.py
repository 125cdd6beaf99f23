"""Instruction corpus: conversations in the blocks asr, st, pseudo_st and mt.

    python scripts/corpus_it.py --manifest train/manifest.jsonl --units train.units --parallel parallel.jsonl \\
        --pseudo pseudo.jsonl --blocks "asr st pseudo_st mt" --caps "mt=4000" --seed 1 --out it.jsonl
"""

from __future__ import annotations

import argparse

from spire.corpora.base import count_blocks
from spire.corpora.it import BLOCKS, MULTI_TURN_SHARE, Settings, build, parse_blocks, parse_caps
from spire.corpora.pairs import read_pairs, report
from spire.corpora.prompts import CHAT, load_templates
from spire.errors import run_main
from spire.textfiles import read_jsonl, write_jsonl


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", required=True, help="training utterances")
    parser.add_argument("--units", required=True, help="their units, line by line")
    parser.add_argument("--parallel", nargs="*", default=[], help="JSONL of sentences by language code (block mt)")
    parser.add_argument("--pseudo", nargs="*", default=[], help='JSONL of {"id", "lang", "text"} (block pseudo_st)')
    parser.add_argument("--blocks", default=" ".join(BLOCKS), help="blocks to include")
    parser.add_argument("--caps", default="", help='greatest numbers of lines, as in "asr=4000 mt=4000"')
    parser.add_argument(
        "--multi-turn-share", type=float, default=MULTI_TURN_SHARE, help="part of ST that has a transcript turn first"
    )
    parser.add_argument("--min-score", type=float, help="leave out pseudo labels that are scored lower")
    parser.add_argument("--prompts", help="JSON file of templates in place of the built-in ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True, help="corpus to write")
    args = parser.parse_args(argv)
    settings = Settings(
        blocks=parse_blocks(args.blocks),
        caps=parse_caps(args.caps),
        seed=args.seed,
        multi_turn_share=args.multi_turn_share,
        min_score=args.min_score,
        templates=load_templates(args.prompts, CHAT),
    )
    lines, left_out = build(
        read_pairs(args.manifest, args.units),
        [row for path in args.parallel for row in read_jsonl(path)],
        [row for path in args.pseudo for row in read_jsonl(path)],
        settings,
    )
    write_jsonl(args.out, lines)
    print(f"{args.out}: {len(lines)} lines ({report(count_blocks(lines))}); left out: {report(left_out) or 'none'}")
    return 0


if __name__ == "__main__":
    run_main(main)
