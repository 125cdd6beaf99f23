"""Measure units: use, rates, entropies; PNMI and purities where there are phone times; inertia; agreement. As JSON.

    python scripts/units_report.py --units out/units --kmeans out/kmeans.safetensors \
        --manifest seen=out/seen/manifest.jsonl --manifest unseen=out/unseen/manifest.jsonl --out out/units.json

Without --manifest all corpora, or parts of them, that the folder of labels holds are measured, without phones:

    python scripts/units_report.py --units out/units --kmeans kmeans_model --out out/units.json

Inertia needs features (of units_features.py), agreement the labels of the same audio made in another way:

    python scripts/units_report.py --kmeans out/kmeans.safetensors --features dev=out/features/dev \
        --units out/units --compare out/units-bfloat16 --manifest dev=out/dev/manifest.jsonl --out out/units.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.datasets.open import named_corpora
from spire.errors import UserError, run_main
from spire.foreign.open import open_kmeans
from spire.textfiles import write_json
from spire.units.feature_shards import FeatureFolder
from spire.units.label import named_manifests
from spire.units.quality import feature_measures
from spire.units.report import report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kmeans", type=Path, required=True)
    parser.add_argument("--units", type=Path, help="folder of units_label.py")
    parser.add_argument(
        "--manifest",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="what it labels, with phone times; default: all labels in the folder, without phones",
    )
    parser.add_argument("--compare", type=Path, help="folder of units_label.py: the same audio, labelled otherwise")
    parser.add_argument("--features", action="extend", nargs="+", default=[], metavar="NAME=FOLDER", help="for inertia")
    parser.add_argument("--frames", type=int, default=0, help="measure inertia on about this many frames (0: all)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    if not (args.units or args.features):
        raise UserError("nothing to measure", hint="give --units, --features, or both")
    if (args.manifest or args.compare) and not args.units:
        raise UserError("--manifest and --compare are about labels", hint="give --units FOLDER with them")
    kmeans = open_kmeans(args.kmeans)
    result = {"clusters": kmeans.clusters, "kmeans": dict(sorted(kmeans.metadata.items())), "splits": {}}
    if args.units:
        result = report(args.units, kmeans, named_manifests(args.manifest), args.compare)
    folders = {name: FeatureFolder(path) for name, path in named_corpora(args.features, "--features").items()}
    if folders:
        result["features"] = {
            name: feature_measures(folder, kmeans, str(folder.path), args.frames) for name, folder in folders.items()
        }
    write_json(args.out, result)
    for name, m in result["splits"].items():
        phonetic = f", PNMI {m['pnmi']:.3f}, phone purity {m['phone_purity']:.3f}" if "pnmi" in m else ""
        same = f", {m['agreement']['frame_agreement']:.2%} of frames agree" if "agreement" in m else ""
        print(f"{name}: {m['units_per_second']:.1f} units/s, {m['bits_per_second']:.0f} bits/s{phonetic}{same}")
    for name, m in result.get("features", {}).items():
        print(f"{name}: inertia {m['inertia']:.6g}, {m['explained']:.1%} of the variance, {m['empty_clusters']} empty")
    return 0


if __name__ == "__main__":
    run_main(main)
