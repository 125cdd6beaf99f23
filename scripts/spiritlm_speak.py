"""Speak stories, or any rows of text, in styles with espeak-ng: WAV files, manifest.jsonl and words.jsonl.

    python scripts/spiritlm_speak.py --rows out/stories/test.jsonl --voices configs/spiritlm_voices.json --out speech

A row is {"id", "text", "speaker", "style"}, and the text may be a single word, as in tests of words and non-words; a
story is {"id", "sentences", "speaker", "style"} and gives an utterance for each sentence. `words.jsonl` has the true
times of the words.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spiritlm.speech.speaking import speak_rows
from spiritlm.speech.stories import read_rows
from spiritlm.speech.voices import read_cast


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, action="extend", nargs="+", required=True, help="JSONL files")
    parser.add_argument("--voices", type=Path, required=True, help="speakers and styles")
    parser.add_argument("--seed", type=int, default=1, help="of the jitter of voices")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    parser.add_argument("--out", type=Path, required=True, help="folder for manifest.jsonl, words.jsonl and audio/")
    args = parser.parse_args(argv)
    rows = [row for path in args.rows for row in read_rows(path)]
    utterances = speak_rows(rows, read_cast(args.voices), args.out, args.seed, args.jobs)
    seconds = sum(utterance.duration for utterance in utterances)
    print(f"{len(utterances)} utterances, {seconds:.0f} s, {len({u.speaker for u in utterances})} speakers")
    return 0


if __name__ == "__main__":
    run_main(main)
