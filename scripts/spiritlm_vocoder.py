"""Train a unit vocoder adversarially: speech and its units to a folder that `Vocoder` and the tokenizers open.

    python scripts/spiritlm_vocoder.py --recipe configs/hifigan/mini.json --manifest speech/manifest.jsonl \
        --streams streams.jsonl --steps 1500 --lr 2e-3 --warm-up 0.6 --out vocoder
    python scripts/spiritlm_vocoder.py ... --expressive --recipe configs/hifigan/published.json --device cuda \
        --precision bf16 --steps 400000 --lr 2e-4 --schedule constant --warmup 0 --decay 0.999 --out vocoder

Streams may be those of a part of the manifest. The same command goes on after a kill.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)

    from spire.training.flags import checkpoint_folders
    from spire.training.settings import Settings
    from spiritlm.devices import device_named
    from spiritlm.vocoder.training import VocoderRun, train_vocoder

    args.device = device_named(args.device)
    settings = Settings(
        steps=args.steps,
        tokens_per_step=args.batch * args.frames,
        lr=args.lr,
        warmup=args.warmup,
        schedule=args.schedule,
        floor=args.floor,
        seed=args.seed,
        threads=args.threads,
        weight_decay=args.weight_decay,
        beta1=args.beta1,
        beta2=args.beta2,
        clip=args.clip,
        precision=args.precision,
        log_every=args.log_every,
    )
    run = VocoderRun(
        args.recipe,
        args.expressive,
        args.manifest,
        args.streams,
        settings,
        args.batch,
        args.frames,
        args.warm_up,
        args.envelope_first,
        args.discriminator_rate,
        args.decay,
        args.default_style,
        args.device,
        tuple(args.dev) if args.dev else None,
        args.dev_every,
    )
    own, earlier = checkpoint_folders(args)
    log = args.log or args.out.parent / "train_log.jsonl"
    named = tuple(map(Path, args.resume_from))
    train_vocoder(run, args.out, log, args.checkpoint_every, args.keep_checkpoints, (own, *earlier), named)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, required=True, help="sizes and losses: configs/hifigan/*.json")
    parser.add_argument("--manifest", type=Path, required=True, help="speech; its speaker and style fields are used")
    parser.add_argument("--streams", type=Path, required=True, help='JSONL of {"id", "hubert"[, "pitch", "style"]}')
    parser.add_argument("--expressive", action="store_true", help="condition on pitch and style units")
    parser.add_argument("--default-style", default="neutral", help="the style that is called conv-default (Base)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    group = parser.add_argument_group("recipe")
    group.add_argument("--steps", type=int, default=1500)
    group.add_argument("--batch", type=int, default=16, help="segments an update")
    group.add_argument("--frames", type=int, default=14, help="units of a segment, 40 ms each")
    group.add_argument("--warm-up", type=float, default=0.0, metavar="SHARE", help="steps without discriminators")
    group.add_argument(
        "--envelope-first", type=float, default=0.0, metavar="SHARE", help="steps of spectra only, before waveforms"
    )
    group.add_argument("--lr", type=float, default=2e-4, help="peak learning rate of AdamW")
    group.add_argument("--discriminator-rate", type=float, default=1.0, help="their learning rate, as a share of --lr")
    group.add_argument("--warmup", type=int, default=0, help="updates until the peak")
    group.add_argument("--schedule", choices=("wsd", "cosine", "linear", "constant"), default="constant")
    group.add_argument("--floor", type=float, default=0.02, help="share of --lr that falling schedules end at")
    group.add_argument("--decay", type=float, default=1.0, help="factor of the learning rate after each pass")
    group.add_argument("--weight-decay", type=float, default=0.01)
    group.add_argument("--beta1", type=float, default=0.8)
    group.add_argument("--beta2", type=float, default=0.99)
    group.add_argument("--clip", type=float, default=1000.0, help="largest gradient norm")
    group.add_argument("--seed", type=int, default=1)
    group.add_argument("--threads", type=int, default=1, help="CPU threads; part of the recipe, as sums round")
    group.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    group.add_argument("--device", default="cpu", help="cpu or cuda")
    group.add_argument("--log-every", type=int, default=25)
    parser.add_argument("--log", type=Path, help="default: train_log.jsonl beside --out")
    parser.add_argument("--dev", type=Path, nargs=2, metavar=("MANIFEST", "STREAMS"), help="held-out mel distance")
    parser.add_argument("--dev-every", type=int, default=500, help="updates between its measurements")
    parser.add_argument("--checkpoint-every", default="10m", help='updates ("500") or time ("10m"); "0": none')
    parser.add_argument("--keep-checkpoints", type=int, default=2)
    parser.add_argument("--checkpoints", help="folder for them (default: OUT.checkpoints); deleted when the run ends")
    parser.add_argument("--resume-from", action="append", default=[], metavar="DIR", help="must hold a checkpoint")
    return parser


if __name__ == "__main__":
    run_main(main)
