"""A published speech corpus as a manifest: fetched at one commit, verified, resumable; or joined from parallel jobs.

    python scripts/data_corpus.py --corpus configs/corpora/librispeech.yml --split test.clean --out out/librispeech
    python scripts/data_corpus.py --corpus configs/corpora/covost2_tables.yml --split test --target de \
        --source /data/cv-corpus-4/en --out out/covost
    python scripts/data_corpus.py --join out/part1 out/part2 --out out/whole
    python scripts/data_corpus.py --corpus configs/corpora/gigaspeech.yml --facts
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.datasets.catalog import CorpusFacts, read_facts
from spire.datasets.prepare import prepare
from spire.datasets.prepared import begun_commit, join
from spire.datasets.shards import parse_shard
from spire.datasets.sources import open_source
from spire.errors import UserError, run_main


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="description: configs/corpora/NAME.yml")
    parser.add_argument("--split", help="a split of the description")
    parser.add_argument("--target", default="", help="language of the translations, for corpora that have several")
    parser.add_argument("--source", type=Path, help="folder that holds the corpus already")
    parser.add_argument("--revision", default="", help="commit, branch or tag in place of the description's")
    parser.add_argument("--files", nargs="+", default=[], help="patterns of file names in place of the description's")
    parser.add_argument("--shard", default="1/1", help="this part of the files only: i/n, counted from 1")
    parser.add_argument("--limit", type=int, help="the first N usable utterances only")
    parser.add_argument("--stream", action="store_true", help="read tables over the network, unverified, keep no copy")
    parser.add_argument("--keep-source", action="store_true", help="leave the fetched files in OUT/.source")
    parser.add_argument("--facts", action="store_true", help="print licence, gate and page, and do nothing")
    parser.add_argument("--join", nargs="+", type=Path, metavar="DIR", help="folders of all shards, joined into one")
    parser.add_argument("--out", type=Path, help="folder for manifest.jsonl, corpus.json and audio/")
    args = parser.parse_args(argv)
    if args.facts and args.corpus:
        print_facts(read_facts(args.corpus))
        return 0
    if args.out is None or bool(args.join) == bool(args.corpus):
        raise UserError("give --corpus, --split and --out, or --join and --out", hint="--help shows examples")
    if args.join:
        report(join(args.join, args.out))
        return 0
    facts = read_facts(args.corpus)
    if not args.split:
        raise UserError(f"{facts.name}: no --split", hint="one of " + ", ".join(facts.splits))
    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit {args.limit}", hint="at least 1")
    revision = args.revision or facts.revision
    source = open_source(
        facts,
        args.split,
        args.target,
        args.source,
        revision,
        tuple(args.files),
        args.stream,
        begun_commit(args.out, facts.key, revision),
    )
    report(prepare(facts, source, args.out, parse_shard(args.shard), args.limit, args.keep_source))
    if source.commit and source.commit != revision:
        print(f"revision {revision} is {source.commit} now; to pin it: revision: {source.commit}")
    return 0


def print_facts(facts: CorpusFacts) -> None:
    """What a person should know before fetching."""
    for key in ("name", "licence", "gate", "page", "phase", "hours", "repository", "revision"):
        if value := getattr(facts, key):
            print(f"{key}: {value}")
    if facts.repository and not facts.pinned:
        print("pinned: no, the commit is found and written into corpus.json when it is fetched")
    print("splits: " + ", ".join(facts.splits))
    if facts.targets:
        print("targets: " + ", ".join(facts.targets))
    if facts.manual:
        print(f"by hand: {facts.manual}")


def report(summary: dict) -> None:
    """Counts of a finished corpus."""
    print(f"{summary['name']}, {summary['split']}: {summary['utterances']} utterances, {summary['hours']:.2f} h")
    for reason, count in sorted(summary["dropped"].items()):
        print(f"left out: {count}: {reason}")


if __name__ == "__main__":
    run_main(main)
