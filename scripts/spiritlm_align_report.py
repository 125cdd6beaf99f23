"""How far word times are from the true ones, and how well the CTC model hears: a folder of measures.

    python scripts/spiritlm_align_report.py --manifest test/manifest.jsonl --words aligned/words.jsonl \
        --truth test/words.jsonl --transcripts heard/transcripts.jsonl --name test --out measures
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main
from spire.manifest import read_manifest
from spiritlm.alignment.errors import alignment_measures, hearing_measures
from spiritlm.alignment.words import read_words
from spiritlm.evaluation.measures import write_measures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--words", type=Path, help="of spiritlm_align.py")
    parser.add_argument("--truth", type=Path, help="the same with true times; left out where there is no such file")
    parser.add_argument("--transcripts", type=Path, help="of spiritlm_transcribe.py")
    parser.add_argument("--name", default="test", help="of the test set")
    parser.add_argument("--model", default="ctc", help="name of the model in the measures")
    parser.add_argument("--language", default="en", help="of the texts, for normalization")
    parser.add_argument("--seed", type=int, default=1, help="of the bootstrap")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    utterances = read_manifest(args.manifest)
    measures = []
    if args.words and args.truth and args.truth.exists():
        times = [list(read_words(path)) for path in (args.words, args.truth)]
        measures += alignment_measures(*times, args.model, args.name, args.seed)
    if args.transcripts:
        from spiritlm.alignment.lines import read_transcripts

        heard = read_transcripts(args.transcripts, [u.id for u in utterances])
        texts = [u.text for u in utterances]
        measures += hearing_measures(heard, texts, args.model, args.name, args.language, args.seed)
    if not measures:
        hint = "give --words and --truth, or --transcripts"
        raise UserError("nothing to measure: no true times and no transcripts", hint)
    write_measures(args.out, measures)
    for m in measures:
        print(f"{m.stem}: {m.value:.2f} [{m.ci_low:.2f}, {m.ci_high:.2f}], {m.n} utterances")
    return 0


if __name__ == "__main__":
    run_main(main)
