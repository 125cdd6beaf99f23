"""Write down what is said in the audio of a manifest: OUT/transcripts.jsonl, {"id", "text"} in its order.

    python scripts/spiritlm_transcribe.py --manifest resynthesized/manifest.jsonl --model out/ctc --out out/heard

The model is any HubertForCTC or Wav2Vec2ForCTC folder; the likeliest letter of each frame is taken. An utterance that
cannot be read has an empty text and a "reason". Parts as in spiritlm_align.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.datasets.shards import Shard, parse_shard
from spire.errors import run_main
from spiritlm.alignment.corpus import Transcribed
from spiritlm.alignment.ctc_model import CtcModel
from spiritlm.alignment.lines import transcribed_lines
from spiritlm.alignment.part import run_part


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder of a CTC model in Hugging Face form")
    parser.add_argument("--language", help="of the letters, where the model's vocabulary has several")
    parser.add_argument("--shard", type=parse_shard, default=Shard(), help="part i/n of the corpus, i from 1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that decode audio ahead")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    model = CtcModel(args.model, args.language, args.threads, args.device, args.dtype)
    corpus = Transcribed(args.manifest, args.shard)
    record = run_part(
        "transcripts", corpus, args.shard, model.identity, transcribed_lines(model, args.workers), args.out
    )
    print(f"{record.counts['utterances']} utterances, {record.counts['failed']} unreadable")
    return 0


if __name__ == "__main__":
    run_main(main)
