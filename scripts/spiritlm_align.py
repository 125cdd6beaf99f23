"""Find the times of the words of transcribed speech, by a CTC model or from files that others made.

    python scripts/spiritlm_align.py --manifest train/manifest.jsonl --model out/ctc --out out/aligned
    python scripts/spiritlm_align.py --manifest train/manifest.jsonl --alignments mfa_output --out out/aligned

The model is any HubertForCTC or Wav2Vec2ForCTC folder. The alignments are a folder of TextGrid files, a .ctm or a
.jsonl file. Written is OUT/words.jsonl, a line an utterance in the order of the manifest:
{"id", "words": [[word, start, end], ...]}, or no words and a "reason". One of many jobs does its part with
--shard 3/128 (OUT/words.00003-of-00128.jsonl) and goes on after a kill; spiritlm_align_join.py joins the parts.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from spire.datasets.shards import Shard, parse_shard
from spire.errors import UserError, run_main
from spiritlm.alignment.corpus import Transcribed
from spiritlm.alignment.part import run_part


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help="with texts")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--model", type=Path, help="folder of a CTC model in Hugging Face form")
    way.add_argument("--alignments", type=Path, help="folder of TextGrid files, .ctm or .jsonl")
    parser.add_argument("--language", help="of the letters, where the model's vocabulary has several")
    parser.add_argument("--tier", default="words", help="of TextGrid files")
    parser.add_argument("--most-failed", type=float, default=0.5, help="share of utterances without times allowed")
    parser.add_argument("--shard", type=parse_shard, default=Shard(), help="part i/n of the corpus, i from 1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that decode audio ahead")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    corpus = Transcribed(args.manifest, args.shard)
    if args.model:
        from spiritlm.alignment.ctc_model import CtcModel
        from spiritlm.alignment.lines import aligned_lines

        model = CtcModel(args.model, args.language, args.threads, args.device, args.dtype)
        identity, lines = model.identity, aligned_lines(model, args.workers)
    else:
        from spiritlm.alignment.foreign_words import ForeignWords
        from spiritlm.alignment.lines import foreign_lines

        words = ForeignWords(args.alignments, {u.id for u in corpus.utterances()}, args.tier)
        identity = {"alignments": _digest(args.alignments), "tier": args.tier}
        lines = foreign_lines(words)
    record = run_part("words", corpus, args.shard, identity, lines, args.out)
    total, failed = record.counts["utterances"], record.counts["failed"]
    print(f"{total} utterances, {failed} without times")
    if failed > args.most_failed * total:
        file = args.out / f"{args.shard.stem('words')}.jsonl"
        raise UserError(
            f"{failed} of {total} utterances got no times", f'the "reason" is in {file}; or --most-failed 1'
        )
    return 0


def _digest(path: Path) -> str:
    """Of a file's bytes, or of the names, sizes and times of the files of a folder."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    files = sorted(p for p in path.rglob("*") if p.is_file())
    listed = "\n".join(f"{p.relative_to(path)}\t{p.stat().st_size}\t{p.stat().st_mtime_ns}" for p in files)
    return hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()[:16]


if __name__ == "__main__":
    run_main(main)
