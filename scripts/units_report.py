"""Measure units against phone times: PNMI, purities, rates, entropies, as JSON.

    python scripts/units_report.py --units out/units --kmeans out/kmeans.safetensors \
        --manifest seen=out/seen/manifest.jsonl --manifest unseen=out/unseen/manifest.jsonl --out out/units.json
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from spire.errors import run_main
from spire.units.kmeans import load
from spire.units.label import named_manifests
from spire.units.report import report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=Path, required=True, help="folder of units_label.py")
    parser.add_argument("--kmeans", type=Path, required=True)
    parser.add_argument("--manifest", action="extend", nargs="+", required=True, metavar="NAME=PATH")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    result = report(args.units, load(args.kmeans), named_manifests(args.manifest))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    partial = args.out.with_name(f".{args.out.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, args.out)
    for name, m in result["splits"].items():
        phonetic = f", PNMI {m['pnmi']:.3f}, phone purity {m['phone_purity']:.3f}" if "pnmi" in m else ""
        print(f"{name}: {m['units_per_second']:.1f} units/s, {m['bits_per_second']:.0f} bits/s{phonetic}")
    return 0


if __name__ == "__main__":
    run_main(main)
