"""Flags that the training scripts share, and what they stand for."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from spire.errors import UserError


def add_recipe_flags(parser: argparse.ArgumentParser, lr: float, tokens_per_step: int, steps: int, warmup: int) -> None:
    """The flags of `Settings` with this stage's defaults, and those of `add_run_flags`."""
    group = parser.add_argument_group("recipe")
    group.add_argument("--steps", type=int, default=steps, help=f"updates (default {steps})")
    group.add_argument("--tokens-per-step", type=int, default=tokens_per_step, help="real tokens an update, at most")
    group.add_argument("--lr", type=float, default=lr, help=f"peak learning rate of AdamW (default {lr:g})")
    group.add_argument("--warmup", type=int, default=warmup, help=f"updates until the peak (default {warmup})")
    group.add_argument("--schedule", choices=("wsd", "cosine", "linear", "constant"), default="wsd")
    group.add_argument(
        "--floor", type=float, default=0.02, help="share of --lr that the schedule ends at (default 0.02)"
    )
    group.add_argument("--weight-decay", type=float, default=0.05)
    group.add_argument("--beta2", type=float, default=0.98, help="of AdamW (default 0.98)")
    group.add_argument("--clip", type=float, default=1.0, help="largest gradient norm")
    group.add_argument("--seed", type=int, default=1)
    group.add_argument(
        "--threads", type=int, default=1, help="CPU threads; part of the recipe, as sums round differently"
    )
    group.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="operands of matrix products"
    )
    group.add_argument("--max-length", type=int, default=1024, help="longer lines are left out and counted")
    group.add_argument("--log-every", type=int, default=25, help="updates between lines of the log")
    parser.add_argument("--log", help="training log to write (default: train_log.jsonl beside --out)")
    add_run_flags(parser)
    add_engine_flags(parser)


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Which engine computes, and the settings of the scaled one (`spire.training.scaled`)."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--engine",
        choices=("native", "scaled"),
        default="native",
        help="native: one CPU process (default); scaled: transformers on GPUs, started once or by torchrun",
    )
    group.add_argument("--epochs", type=float, default=0, help="scaled: passes over the corpus, instead of --steps")
    group.add_argument("--sequence-length", type=int, default=4096, help="scaled: tokens of a packed row")
    group.add_argument("--rows", type=int, default=1, help="scaled: rows that a GPU computes at a time")
    group.add_argument("--no-activation-checkpointing", action="store_true", help="scaled: more memory, less time")
    group.add_argument("--keep-gathered", action="store_true", help="scaled: gather weights once a step, not twice")
    group.add_argument("--compile", action="store_true", help="scaled: torch.compile of each layer")
    group.add_argument("--liger", choices=("auto", "on", "off"), default="auto", help="scaled: fused kernels on a GPU")
    group.add_argument(
        "--attention", choices=("auto", "varlen", "flex", "sdpa"), default="auto", help="scaled: form of attention"
    )


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Evaluation on held-out lines, checkpoints, TensorBoard, --estimate: nothing here changes an update."""
    group = parser.add_argument_group("evaluation")
    group.add_argument("--eval", help="held-out corpus, of the same form as --corpus")
    group.add_argument("--eval-every", type=int, default=100, help="updates between evaluations (default 100)")
    group.add_argument("--eval-log", help="log of the evaluations (default: eval_log.jsonl beside --out)")
    group.add_argument(
        "--patience", type=int, default=0, help="stop after so many evaluations without a better loss (default: never)"
    )
    group.add_argument("--keep-best", action="store_true", help="end with the weights of the best evaluation")
    group = parser.add_argument_group("checkpoints")
    group.add_argument(
        "--checkpoint-every", default="10m", help='updates ("500") or time ("10m", the default); "0": none'
    )
    group.add_argument("--keep-checkpoints", type=int, default=2, help="the newest so many (default 2)")
    group.add_argument("--checkpoints", help="folder for them (default: OUT.checkpoints); deleted when the run ends")
    group.add_argument(
        "--resume-from",
        action="append",
        default=[],
        metavar="DIR",
        help="folder of checkpoints to go on from, beside one's own and those of earlier attempts (DUCTTAPE_PREVIOUS)",
    )
    parser.add_argument("--tensorboard", metavar="DIR", help="write event files, too (needs the package tensorboard)")
    parser.add_argument("--estimate", action="store_true", help="print what the run costs, and end")


def settings_from(args: argparse.Namespace, unit_weight: float = 1.0):
    from spire.training.settings import Settings

    return Settings(
        steps=args.steps,
        tokens_per_step=args.tokens_per_step,
        lr=args.lr,
        warmup=args.warmup,
        schedule=args.schedule,
        seed=args.seed,
        threads=args.threads,
        unit_weight=unit_weight,
        weight_decay=args.weight_decay,
        beta2=args.beta2,
        floor=args.floor,
        clip=args.clip,
        precision=args.precision,
        log_every=args.log_every,
    )


def check_run_flags(args: argparse.Namespace) -> None:
    """Raises UserError for evaluation flags that cannot be meant."""
    if args.eval_every < 1 or args.patience < 0:
        raise UserError("--eval-every must be at least 1, --patience at least 0")
    if not args.eval and (args.patience or args.keep_best):
        raise UserError(
            f"{'--patience' if args.patience else '--keep-best'} needs held-out lines",
            hint="give --eval FILE, a corpus of the form of --corpus",
        )
    if args.eval and not Path(args.eval).is_file():
        raise UserError(f"no corpus at {args.eval}", hint="scripts/corpus_*.py write corpora")
    for folder in args.resume_from:
        if not Path(folder).is_dir():
            raise UserError(f"--resume-from {folder}: no such folder", hint="checkpoints lie in OUT.checkpoints")


def checkpoint_folders(args: argparse.Namespace) -> tuple[Path, tuple[Path, ...]]:
    """(this run's folder of checkpoints, those of earlier attempts): the latter have the same name, in the directories
    that DUCTTAPE_PREVIOUS has, one a line.
    """
    own = Path(args.checkpoints or f"{os.fspath(args.out).rstrip('/')}.checkpoints")
    attempts = os.environ.get("DUCTTAPE_PREVIOUS", "").splitlines()
    return own, tuple(Path(line) / own.name for line in attempts if line.strip())
