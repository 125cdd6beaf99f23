"""What the training scripts share: flags of the recipe, and one run from a corpus to a model directory."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from spire.errors import UserError


def add_recipe_flags(parser: argparse.ArgumentParser, lr: float, tokens_per_step: int, steps: int, warmup: int) -> None:
    """The flags of `Settings`, with this stage's defaults."""
    group = parser.add_argument_group("recipe")
    group.add_argument("--steps", type=int, default=steps, help=f"updates (default {steps})")
    group.add_argument("--tokens-per-step", type=int, default=tokens_per_step, help="real tokens an update, at most")
    group.add_argument("--lr", type=float, default=lr, help=f"peak learning rate of AdamW (default {lr:g})")
    group.add_argument("--warmup", type=int, default=warmup, help=f"updates until the peak (default {warmup})")
    group.add_argument("--schedule", choices=("wsd", "cosine", "linear", "constant"), default="wsd")
    group.add_argument("--weight-decay", type=float, default=0.05)
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


def settings_from(args: argparse.Namespace, unit_weight: float = 1.0):
    from spire.training.trainer import Settings

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
        clip=args.clip,
        precision=args.precision,
        log_every=args.log_every,
    )


def run_training(
    label: str,
    args: argparse.Namespace,
    vocabulary,
    settings,
    model_of: Callable[[], object],
    eos: int,
    probe_of: Callable[[object], Callable[[int], str]] | None = None,
) -> None:
    """Tokenize args.corpus, announce, train, write args.out: a model directory with training.json.

    `model_of()` gives the starting model; `probe_of(model)` the function called after every step. Nothing is left at
    args.out when anything fails. Times go into the log only: the directory has the same bytes whenever the same run
    is repeated.
    """
    corpus_path, out = args.corpus, args.out
    from spire.training.checkpoint import new_directory, write_model
    from spire.training.data import tokenize
    from spire.training.log import JsonLines
    from spire.training.trainer import train

    if not Path(corpus_path).is_file():
        raise UserError(f"no corpus at {corpus_path}", hint="scripts/corpus_*.py write corpora")
    with new_directory(out) as folder:
        scratch = folder / "tokens"
        scratch.mkdir()
        corpus = tokenize(corpus_path, vocabulary, scratch, args.max_length)
        if int(corpus.tokens.max()) >= vocabulary.padded_size:
            raise UserError(f"{corpus_path}: token {int(corpus.tokens.max())} is outside the vocabulary")
        model = model_of()
        if model.shape.vocab_size < vocabulary.size:
            raise UserError(
                f"the model has {model.shape.vocab_size} embeddings, the vocabulary {vocabulary.size} ids",
                hint="extend the model with vocabulary_extend.py",
            )
        announce(label, corpus, model, settings)
        with JsonLines(args.log or Path(out).parent / "train_log.jsonl") as log:
            outcome = train(model, corpus, settings, log, label, probe_of(model) if probe_of else None)
        for file in sorted(scratch.iterdir()):
            file.unlink()
        scratch.rmdir()
        write_model(model, vocabulary, folder, eos)
        record = {
            "stage": label,
            "settings": asdict(settings),
            "parameters": sum(p.numel() for p in model.parameters()),
            "lines": len(corpus),
            "lines_dropped": corpus.dropped,
            "corpus_tokens": int(corpus.offsets[-1]),
            "outcome": {k: v for k, v in asdict(outcome).items() if not k.endswith("_seconds")},
        }
        (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(
        f"{label}: loss {outcome.loss:.3f}, {outcome.tokens:,} tokens, {outcome.epochs} epochs begun, "
        f"{outcome.cpu_seconds:.0f} CPU s, {outcome.tokens / max(outcome.cpu_seconds, 1e-9):,.0f} tokens/CPU s",
        file=sys.stderr,
    )


def announce(label: str, corpus, model, settings) -> None:
    """Size of the run, on stderr, before it starts."""
    from spire.training.trainer import choose_dtype

    tokens = int(corpus.offsets[-1])
    planned = settings.steps * settings.tokens_per_step
    parameters = sum(p.numel() for p in model.parameters())
    dtype, reason = choose_dtype(settings.precision)
    # 6 operations a parameter and token; an AVX-512 core does about 80 (fp32) or 150 (bf16) thousand million a second
    # all told.
    seconds = 6 * parameters * planned / (75e9 if str(dtype).endswith("float32") else 140e9)
    print(
        f"{label}: {len(corpus):,} lines, {tokens:,} tokens in {', '.join(corpus.blocks)}"
        + (f", {corpus.dropped} lines too long" if corpus.dropped else "")
        + f"\n{label}: {parameters:,} parameters, {settings.steps:,} steps x {settings.tokens_per_step:,} tokens "
        f"= {planned:,} ({planned / tokens:.1f} epochs), products in {str(dtype).removeprefix('torch.')} ({reason}), "
        f"{settings.threads} thread(s), roughly {seconds:.0f} CPU s",
        file=sys.stderr,
        flush=True,
    )
