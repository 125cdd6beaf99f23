"""Train the linear CTC quantizer: units of k-means that stay the same under noise, rooms, tempo and pitch.

    python scripts/spiritlm_quantizer.py --hubert mhubert.pt --teacher kmeans.pt --manifest speech/manifest.jsonl \
        --out quantizer.pt

The teacher may also be an earlier quantizer, for another round of pseudo-labels. The file has the release's form; the
same command goes on after a stop, from its last whole round.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from spire.errors import run_main
from spire.manifest import read_manifest
from spire.textfiles import write_jsonl
from spire.training.flags import checkpoint_folders
from spire.training.snapshots import Checkpoints, Interval
from spiritlm.devices import device_named
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.phonetic.hubert_files import write_linear
from spiritlm.phonetic.quantizer import open_quantizer
from spiritlm.phonetic.quantizer_training import QuantizerTraining, train_quantizer


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    args.device = device_named(args.device)
    torch.set_num_threads(args.threads)
    settings = QuantizerTraining(
        rounds=args.rounds,
        pool=args.pool,
        updates=args.updates,
        batch=args.batch,
        peak_rate=args.rate,
        plain=args.plain,
        seconds=args.seconds,
        device=args.device,
        seed=args.seed,
    )
    hubert, teacher = Hubert25(args.hubert, device=args.device), open_quantizer(args.teacher, device=args.device)
    files = (args.hubert, args.teacher, *args.manifest)
    known = {"files": [hashlib.sha256(path.read_bytes()).hexdigest() for path in files], "settings": asdict(settings)}
    own, earlier = checkpoint_folders(args)
    checkpoints = Checkpoints(own, lambda: known, Interval.parse(args.checkpoint_every), earlier=earlier)
    utterances = [utterance for path in args.manifest for utterance in read_manifest(path)]
    layers, curve = train_quantizer(
        utterances, hubert, teacher, teacher.vocabulary, settings, checkpoints, args.workers
    )
    write_linear(args.out, layers, teacher.vocabulary, hubert.dim)
    if args.log:
        write_jsonl(args.log, curve)
    shutil.rmtree(own, ignore_errors=True)
    print(f"{teacher.vocabulary} units and a blank, loss {curve[-1]['loss']} a unit in the last round")
    return 0


def _parser() -> argparse.ArgumentParser:
    plain = QuantizerTraining()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hubert", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="k-means or quantizer, in the release's form")
    parser.add_argument("--manifest", type=Path, action="extend", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=plain.rounds, help="pools of recordings")
    parser.add_argument("--pool", type=int, default=plain.pool, help="recordings a round")
    parser.add_argument("--updates", type=int, default=plain.updates, help="updates a round")
    parser.add_argument("--batch", type=int, default=plain.batch, help="recordings an update")
    parser.add_argument("--rate", type=float, default=plain.peak_rate, help="peak learning rate")
    parser.add_argument("--plain", type=float, default=plain.plain, help="share of recordings that stay as they are")
    parser.add_argument("--seconds", type=float, default=plain.seconds, help="longest stretch of a recording")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=plain.seed)
    parser.add_argument("--workers", type=int, default=0, help="processes that decode audio ahead")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--checkpoint-every", default="10m", help='"5" (rounds), "10m", or "0" (never)')
    parser.add_argument("--checkpoints", help="folder for them (default: OUT.checkpoints); deleted at the end")
    parser.add_argument("--log", type=Path, help="JSONL file: the losses")
    parser.add_argument("--out", type=Path, required=True, help="file in the release's form")
    return parser


if __name__ == "__main__":
    run_main(main)
