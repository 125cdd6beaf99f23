"""The STSP benchmark as the steps read it: items.jsonl, shots.jsonl, and manifest.jsonl of its audio, to be encoded.

    python scripts/spiritlm_stsp_data.py --data stsp_data/data --manifest stsp_data/manifest/EMOV.jsonl \\
        --few-shot s-s=stsp_data/manifest/few_shot/s2s.jsonl --out emov/
    python scripts/spiritlm_stsp_data.py --styles speech/manifest.jsonl --limit 20 --out styles/

The second form makes the benchmark's own files from speech with styles first, in OUT.files, and reads those.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main
from spiritlm.stsp.data import FEW_SHOT, from_styles, prepare


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that wav_path is relative to")
    parser.add_argument("--manifest", type=Path, help="a manifest of the benchmark")
    parser.add_argument("--split", default="test")
    parser.add_argument("--few-shot", nargs="*", default=[], metavar="DIRECTION=FILE", help=" ".join(FEW_SHOT))
    parser.add_argument("--styles", type=Path, help="a manifest whose utterances have a field style")
    parser.add_argument("--dev", type=Path, help="the same, for solved examples")
    parser.add_argument("--limit", type=int, default=0, help="utterances of each sentiment (with --styles; 0: all)")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    if bool(args.styles) == bool(args.manifest) or bool(args.manifest) != bool(args.data):
        raise UserError("give either --data and --manifest, or --styles")
    few_shot = dict(pair.partition("=")[::2] for pair in args.few_shot)
    data, manifest = args.data, args.manifest
    if args.styles:
        made = args.out.with_name(f"{args.out.name}.files")
        from_styles(args.styles, made, args.dev, args.limit)
        data, manifest = args.styles.parent, made / "manifest" / "styles.jsonl"
        if args.dev:
            few_shot = {"s-s": made / "manifest" / "few_shot" / "s2s.jsonl"}
    items, shots = prepare(data, manifest, args.out, args.split, few_shot)
    print(f"{len(items)} items, {len(shots)} solved examples")
    return 0


if __name__ == "__main__":
    run_main(main)
