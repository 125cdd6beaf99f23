"""Score resynthesized speech against the original: mel distance, WER, F0 frame error, style kept, bits a second.

    python scripts/spiritlm_resynthesis_scores.py --audio original=DIR base=DIR shuffled=DIR \
        --transcripts original=FILE base=FILE shuffled=FILE --f0 original=DIR base=DIR shuffled=DIR \
        --units base=500 expressive=500,64,100 --out measures

Folders are those of spiritlm_resynthesize.py on the same streams, `original` among them. Transcripts (of
spiritlm_transcribe.py), pitch (of spiritlm_f0.py) and sizes may be given for some sources only, or not at all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main
from spiritlm.evaluation.measures import write_measures
from spiritlm.pitch.f0_files import F0Folder
from spiritlm.vocoder.scores import (
    bits_measure,
    f0_measures,
    mel_measure,
    same_utterances,
    style_measure,
    wer_measure,
)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in (
        ("audio", "folder with manifest.jsonl"),
        ("transcripts", 'JSONL of {"id", "text"}'),
        ("f0", "folder of pitch contours"),
        ("units", "how many phonetic[,pitch,style] units there are"),
    ):
        parser.add_argument(f"--{name}", nargs="+", default=[], metavar="SOURCE=VALUE", help=what)
    parser.add_argument("--style", type=Path, help="folder of a style encoder")
    parser.add_argument("--seed", type=int, default=1, help="of the intervals")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    folders = {name: Path(value) for name, value in _named(args.audio, "--audio").items()}
    if "original" not in folders:
        raise UserError("--audio names no original", hint="--audio original=DIR base=DIR")
    given = {option: _named(getattr(args, option), f"--{option}") for option in ("transcripts", "f0", "units")}
    unknown = sorted({name for values in given.values() for name in values} - set(folders))
    if unknown:
        raise UserError(f"no audio of {unknown[0]!r}", hint="name it in --audio")
    found = same_utterances(folders)
    measures = []
    for name, utterances in found.items():
        if name != "original":
            measures.append(mel_measure(name, found["original"], utterances, args.seed))
        if name in given["transcripts"]:
            measures.append(wer_measure(name, utterances, given["transcripts"][name], args.seed))
        if name in given["units"]:
            sizes = [int(size) for size in given["units"][name].split(",")]
            measures.append(bits_measure(name, sizes, len(utterances)))
        if name in given["f0"] and name != "original" and "original" in given["f0"]:
            measures += f0_measures(name, F0Folder(given["f0"]["original"]), F0Folder(given["f0"][name]), args.seed)
    if args.style:
        measures += _styles(args.style, found, args.seed)
    write_measures(args.out, measures)
    for m in measures:
        bounds = "" if m.ci_low is None else f" ({m.ci_low:.2f} to {m.ci_high:.2f})"
        print(f"{m.test_set:20} {m.metric:16} {m.value:8.2f}{bounds}")
    return 0


def _styles(folder: Path, found: dict, seed: int) -> list:
    from spire.audio import load_utterance
    from spiritlm.style import StyleTokenizer

    encoder = StyleTokenizer(folder)
    units = {name: [encoder.units(load_utterance(u)).tolist() for u in many] for name, many in found.items()}
    kept = (style_measure(name, units["original"], units[name], seed) for name in found if name != "original")
    return [measure for measure in kept if measure]


def _named(values: list[str], option: str) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    wrong = [name for name, sign, value in pairs if not (name and sign and value)]
    if wrong or len({name for name, _, _ in pairs}) < len(pairs):
        raise UserError(f"{option}: {' '.join(values)}", hint="SOURCE=VALUE, each source once")
    return {name: value for name, _, value in pairs}


if __name__ == "__main__":
    run_main(main)
