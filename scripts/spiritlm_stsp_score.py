"""Accuracy of STSP, over all ids: measures/, predictions/ and missing.txt, the items without a prediction.

    python scripts/spiritlm_stsp_score.py --stsp emov/ --generations gen_ss/ gen_st/ --speech-classifier speech/ \\
        --text-classifier text/ --name expressive --test-set emov --out scored/
    python scripts/spiritlm_stsp_score.py --stsp emov/ --predictions s-s=pred.jsonl --name mine --test-set emov --out o/

--prompts adds what the classifiers make of the prompts themselves (model prompt_classifier): an upper bound.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stsp", type=Path, required=True, help="folder of spiritlm_stsp_data.py")
    parser.add_argument("--generations", type=Path, nargs="*", default=[], help="of spiritlm_stsp_generate.py")
    parser.add_argument("--predictions", nargs="*", default=[], metavar="DIRECTION=FILE", help='{"id", "pred"} a line')
    parser.add_argument("--speech-classifier", type=Path, help="folder in Hugging Face form")
    parser.add_argument("--text-classifier", type=Path, help="folder in Hugging Face form")
    parser.add_argument("--prompts", action="store_true", help="classify the prompts too")
    parser.add_argument("--name", required=True, help="of the model")
    parser.add_argument("--test-set", required=True, help="name of the benchmark's part, such as emov")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=1, help="of the intervals")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    from spire.files import replaced_folder
    from spire.manifest import read_manifest
    from spire.textfiles import read_json, read_jsonl, write_lines
    from spiritlm.evaluation.measures import write_measures
    from spiritlm.stsp.classify import SpeechClassifier, TextClassifier
    from spiritlm.stsp.data import read_items
    from spiritlm.stsp.score import accuracy, predictions_of, write_predictions

    items = read_items(args.stsp)
    speech = SpeechClassifier(args.speech_classifier, args.device) if args.speech_classifier else None
    text = TextClassifier(args.text_classifier, args.device) if args.text_classifier else None
    scored = [
        (args.name, read_json(f / "setup.json"), predictions_of(f, items, speech, text)) for f in args.generations
    ]
    for pair in args.predictions:
        direction, _, path = pair.partition("=")
        scored.append((args.name, {"direction": direction}, [read_jsonl(Path(path))]))
    if args.prompts:
        of = {u.id: u for u in read_manifest(args.stsp / "manifest.jsonl")}
        heard, read = {"direction": "s-s"}, {"direction": "t-t"}
        if speech:
            rows = [{"id": i.id, "pred": speech.of([of[i.id].audio_path])[0]} for i in items]
            scored.append(("prompt_classifier", heard, [[row for row in rows if row["pred"]]]))
        # A test set without transcripts has no written prompts.
        if text and any(i.text for i in items):
            rows = [{"id": i.id, "pred": text.of([i.text])[0]} for i in items if i.text]
            scored.append(("prompt_classifier", read, [rows]))
    if not scored:
        raise UserError("nothing to score", hint="give --generations or --predictions")
    measures, missing = [], []
    with replaced_folder(args.out) as folder:
        (folder / "predictions").mkdir()
        for name, setup, runs in scored:
            measure, absent = accuracy(name, args.test_set, setup, items, runs, seed=args.seed)
            measures.append(measure)
            missing += [f"{name} {setup['direction']} {one}" for one in absent]
            if name == args.name:
                write_predictions(folder / "predictions", setup["direction"], runs)
        own = [m for m in measures if m.model == args.name]
        write_measures(folder / "measures", own)
        if others := [m for m in measures if m.model != args.name]:
            write_measures(folder / "measures_prompts", others)
        write_lines(folder / "missing.txt", missing)
    for m in measures:
        print(f"{m.model:20} {m.test_set} {m.direction}  {m.value:5.1f} %  [{m.ci_low:.1f}, {m.ci_high:.1f}]  n {m.n}")
    if missing:
        print(f"{len(missing)} predictions are missing and count as wrong: {args.out}/missing.txt")
    return 0


if __name__ == "__main__":
    run_main(main)
