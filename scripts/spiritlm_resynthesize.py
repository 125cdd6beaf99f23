"""Turn the units of a test set back into speech with its own timing: a folder of audio with a manifest.

    python scripts/spiritlm_resynthesize.py --vocoder vocoder --manifest speech/manifest.jsonl \
        --streams streams.jsonl --limit 160 --out resynthesized

Without --vocoder the originals are written, cut to whole units. Controls: --control other takes the phonetic units of
another utterance of the same speaker, --control order the same units in another order.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocoder", type=Path, help="folder with config.json and generator.pt")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--streams", type=Path, required=True, help="units of the manifest, or of some of its lines")
    parser.add_argument("--limit", type=int, default=0, help="so many utterances, spread evenly (0: all)")
    parser.add_argument("--control", choices=("none", "other", "order"), default="none")
    parser.add_argument("--style", default="conv-default", help="of Base: a name in styles.txt, or: true")
    parser.add_argument("--seed", type=int, default=1, help="of --control order")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    import torch

    from spiritlm.vocoder.resynthesis import resynthesize
    from spiritlm.vocoder.vocoder import Vocoder

    torch.set_num_threads(args.threads)
    vocoder = Vocoder(args.vocoder, args.device) if args.vocoder else None
    count = resynthesize(
        vocoder, args.manifest, args.streams, args.out, args.limit, args.control, args.style, args.seed
    )
    print(f"{count} utterances")
    return 0


if __name__ == "__main__":
    run_main(main)
