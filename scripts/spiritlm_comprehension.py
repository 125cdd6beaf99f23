"""Likelihood tests of a model: accuracy, raw and by token, of every test set of a folder; in parts if wanted.

    python scripts/spiritlm_comprehension.py --model model --name base --items items --scores scores --out measures
    python scripts/spiritlm_comprehension.py --model model --name base --items items --backend vllm --precision bf16 \
        --part 2/8 --scores scores2
    python scripts/spiritlm_comprehension.py --name base --items items --join scores1 scores2 --out measures
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spire.datasets.shards import Shard, parse_shard
from spire.decoding.jobs import model_digest
from spire.errors import UserError, run_main
from spire.files import replaced_folder
from spire.progress import Progress
from spiritlm.evaluation.comprehension import measures_of, score_test_sets, share_of, write_scores
from spiritlm.evaluation.items import read_test_sets
from spiritlm.evaluation.joining import IDENTITY, joined_scores, write_identity
from spiritlm.evaluation.likelihood import BACKENDS, DTYPES, open_scorer
from spiritlm.evaluation.measures import write_measures
from spiritlm.evaluation.sequences import Sequences


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=Path, required=True, help="folder of <test_set>.<direction>.jsonl")
    parser.add_argument("--tests", nargs="+", default=[], help="only these, as wuggy or tsc.s-t (default: all)")
    parser.add_argument("--name", required=True, help="of the model, in the measures")
    parser.add_argument("--model", type=Path, help="folder of a SpiRit-LM language model")
    parser.add_argument("--backend", choices=BACKENDS, default="native")
    parser.add_argument("--precision", choices=DTYPES, default="fp32")
    parser.add_argument("--device", default="auto", help="of transformers: cpu, cuda, cuda:1")
    parser.add_argument("--tokens", type=int, default=8192, help="of transformers: places of a batch")
    parser.add_argument("--tensor-parallel", type=int, default=1, help="of vllm: GPUs of one model")
    parser.add_argument("--fit", action="store_true", help="leave out examples of few-shot prompts that are too long")
    parser.add_argument("--part", type=parse_shard, default=Shard(), help="i/n: this part of the pairs; no measures")
    parser.add_argument("--join", nargs="+", type=Path, default=[], metavar="SCORES", help="folders of all parts")
    parser.add_argument("--scores", type=Path, help="folder for the log-likelihood of every item")
    parser.add_argument("--out", type=Path, help="folder for the measures")
    args = parser.parse_args(argv)
    part = args.part.parts > 1
    if bool(args.join) == bool(args.model):
        raise UserError("give --model to score, or --join with the scores of all parts")
    if (part and args.out) or not (args.out or args.scores) or (args.join and not args.out):
        raise UserError("--scores for a part, --out for measures", hint="parts are joined with --join")
    tests = read_test_sets(args.items, args.tests)
    if args.join:
        scores, identity = joined_scores(args.join, tests)
        found = [m for t in tests for m in measures_of(args.name, t, scores[t.file], identity)]
    else:
        found = score(args, tests, part)
    if args.out:
        write_measures(args.out, found)
    for m in found:
        print(f"{m.test_set} {m.direction} {m.metric}: {m.value:.1f} [{m.ci_low:.1f}, {m.ci_high:.1f}] of {m.n}")
    return 0


def score(args: argparse.Namespace, tests: list, part: bool) -> list:
    """Score the test sets, or a part of each, write the scores, and return the measures of what is whole."""
    settings = {"precision": args.precision, "device": args.device, "tokens": args.tokens}
    scorer = open_scorer(args.backend, args.model, **settings, tensor_parallel=args.tensor_parallel)
    model = model_digest(args.model) if args.scores else ""
    sequences = Sequences(scorer.vocabulary, str(args.model))
    tests = [share_of(t, args.part.part, args.part.parts) for t in tests] if part else tests
    with Progress("comprehension", unit="endings") as progress:
        scores = score_test_sets(tests, scorer, sequences, args.fit, progress.advance)
    for test, found in zip(tests, scores, strict=True):
        if dropped := sum(score.dropped > 0 for score in found):
            print(f"warning: {test.file}: {dropped} items were shortened to fit", file=sys.stderr)
    if args.scores:
        with replaced_folder(args.scores) as partial:
            for test, found in zip(tests, scores, strict=True):
                write_scores(partial / test.file, test, found)
            write_identity(partial / IDENTITY, scorer.identity, args.part, model)
    if part:
        return []
    return [m for t, s in zip(tests, scores, strict=True) for m in measures_of(args.name, t, s, scorer.identity)]


if __name__ == "__main__":
    run_main(main)
