"""Train a small HuBERT with a CTC head on transcribed speech: an aligner and recognizer in Hugging Face form.

    python scripts/spiritlm_ctc.py --manifest out/train/manifest.jsonl --steps 1800 --out out/ctc

A run that was killed goes on from its newest checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from spire.errors import UserError, run_main

# One long convolution that begins as a filter bank, two that see 140 ms, two transformer layers, 50 frames a second.
MINI = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "conv_dim": [160, 128, 128],
    "conv_kernel": [400, 4, 3],
    "conv_stride": [160, 2, 1],
}


def main(argv: list[str] | None = None) -> int:
    from spire.training.settings import PRECISIONS, Settings
    from spire.units.hubert import HubertShape
    from spiritlm.alignment.letters import ENGLISH
    from spiritlm.alignment.training import Recipe, train_ctc
    from spiritlm.devices import device_named

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help="with texts; numbers written as words")
    parser.add_argument("--alphabet", default=ENGLISH, help=f"letters that texts are written in (default: {ENGLISH})")
    parser.add_argument("--config", type=Path, help="sizes that differ, named as in a HuBERT config.json")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--frames", type=int, default=600, help="of 20 ms, in a batch at most")
    parser.add_argument("--lr", type=float, default=4e-3, help="peak learning rate of AdamW")
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--masked", type=float, default=0.0, help="share of frames that are hidden in training")
    parser.add_argument("--no-augmentation", action="store_true", help="learn from audio as it is")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the linear layers' products")
    parser.add_argument("--log", type=Path, help="default: train_log.jsonl beside --out")
    parser.add_argument("--checkpoint-every", default="10m", help='updates ("500") or time ("10m"); "0": none')
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    args = parser.parse_args(argv)
    args.device = device_named(args.device)
    shape = HubertShape.from_config(asdict(HubertShape()) | MINI | _sizes(args.config), str(args.config))
    settings = Settings(
        steps=args.steps,
        tokens_per_step=args.frames,
        lr=args.lr,
        warmup=args.warmup,
        schedule="linear",
        seed=args.seed,
        threads=args.threads,
        weight_decay=0.01,
        precision=args.precision,
        log_every=50,
    )
    own = args.out.with_name(args.out.name + ".checkpoints")
    attempts = os.environ.get("DUCTTAPE_PREVIOUS", "").splitlines()
    record = train_ctc(
        args.manifest,
        shape,
        settings,
        Recipe(not args.no_augmentation, args.masked),
        args.out,
        args.log or args.out.with_name("train_log.jsonl"),
        own,
        tuple(Path(line) / own.name for line in attempts if line.strip()),
        args.checkpoint_every,
        args.device,
        args.alphabet,
    )
    print(f"loss {record['loss']} a letter, {record['epochs']} epochs begun, {record['cpu_seconds']} CPU s")
    return 0


def _sizes(path: Path | None) -> dict:
    if path is None:
        return {}
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise UserError(f"{path}: not JSON: {e}", hint="sizes are named as in a HuBERT config.json") from e
    if not isinstance(given, dict):
        raise UserError(f"{path}: not a JSON object", hint="sizes are named as in a HuBERT config.json")
    return given


if __name__ == "__main__":
    run_main(main)
