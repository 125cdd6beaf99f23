"""Track the pitch of a corpus: f0 and voicing at 200 Hz of every utterance of a manifest, by FCPE or YAAPT.

    python scripts/spiritlm_f0.py --manifest speech/manifest.jsonl --backend fcpe --out f0

A share of it, drawn by --seed, is enough to train the pitch quantizer; a large corpus goes in parts, each a folder:

    python scripts/spiritlm_f0.py --manifest manifest.jsonl --backend pyaapt --seconds 36000 --part 3/16 --out f0.3
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.datasets.shards import parse_shard
from spire.errors import run_main
from spiritlm.pitch.f0_files import F0Folder
from spiritlm.pitch.track import BACKENDS, track


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--backend", choices=BACKENDS, default="fcpe")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="track utterances that last so long together (0: all)"
    )
    parser.add_argument("--seed", type=int, default=1, help="which, with --seconds")
    parser.add_argument("--part", type=parse_shard, default="1/1", metavar="I/N", help="only part I of N")
    parser.add_argument("--device", default="cpu", help="of FCPE: cpu or cuda")
    parser.add_argument("--fcpe-weights", type=Path, help="default: those of the installed package torchfcpe")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    shard = args.part
    count = track(
        args.manifest,
        args.out,
        args.backend,
        args.seconds,
        args.seed,
        shard.part,
        shard.parts,
        args.device,
        args.fcpe_weights,
    )
    voiced = [item.voicing.mean() for item in F0Folder(args.out) if len(item.voicing)]
    print(f"{count} utterances by {args.backend}, {sum(voiced) / max(1, len(voiced)):.1%} of their frames voiced")
    return 0


if __name__ == "__main__":
    run_main(main)
