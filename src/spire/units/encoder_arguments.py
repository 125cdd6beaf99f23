"""The command-line arguments that say which encoder, and what of it: the same for every step that makes features."""

from __future__ import annotations

import argparse

from spire.foreign.open import encoder_directory
from spire.units.defaults import detected
from spire.units.encoder import NORMALIZATIONS, Encoder
from spire.units.encoders import open_encoder


def add_encoder_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """--encoder and all that goes with it; defaults are those of the published units where they are published."""
    add = parser.add_argument
    add("--encoder", required=required, help="mfcc, mfccctx, a folder, a fairseq .pt file, or a hub id")
    add("--revision", help="of a hub id")
    add("--layer", type=int, default=0, help="take features after this layer (1-based)")
    add("--normalize", choices=NORMALIZATIONS, default="none", help="each dimension, over an utterance")
    add("--smooth", type=int, default=0, help="average frames with neighbours this often")
    add("--final-norm", choices=("keep", "drop"), default="drop", help="the model's last layer norm")
    add("--pooling", choices=("none", "mean", "max"), default="none", help="of neighbouring frames")
    add("--pooling-width", type=int, default=1, help="frames pooled into one")
    add("--eps", type=float, help="of the waveform's normalization; default as published, 1e-7 (fairseq: 1e-5)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, or auto: a GPU where there is one")
    add("--dtype", choices=("auto", "float32", "bfloat16"), default="float32", help="the encoder computes in")
    add("--threads", type=int, default=1, help="packs of utterances computed side by side; changes no bit")


def encoder_from(args: argparse.Namespace) -> Encoder:
    """The encoder these arguments describe; UserError as `open_encoder`. An `auto` becomes what it stands for."""
    args.device, args.dtype = detected(args.device, args.dtype)
    cepstra = args.encoder in ("mfcc", "mfccctx")
    return open_encoder(
        args.encoder if cepstra else str(encoder_directory(args.encoder, revision=args.revision)),
        args.layer,
        args.normalize,
        args.smooth,
        args.threads,
        device=args.device,
        dtype=args.dtype,
        final_norm=args.final_norm,
        pooling=args.pooling,
        pooling_width=args.pooling_width,
        eps=args.eps,
    )
