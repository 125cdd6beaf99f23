"""Speak sentences with espeak-ng voices: 16 kHz WAV files and a manifest with translations and phone times.

    python scripts/speech_synthesize.py --sentences out/sentences/speech_test.jsonl --voices configs/voices.json \
        --split unseen --seed 1 --cache .cache/speech --jobs 2 --out out/unseen
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.speech.sentences import read_sentences
from spire.speech.synthesis import SPLITS, read_voices, synthesize


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=Path, required=True, help="speech_*.jsonl of data_sentences.py")
    parser.add_argument("--voices", type=Path, required=True, help="configs/voices.json")
    parser.add_argument("--split", required=True, choices=SPLITS, help="decides about the voices")
    parser.add_argument("--translated", type=int, help="train: how many utterances keep translations (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, required=True, help="may be shared by runs, and deleted at any time")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    parser.add_argument("--out", type=Path, required=True, help="folder for manifest.jsonl and audio/")
    args = parser.parse_args(argv)
    utterances = synthesize(
        read_sentences(args.sentences),
        read_voices(args.voices),
        args.split,
        args.out,
        args.cache,
        args.seed,
        args.translated,
        args.jobs,
    )
    seconds = sum(utterance.duration for utterance in utterances)
    speakers = len({utterance.speaker for utterance in utterances})
    translated = sum(bool(utterance.translations) for utterance in utterances)
    print(f"{len(utterances)} utterances, {seconds:.0f} s, {speakers} voices, {translated} with translations")
    return 0


if __name__ == "__main__":
    run_main(main)
