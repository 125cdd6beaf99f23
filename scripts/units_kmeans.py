"""Learn the speech units: k-means on frames of an encoder.

    python scripts/units_kmeans.py --encoder out/hubert --layer 2 --normalize meanvar --smooth 1 --clusters 200 \
        --manifest out/train/manifest.jsonl --frames 60000 --seed 1 --out out/kmeans.safetensors

At scale, from the shards of units_features.py, on a GPU where there is one; the same command goes on after a kill:

    python scripts/units_kmeans.py --method torch --features out/features/mls out/features/voxpopuli --weights 2 1 \
        --clusters 5000 --seed 42 --out out/kmeans.safetensors
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

from spire.errors import UserError, run_main
from spire.units.corpora import ArrayFrames, Corpora
from spire.units.encoder_arguments import add_encoder_arguments, encoder_from
from spire.units.feature_shards import FeatureFolder
from spire.units.kmeans import KMeans, Training, fit, nearest, save
from spire.units.sample import sample_corpora


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if bool(args.features) == bool(args.manifest):
        raise UserError("give either --features or --manifest", hint="--manifest also needs --encoder")
    if args.features:
        corpora = [FeatureFolder(folder) for folder in args.features]
        metadata = corpora[0].metadata
        for corpus in corpora:
            if corpus.metadata != metadata:
                reason = f"{corpus.path}: features of another encoder than {corpora[0].path}"
                raise UserError(reason, hint="use one encoder, layer and normalization for all")
        name = metadata.get("encoder", "published features")
    else:
        if not args.encoder:
            raise UserError("--manifest needs --encoder", hint="mfcc, mfccctx, or the folder of a HuBERT")
        encoder = encoder_from(args)
        arrays = sample_corpora(encoder, args.manifest, args.weights, args.frames, args.seed)
        corpora = [ArrayFrames(a, hashlib.sha256(a).hexdigest()[:16]) for a in arrays]
        metadata, name = encoder.metadata(), encoder.name
    training, more = _train(args, corpora)
    save(
        args.out, KMeans(training.centroids, metadata | {"seed": str(args.seed), "frames": str(training.frames)} | more)
    )
    if args.method == "torch":
        _checkpoint(args).unlink(missing_ok=True)
    used = len(np.unique(nearest(_some(args, corpora), training.centroids)))
    inertia = "" if training.inertia is None else f", inertia {training.inertia:.6g} of frames set aside"
    dim = corpora[0].dim
    print(f"{args.clusters} clusters of {training.frames} frames ({name}, {dim} dimensions), {used} in use{inertia}")
    return 0


def _train(args: argparse.Namespace, corpora: list) -> tuple[Training, dict[str, str]]:
    """The training, and what the file's metadata says about how it was done."""
    if args.method == "numpy":
        frames = _some(args, corpora)
        centroids = fit(frames, args.clusters, args.seed, args.iterations, args.pca)
        return Training(centroids, [], None, len(frames), ""), {"pca": str(args.pca)}
    if args.pca:
        raise UserError(f"--pca is not for --method {args.method}", hint="leave it out, or use --method numpy")
    rows = sum(c.rows for c in corpora)
    aside = args.held_out if args.held_out is not None else min(10_000, rows // 20)
    weighted = Corpora(corpora, args.weights, args.block, aside, args.seed)
    if args.method == "sklearn":
        from spire.units.kmeans_sklearn import fit_online

        training = fit_online(weighted, args.clusters, args.seed, args.batch, args.batches * args.batch, args.patience)
        return training, {"method": "sklearn", "stopped": training.reason}
    import torch

    from spire.units.kmeans_scores import choose_products, open_device
    from spire.units.kmeans_torch import Settings, train

    torch.set_num_threads(args.threads)
    device = open_device(args.device)
    products, reason = choose_products(args.products, device)
    print(f"on {device}, products in {products}: {reason}")
    settings = Settings(
        clusters=args.clusters,
        seed=args.seed,
        start=args.start,
        start_frames=args.start_frames,
        batch=args.batch,
        batches=args.batches,
        passes=args.passes,
        forget=args.forget,
        check_every=args.check_every,
        patience=args.patience,
        tolerance=args.tolerance,
        products=products,
        device=str(device),
    )
    training = train(weighted, settings, _checkpoint(args), args.checkpoint_seconds)
    return training, {"method": "torch", "products": products, "stopped": training.reason}


def _some(args: argparse.Namespace, corpora: list) -> np.ndarray:
    """At most --frames frames [n, D]: all that were sampled, or each feature folder's share of them."""
    if args.features:
        return Corpora(corpora, args.weights, args.block, 0, args.seed).sample(args.frames)
    return corpora[0].array if len(corpora) == 1 else np.concatenate([c.array for c in corpora])


def _checkpoint(args: argparse.Namespace) -> Path:
    return args.checkpoint or args.out.with_name(f"{args.out.name}.checkpoint")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # frames: from audio, or from features on disk
    add_encoder_arguments(parser, required=False)
    parser.add_argument("--manifest", type=Path, action="extend", nargs="+", help="audio to encode now")
    parser.add_argument("--frames", type=int, default=60_000, help="frames to take from manifests (numpy: at most)")
    parser.add_argument("--features", type=Path, action="extend", nargs="+", help="folders of units_features.py")
    parser.add_argument("--weights", type=float, nargs="+", help="share of each corpus; default: its size")
    # training
    parser.add_argument("--clusters", type=int, required=True)
    parser.add_argument("--method", choices=("numpy", "torch", "sklearn"), default="numpy", help="numpy: in memory")
    parser.add_argument("--iterations", type=int, default=25, help="numpy: at most this many")
    parser.add_argument(
        "--pca", type=int, default=0, help="numpy: distances in this many principal components (0: all)"
    )
    parser.add_argument("--batch", type=int, default=20_000, help="frames a mini-batch")
    parser.add_argument("--batches", type=int, default=1000, help="mini-batches at most")
    parser.add_argument("--block", type=int, default=100, help="consecutive frames read together")
    parser.add_argument("--held-out", type=int, help="frames set aside for stopping; default 10,000 or a twentieth")
    parser.add_argument("--patience", type=int, default=3, help="checks without a gain before stopping")
    parser.add_argument("--seed", type=int, default=1)
    # torch only
    parser.add_argument("--start", choices=("k-means++", "k-means||", "random"), default="k-means++")
    parser.add_argument("--start-frames", type=int, default=0, help="frames the start is made on (0: four a cluster)")
    parser.add_argument("--passes", type=int, default=0, help="Lloyd passes after the mini-batches, at most")
    parser.add_argument("--forget", type=float, default=0.5, help="how fast early batches lose weight (0: never)")
    parser.add_argument("--check-every", type=int, default=10, help="mini-batches between checks")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="the smallest relative gain that counts")
    parser.add_argument("--products", choices=("auto", "float32", "bfloat16"), default="auto", help="of the scores")
    parser.add_argument("--checkpoint", type=Path, help="default: OUT.checkpoint; removed at the end")
    parser.add_argument("--checkpoint-seconds", type=float, default=300.0)
    parser.add_argument("--out", type=Path, required=True)
    return parser


if __name__ == "__main__":
    run_main(main)
