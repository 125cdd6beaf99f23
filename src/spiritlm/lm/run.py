"""One training of a speech-text model: from a model folder and documents to a model folder, with either engine.

Guarantees: those of `spire.training.loop`: a run that was killed and started again ends with the same bytes as one that
was not; what is at `--out` is whole or not there. Both engines are given equal batches (`spiritlm.lm.stream`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path

from spire.errors import UserError
from spire.files import replaced_folder
from spire.training.flags import checkpoint_folders


def run_training(args: argparse.Namespace, settings) -> None:
    """Train args.model on the groups in args.group as `settings` (spire.training.settings.Settings) say, and write
    args.out with training.json. Raises UserError for flags, documents or vocabularies that do not fit each other.
    """
    from spire.vocabulary.tokenizer import Vocabulary
    from spiritlm.lm.render import Renderer
    from spiritlm.lm.spans import Limits
    from spiritlm.lm.stream import Group, MixtureStream, held_out
    from spiritlm.lm.vocabulary import Tokens

    rows = _rows(args, settings)
    vocabulary = Vocabulary.load(args.model)
    limits = Limits(Limits.parse(args.text_span), Limits.parse(args.speech_span))
    renderer = Renderer(Tokens.of(vocabulary, args.model), args.sequence_length, limits)
    source = MixtureStream([Group.parse(text, vocabulary) for text in args.group], renderer, rows, settings.seed)
    dev = [Group.parse(text, vocabulary) for text in args.eval]
    for group in (*source.groups, *dev):
        if renderer.expressive and not group.corpus.expressive:
            raise UserError(
                f"group {group.name}: its documents have no pitch and style, which this model has",
                hint="spiritlm_documents.py --expressive",
            )
    batches = held_out(dev, source.blocks, renderer, rows, settings.seed) if dev else []
    _announce(args, settings, source)
    if args.estimate:
        return
    with ExitStack() as stack:
        engine = _engine(args, settings, vocabulary, stack)
        watched = [args.eval_every, args.patience, args.keep_best, *(group.corpus.digest for group in dev)]
        outcome, evaluation, checkpoints = _train(args, settings, source, batches, watched, engine, stack)
        record = {
            "stage": "spiritlm",
            "settings": asdict(settings),
            "sequence_length": args.sequence_length,
            "spans": {"text": limits.text, "speech": limits.speech},
            "groups": {g.name: {"form": g.form, "share": g.share, "documents": len(g.corpus)} for g in source.groups},
            "parameters": engine.parameters,
            "outcome": {k: v for k, v in asdict(outcome).items() if not k.endswith("_seconds")},
        }
        if evaluation:
            record["evaluation"] = {"best_loss": evaluation.best, "best_step": evaluation.best_step}
        with replaced_folder(args.out) if engine.is_main else nullcontext(Path(args.out)) as folder:
            engine.export(folder, vocabulary, vocabulary.eos)
            if engine.is_main:
                (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        checkpoints.finished(engine)
    if engine.is_main:
        speed = outcome.tokens / max(outcome.cpu_seconds, 1e-9)
        print(
            f"spiritlm: loss {outcome.loss:.3f}, {outcome.tokens:,} tokens, {outcome.cpu_seconds:.0f} CPU s, "
            f"{speed:,.0f} tokens/CPU s",
            file=sys.stderr,
        )


def _rows(args: argparse.Namespace, settings) -> int:
    """Rows of an update; UserError for flags that cannot be meant."""
    if args.epochs:
        raise UserError("--epochs: every group of a mixture has epochs of its own", hint="give --steps")
    if args.eval_every < 1 or args.patience < 0:
        raise UserError("--eval-every must be at least 1, --patience at least 0")
    if not args.eval and (args.patience or args.keep_best):
        flag = "--patience" if args.patience else "--keep-best"
        raise UserError(f"{flag} needs held-out documents", hint="give --eval NAME=1:FORMAT:FOLDER")
    for folder in args.resume_from:
        if not Path(folder).is_dir():
            raise UserError(f"--resume-from {folder}: no such folder", hint="checkpoints lie in OUT.checkpoints")
    if args.engine == "native" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("the native engine is one process, and several were started", hint="add --engine scaled")
    rows, rest = divmod(settings.tokens_per_step, args.sequence_length)
    if not rows or rest:
        raise UserError(
            f"--tokens-per-step {settings.tokens_per_step} is no whole number of rows of {args.sequence_length}",
            hint=f"such as --tokens-per-step {max(1, rows) * args.sequence_length}",
        )
    return rows


def _announce(args: argparse.Namespace, settings, source) -> None:
    if int(os.environ.get("RANK", 0)):
        return
    planned = settings.steps * settings.tokens_per_step
    whole = sum(group.share for group in source.groups)
    for group in source.groups:
        print(
            f"spiritlm: {group.name}: {len(group.corpus):,} documents, {group.form}, "
            f"{100 * group.share / whole:.1f} % of the tokens",
            file=sys.stderr,
        )
    print(
        f"spiritlm: {settings.steps:,} steps x {settings.tokens_per_step:,} tokens = {planned:,}, rows of "
        f"{args.sequence_length}",
        file=sys.stdout if args.estimate else sys.stderr,
        flush=True,
    )


def _engine(args: argparse.Namespace, settings, vocabulary, stack: ExitStack):
    """The engine that args.engine names, with the weights of args.model. UserError: it has too few rows."""
    if args.engine == "native":
        from spire.training.checkpoint import load_model
        from spire.training.native import NativeEngine

        model = load_model(args.model)
        rows, make = model.shape.vocab_size, lambda: NativeEngine(model, settings)
    else:
        from spire.training.scaled.engine import ScaledEngine
        from spire.training.scaled.model import Tricks, read_config
        from spire.training.scaled.processes import Processes

        rows = read_config(args.model)["vocab_size"]

        def make():
            processes = Processes(settings.threads)
            stack.callback(processes.close)
            tricks = Tricks(
                not args.no_activation_checkpointing, not args.keep_gathered, args.compile, args.liger, args.attention
            )
            return ScaledEngine(args.model, settings, processes, args.sequence_length, args.rows, tricks)

    if rows < vocabulary.size:
        raise UserError(
            f"the model has {rows} embeddings, the vocabulary {vocabulary.size} ids", hint="make it: spiritlm_extend.py"
        )
    return make()


def _train(args, settings, source, batches, watched, engine, stack: ExitStack):
    """(outcome, evaluation or None, checkpoints)."""
    from spire.training.board import open_board
    from spire.training.evaluation import Evaluation
    from spire.training.log import JsonLines
    from spire.training.loop import train
    from spire.training.run import _model_digest
    from spire.training.snapshots import Checkpoints, Interval

    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    board = open_board(args.tensorboard) if engine.is_main else None
    if board:
        stack.callback(board.close)
    # Every process runs the same loop; the logs of all but the main one are thrown away.
    aside = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    def log_at(path: str | Path, name: str) -> JsonLines:
        path = path if engine.is_main else aside / f"{name}.jsonl"
        return stack.enter_context(JsonLines(path, (lambda fields: board.add(name, fields)) if board else None))

    log, evaluation = log_at(args.log or out.parent / "train_log.jsonl", "train"), None
    if batches:
        evaluation = Evaluation(
            batches,
            source.blocks,
            args.eval_every,
            settings.unit_weight,
            log_at(args.eval_log or out.parent / "eval_log.jsonl", "eval"),
            args.patience,
            args.keep_best,
        )
    processes = engine.processes if args.engine == "scaled" else None
    # Digests of large files: once, not in every process.
    digest = _model_digest(args.model) if engine.is_main else None
    identity = {
        "stage": "spiritlm",
        "settings": asdict(settings),
        "engine": engine.identity(),
        "source": source.identity(),
        "watched": watched,
        "starting model": processes.share(digest) if processes else digest,
    }
    own, earlier = checkpoint_folders(args)
    checkpoints = Checkpoints(
        own,
        lambda: identity,
        Interval.parse(args.checkpoint_every),
        args.keep_checkpoints,
        earlier,
        tuple(map(Path, args.resume_from)),
        processes.rank if processes else 0,
        processes.count if processes else 1,
    )
    outcome = train(engine, source, settings, log, "spiritlm", None, evaluation, checkpoints)
    return outcome, evaluation, checkpoints
