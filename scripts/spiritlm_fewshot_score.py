"""Measures of few-shot answers: WER (asr), CER of transcripts (tts), exact match (ic).

    python scripts/spiritlm_fewshot_score.py --name base --answers answers/ --manifest manifest.jsonl --out out/
    python scripts/spiritlm_fewshot_score.py ... --answers spoken/ --heard heard/transcripts.jsonl

--limit says that only the first utterances of the manifest were asked.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from spire.errors import UserError, run_main


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="of the model")
    parser.add_argument("--answers", nargs="+", required=True, help="folders of spiritlm_fewshot.py")
    parser.add_argument("--manifest", nargs="+", required=True, help="the manifest of each")
    parser.add_argument("--heard", nargs="*", default=[], help="transcripts of each folder with speech, in order")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1, help="of the intervals")
    parser.add_argument("--out", required=True)
    args = parser.parse_args(argv)
    if len(args.manifest) != len(args.answers):
        raise UserError(f"{len(args.answers)} folders of answers and {len(args.manifest)} manifests")

    from spire.manifest import read_manifest, write_manifest
    from spire.textfiles import read_json
    from spiritlm.evaluation.measures import write_measures
    from spiritlm.fewshot.score import score

    heard = iter(args.heard)
    measures = []
    with tempfile.TemporaryDirectory() as scratch:
        for i, (folder, manifest) in enumerate(zip(args.answers, args.manifest, strict=True)):
            if args.limit:
                asked = Path(scratch) / f"{i}.jsonl"
                write_manifest(asked, read_manifest(manifest)[: args.limit])
                manifest = asked
            spoken = read_json(Path(folder) / "setup.json")["task"] == "tts"
            measures.append(score(args.name, folder, manifest, next(heard, None) if spoken else None, args.seed))
    write_measures(args.out, measures)
    for m in measures:
        print(f"{m.model:16} {m.stem:32} {m.value:6.1f}  [{m.ci_low:.1f}, {m.ci_high:.1f}]  n {m.n}")
    return 0


if __name__ == "__main__":
    run_main(main)
