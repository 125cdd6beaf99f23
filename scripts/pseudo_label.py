"""Translate the transcripts that have no translation with the base model, score the translations, keep the better ones.

python scripts/pseudo_label.py --model base/ --manifest train/manifest.jsonl --targets de,fr --keep-share 0.8 --out
pseudo.jsonl

Writes {"id", "lang", "text", "score"} a line; the score is the dual cross-entropy of src/spire/decoding/pseudo.py.
"""

from __future__ import annotations

import argparse
import sys
import time

from spire.errors import UserError, run_main


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="base model directory")
    parser.add_argument("--manifest", required=True, help="training speech")
    parser.add_argument("--targets", default="de,fr", help="languages to translate into (default de,fr)")
    parser.add_argument("--keep-share", type=float, default=0.8, help="share of translations kept in each language")
    parser.add_argument("--min-score", type=float, default=0.0, help="and none below this score")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--rows", type=int, default=256, help="sentences a batch; does not change the labels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", required=True, help="JSONL to write")
    args = parser.parse_args(argv)
    if not 0 < args.keep_share <= 1:
        raise UserError(f"--keep-share {args.keep_share} is not in (0, 1]")

    import torch

    from spire.decoding.pseudo import METHOD, distribution, keep_best, translate, untranslated
    from spire.manifest import read_manifest
    from spire.textfiles import write_jsonl
    from spire.training.checkpoint import load_model
    from spire.training.cpu import keep_freed_memory
    from spire.vocabulary.tokenizer import Vocabulary

    torch.set_num_threads(args.threads)
    keep_freed_memory()
    started = time.process_time()
    utterances = read_manifest(args.manifest)
    vocabulary = Vocabulary.load(args.model)
    model = load_model(args.model)
    rows = []
    for target in args.targets.replace(",", " ").split():
        items = untranslated(utterances, target)
        if not items:
            print(f"{target}: every utterance has a translation", file=sys.stderr)
            continue
        labels = translate(model, vocabulary, items, target, args.max_new_tokens, args.rows)
        kept = keep_best(labels, args.keep_share, args.min_score)
        spread = " ".join(f"{name} {value:.3f}" for name, value in distribution(labels).items())
        lowest = min((label.score for label in kept), default=0.0)
        print(
            f"{target}: {len(items)} texts, {len(labels)} translated, {len(kept)} kept, {METHOD} >= {lowest:.3f}; "
            f"{spread}; {time.process_time() - started:.1f} CPU s so far",
            file=sys.stderr,
            flush=True,
        )
        rows += [{"id": x.id, "lang": x.lang, "text": x.text, "score": x.score} for x in kept]
    write_jsonl(args.out, rows)
    return 0


if __name__ == "__main__":
    run_main(main)
