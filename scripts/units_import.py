"""Convert a published encoder or k-means once into safetensors; nothing in the files is run.

python scripts/units_import.py --encoder hubert_large_ll60k.pt --out hubert-large
python scripts/units_import.py --kmeans kmeans_model --encoder hubert-large --layer 22 --out kmeans.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main
from spire.foreign.importing import import_encoder, import_kmeans


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", help="fairseq .pt to convert; with --kmeans, the encoder it belongs to")
    parser.add_argument("--kmeans", type=Path, help="joblib, npy or npz file with the centroids")
    parser.add_argument("--layer", type=int, help="layer (1-based) of the encoder that the k-means was made on")
    parser.add_argument("--revision", help="commit of the encoder on the hub")
    parser.add_argument("--sha256", help="refuse the file unless it has this digest")
    parser.add_argument("--out", type=Path, required=True, help="new folder (encoder) or .safetensors file (k-means)")
    args = parser.parse_args(argv)
    if args.kmeans is not None:
        print(import_kmeans(args.kmeans, args.out, args.encoder, args.layer, args.revision, args.sha256))
    elif args.encoder is None:
        raise UserError("nothing to import", hint="give --encoder FILE.pt or --kmeans FILE.joblib")
    elif args.layer is not None or args.revision is not None:
        raise UserError("--layer and --revision belong to a k-means", hint="give --kmeans too, or leave them out")
    else:
        print(import_encoder(args.encoder, args.out, args.sha256))
    return 0


if __name__ == "__main__":
    run_main(main)
