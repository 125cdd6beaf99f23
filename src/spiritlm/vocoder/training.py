"""One run: a manifest and its units to a vocoder's folder in the released form (spiritlm 6), with training.json in it.

Guarantees: a run that was killed and started again writes the same folder as one that was not; nothing is left at the
output's place when anything fails. Reading, checkpoints and the loop are those of the language models' trainings.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from spire.errors import UserError
from spire.files import replaced_folder
from spire.training.evaluation import Evaluation
from spire.training.log import JsonLines
from spire.training.loop import train
from spire.training.settings import Settings
from spire.training.snapshots import Checkpoints, Interval
from spiritlm.vocoder.engine import VocoderEngine
from spiritlm.vocoder.recipe import Recipe, identity
from spiritlm.vocoder.released import write_vocoder
from spiritlm.vocoder.segments import Segments, TrainingSet, read_training_set

_DEV_BATCHES = 8


@dataclass(frozen=True)
class VocoderRun:
    """What a run is asked for. `manifest` and `streams` are files (streams: of the manifest's lines or some of them);
    `dev` is a pair of them or None; `joined` the share of the steps before the discriminators take part, `sounding`
    that before waveforms are made; `frames` the units of a segment."""

    recipe: Path
    expressive: bool
    manifest: Path
    streams: Path
    settings: Settings
    batch: int = 16
    frames: int = 14
    joined: float = 0.0
    sounding: float = 0.0
    discriminator_rate: float = 1.0
    decay: float = 1.0
    default_style: str = "neutral"
    device: str = "cpu"
    dev: tuple[Path, Path] | None = None
    dev_every: int = 500


def train_vocoder(
    run: VocoderRun, out: Path, log: Path, every: str = "10m", keep: int = 2, folders: tuple = (), named: tuple = ()
) -> dict:
    """Train and write `out`; returns the record in training.json.

    `folders` are this run's folder of checkpoints and those of earlier attempts, `named` those that must hold one.
    UserError: what is asked for makes no sense, data do not fit, or the loss diverges.
    """
    if not 0 <= run.sounding <= run.joined < 1 or run.discriminator_rate <= 0 or not 0 < run.decay <= 1:
        raise UserError(
            f"--envelope-first {run.sounding:g}, --warm-up {run.joined:g}, "
            f"--discriminator-rate {run.discriminator_rate:g}, --decay {run.decay:g}",
            hint="0 <= --envelope-first <= --warm-up < 1, --discriminator-rate above 0, --decay in (0, 1]",
        )
    recipe, interval = Recipe.read(run.recipe), Interval.parse(every)
    if run.sounding and not recipe.losses.envelope:
        raise UserError(f"{run.recipe}: has no envelope to learn first", hint="leave --envelope-first out")
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(_scratch(out))

        def read(manifest: Path, streams: Path, name: str) -> TrainingSet:
            (scratch / name).mkdir()
            sizes, style = recipe.generator, run.default_style
            return read_training_set(manifest, streams, run.expressive, sizes, style, scratch / name)

        data = read(run.manifest, run.streams, "train")
        source = Segments(data, run.batch, run.frames, run.settings.seed)
        engine = VocoderEngine(
            recipe,
            run.expressive,
            len(data.speakers),
            len(data.styles),
            run.settings,
            run.device,
            round(run.joined * run.settings.steps),
            run.discriminator_rate,
            run.decay,
            round(run.sounding * run.settings.steps),
        )
        evaluation = None
        if run.dev:
            batches = _dev_batches(read(*run.dev, "dev"), data, run)
            kept = stack.enter_context(JsonLines(log.with_name(f"dev_{log.name}")))
            evaluation = Evaluation(batches, Segments.blocks, run.dev_every, 1.0, kept)
        print(
            f"vocoder: {data.bounds[-1] * 0.04:.0f} s of {len(data.bounds) - 1} utterances, {len(data.speakers)} "
            f"speakers, {engine.parameters:,} parameters, products in {engine.precision} ({engine.reason})",
            file=sys.stderr,
            flush=True,
        )

        def what() -> dict:
            settings = asdict(run.settings)
            made = {"settings": settings, "engine": engine.identity(), "recipe": identity(recipe)}
            watched = [run.dev_every, *map(_digest, run.dev)] if run.dev else []
            return made | {"source": source.identity(), "expressive": run.expressive, "evaluation": watched}

        own, *earlier = folders or (out.with_name(f"{out.name}.checkpoints"),)
        checkpoints = Checkpoints(own, what, interval, keep, tuple(earlier), tuple(named))
        writer = stack.enter_context(JsonLines(log))
        outcome = train(engine, source, run.settings, writer, "vocoder", None, evaluation, checkpoints)
        record = {
            "settings": asdict(run.settings),
            "recipe": identity(recipe),
            "engine": engine.identity(),
            "batch": run.batch,
            "frames": run.frames,
            "parameters": engine.parameters,
            "utterances": len(data.bounds) - 1,
            "units": int(data.bounds[-1]),
            "outcome": {k: v for k, v in asdict(outcome).items() if not k.endswith("_seconds")},
        }
        with replaced_folder(out) as folder:
            write_vocoder(folder, engine.model, recipe, data.speakers, data.styles)
            (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        checkpoints.finished(engine)
    print(f"vocoder: mel distance {outcome.loss:.3f}, {outcome.cpu_seconds:.0f} CPU s", file=sys.stderr)
    return record


def _dev_batches(dev: TrainingSet, data: TrainingSet, run: VocoderRun) -> list:
    if dev.speakers != data.speakers or (not run.expressive and dev.styles != data.styles):
        raise UserError(
            f"{run.dev[0]}: its speakers or styles are not those of {run.manifest}",
            hint="leave --dev out, or give one of the same speakers and styles",
        )
    segments = Segments(dev, run.batch, run.frames, run.settings.seed)
    return [next(segments) for _ in range(_DEV_BATCHES)]


@contextlib.contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder beside `out` for the samples; what a killed run left of its own is overwritten."""
    folder = out.with_name(f".{out.name}.samples")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
