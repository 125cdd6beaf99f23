"""Label speech with units: NAME.units, NAME.frames.npz for each corpus and one unreadable.json.

    python scripts/units_label.py --encoder out/hubert --layer 2 --kmeans out/kmeans.safetensors \
        --manifest train=out/train/manifest.jsonl --manifest dev=out/dev/manifest.jsonl --out out/units

A corpus is a manifest, a TSV list, a folder, tar archives or a dataset description (spire.datasets.open). One job of
eight labels its part, and units_join.py puts the parts together; the result is the same, byte for byte:

    python scripts/units_label.py --encoder hubert_large_ll60k.pt --layer 22 --kmeans kmeans_model \
        --corpus train=configs/datasets/mls_eng_train.yml --shard 3/8 --out out/parts

A run that was killed goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

from spire.datasets.loader import decoded, default_workers
from spire.datasets.open import named_corpora, open_corpus
from spire.datasets.shards import Shard, parse_shard
from spire.errors import UserError, run_main
from spire.foreign.open import encoder_directory, open_kmeans
from spire.units.agreement import encoder_agreement, in_words
from spire.units.defaults import detected, layer_of
from spire.units.encoders import encoder_for
from spire.units.label import label_corpora
from spire.units.label_part import Settings
from spire.units.lines import FORMS, LineForm


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="mfcc, mfccctx, a folder, a fairseq .pt file, or a hub id")
    parser.add_argument(
        "--layer", type=int, help="take features after this layer (1-based); default: as the k-means says"
    )
    parser.add_argument("--revision", help="of a hub id")
    parser.add_argument("--kmeans", type=Path, required=True, help="safetensors, joblib, .npy or .npz")
    # what to label
    parser.add_argument("--manifest", action="extend", nargs="+", default=[], metavar="NAME=PATH")
    parser.add_argument("--corpus", action="extend", nargs="+", default=[], metavar="NAME=CORPUS")
    parser.add_argument("--shard", type=parse_shard, default=Shard(), help="part i/n of each corpus, i from 1")
    # how it is written
    parser.add_argument("--form", choices=FORMS, default="pua", help="characters, numbers, or <extra_id_N> pieces")
    parser.add_argument("--no-dedup", action="store_true", help="keep a unit that equals the one before it")
    parser.add_argument("--no-frames", action="store_true", help="do not keep the labels before deduplication")
    parser.add_argument("--work", type=Path, help="folder for what a killed run continues from; default: --out")
    # speed
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, or auto: a GPU where there is one")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="the encoder computes in")
    parser.add_argument(
        "--agreement",
        type=int,
        default=20,
        metavar="N",
        help="bfloat16: label N utterances in float32 too, and compare",
    )
    parser.add_argument("--threads", type=int, default=1, help="packs of utterances computed side by side")
    parser.add_argument("--workers", type=int, default=0, help="decoding processes; 0: none, -1: one for each core")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    corpora = named_corpora(args.manifest, "--manifest")
    for name, spec in named_corpora(args.corpus).items():
        if name in corpora:
            raise UserError(f"--corpus: the name {name!r} is given twice", hint="each corpus needs its own name")
        corpora[name] = spec
    if not corpora:
        raise UserError("nothing to label", hint="give --manifest NAME=PATH or --corpus NAME=CORPUS")
    device, _ = detected(args.device)
    settings = Settings(
        line=LineForm(args.form, not args.no_dedup),
        frames=not args.no_frames,
        workers=default_workers() if args.workers < 0 else args.workers,
        shard=args.shard,
        work=args.work,
        precision=f"{args.dtype} on {device.partition(':')[0]}",
    )
    cepstra = args.encoder in ("mfcc", "mfccctx")
    encoder_spec = args.encoder if cepstra else str(encoder_directory(args.encoder, revision=args.revision))
    kmeans = open_kmeans(args.kmeans, None if cepstra else encoder_spec, revision=args.revision)
    layer = layer_of(kmeans, 0) if args.layer is None else args.layer
    if args.layer is None and not (layer or cepstra):
        raise UserError(f"{args.kmeans} does not say which layer it was learned on", hint="give --layer; SPIRE's is 22")
    encoder = encoder_for(kmeans, args.kmeans, encoder_spec, layer, args.threads, device=device, dtype=args.dtype)
    opened = {name: open_corpus(spec) for name, spec in corpora.items()}
    counts = label_corpora(encoder, kmeans, opened, args.out, settings)
    hours = counts.pop("samples") / 16_000 / 3600
    print(", ".join(f"{value} {name}" for name, value in counts.items()) + f"; {hours:.3f} hours")
    if args.dtype == "bfloat16" and not cepstra and args.agreement > 0:
        exact = encoder_for(kmeans, args.kmeans, encoder_spec, layer, args.threads, device=device)
        for name, corpus in opened.items():
            items = islice(corpus.items(*args.shard.cut(corpus.pieces, corpus.weights)), args.agreement)
            found = encoder_agreement(exact, encoder, kmeans, (d.samples for d in decoded(items)))
            print(f"{name}: {in_words(found)}")
    return 0


if __name__ == "__main__":
    run_main(main)
