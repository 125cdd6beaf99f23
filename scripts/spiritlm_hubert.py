"""Train a 25 Hz HuBERT from scratch; the file has the release's form, and the same command goes on after a stop.

    python scripts/spiritlm_hubert.py --manifest speech/manifest.jsonl --steps 850 --seed 1 --out mhubert.pt

Labels are k-means of cepstra at 25 Hz; with --teacher, of the features of an earlier HuBERT: the next iteration.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from spire.errors import UserError, run_main
from spire.textfiles import read_json, write_jsonl
from spire.training.flags import checkpoint_folders
from spire.training.snapshots import Checkpoints, Interval
from spire.units.hubert import HubertShape
from spire.units.products import fast_dtype
from spiritlm.devices import device_named
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.phonetic.hubert_files import write_hubert25
from spiritlm.phonetic.hubert_training import MINI, HubertTraining, check_shape, identity, train_hubert
from spiritlm.phonetic.labelled_audio import Labels, cepstra_of, label_audio


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    args.device = device_named(args.device)
    torch.set_num_threads(args.threads)
    precision = args.precision
    if precision == "auto":
        dtype, reason = fast_dtype()
        precision = str(dtype).removeprefix("torch.")
        print(f"matrix products in {precision}: {reason}")
    settings = HubertTraining(
        steps=args.steps,
        batch=args.batch,
        frames=args.frames,
        peak_rate=args.rate,
        mask_start=args.mask_start,
        mask_length=args.mask_length,
        unmasked_weight=args.unmasked_weight,
        noisy=args.noisy,
        precision=precision,
        device=args.device,
        seed=args.seed,
    )
    shape = _shape(args.config)
    check_shape(shape)
    layer = args.layer or shape.num_hidden_layers
    if not 1 <= layer <= shape.num_hidden_layers:
        raise UserError(f"--layer {layer} of {shape.num_hidden_layers}", hint="the layer that units are made of")
    features, teacher = cepstra_of, {"teacher": ""}
    if args.teacher:
        features = Hubert25(args.teacher, device=args.device).features
        teacher = {"teacher": hashlib.sha256(args.teacher.read_bytes()).hexdigest()}
    own, earlier = checkpoint_folders(args)
    work = args.out.with_name(f"{args.out.name}.audio")
    labels = Labels(args.label_clusters, args.label_frames, args.seed)
    made = [folder.parent / work.name for folder in earlier]
    audio = label_audio(args.manifest, work, labels, features, args.normalize, teacher, made, args.workers)
    known = identity(audio.record, shape, settings)
    interval = Interval.parse(args.checkpoint_every)
    checkpoints = Checkpoints(own, lambda: known, interval, earlier=earlier)
    model, curve = train_hubert(audio, args.label_clusters, shape, settings, checkpoints)
    write_hubert25(args.out, model, layer, args.normalize)
    if args.log:
        write_jsonl(args.log, curve)
    del audio
    for folder in (work, own):
        shutil.rmtree(folder, ignore_errors=True)
    last = curve[-1]
    accuracy = f"accuracy {last['masked_accuracy']} masked, {last['unmasked_accuracy']} unmasked"
    print(f"{args.steps} steps, loss {last['loss']}, {accuracy}")
    return 0


def _parser() -> argparse.ArgumentParser:
    plain = HubertTraining()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, action="extend", nargs="+", required=True)
    parser.add_argument("--config", type=Path, help="sizes as in a HuBERT config.json; default: mini")
    parser.add_argument("--layer", type=int, default=0, help="layer of the units, written into the file; default: last")
    parser.add_argument("--normalize", action=argparse.BooleanOptionalAction, default=True, help="waveforms")
    # optimization
    parser.add_argument("--steps", type=int, default=plain.steps)
    parser.add_argument("--batch", type=int, default=plain.batch, help="crops a step")
    parser.add_argument("--frames", type=int, default=plain.frames, help="frames a crop (25 a second)")
    parser.add_argument("--rate", type=float, default=plain.peak_rate, help="peak learning rate")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="of products")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=plain.seed)
    parser.add_argument("--workers", type=int, default=0, help="processes that decode audio ahead")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    # task
    parser.add_argument("--mask-start", type=float, default=plain.mask_start, help="chance that a frame starts a mask")
    parser.add_argument("--mask-length", type=int, default=plain.mask_length, help="frames")
    parser.add_argument("--unmasked-weight", type=float, default=plain.unmasked_weight, help="unmasked frames' weight")
    parser.add_argument("--noisy", type=float, default=plain.noisy, help="share of crops with noise")
    parser.add_argument("--label-clusters", type=int, default=Labels.clusters)
    parser.add_argument("--label-frames", type=int, default=Labels.frames, help="frames that their k-means learns from")
    parser.add_argument("--teacher", type=Path, help="an earlier HuBERT, whose features give the labels")
    # stopping and going on
    parser.add_argument("--checkpoint-every", default="10m", help='"500" (steps), "10m", or "0" (never)')
    parser.add_argument("--checkpoints", help="folder for them (default: OUT.checkpoints); deleted at the end")
    parser.add_argument("--log", type=Path, help="JSONL file: the losses")
    parser.add_argument("--out", type=Path, required=True, help="file in the release's form")
    return parser


def _shape(path: Path | None) -> HubertShape:
    """The mini model's sizes, with those that the file names replaced."""
    if path is None:
        return MINI
    return HubertShape.from_config(asdict(MINI) | dict(read_json(path)), str(path))


if __name__ == "__main__":
    run_main(main)
