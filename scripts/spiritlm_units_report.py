"""Measure units: what they say of phones, and how little they change under noise, rooms, tempo and pitch.

    python scripts/spiritlm_units_report.py --manifest test/manifest.jsonl --hubert mhubert.pt \
        --quantizer kmeans=kmeans.pt linear=quantizer.pt --report report.json --out measures

The differences in the report are those to the first quantizer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from spire.datasets.open import named_corpora
from spire.errors import run_main
from spire.textfiles import write_json
from spiritlm.evaluation.measures import write_measures
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.phonetic.quantizer import open_quantizer
from spiritlm.phonetic.report import unit_measures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help="with phone times, for phonetic information")
    parser.add_argument("--hubert", type=Path, required=True)
    parser.add_argument("--quantizer", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--utterances", type=int, default=0, help="at most this many, spread evenly (0: all)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=1, help="of augmentations and intervals")
    parser.add_argument("--report", type=Path, required=True, help="JSON file")
    parser.add_argument("--out", type=Path, required=True, help="folder of measures")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    quantizers = {
        name: open_quantizer(path, device=args.device)
        for name, path in named_corpora(args.quantizer, "--quantizer").items()
    }
    hubert = Hubert25(args.hubert, device=args.device)
    report, measures = unit_measures(args.manifest, hubert, quantizers, args.utterances, args.seed)
    write_json(args.report, report)
    write_measures(args.out, measures)
    for name, found in report["quantizers"].items():
        errors = ", ".join(f"{kind} {value:.1f}" for kind, (value, _, _) in found["unit_error"].items())
        information = f", PNMI {found['pnmi'][0]:.3f}" if "pnmi" in found else ""
        print(f"{name}: {found['units_per_second']:.1f} units/s{information}; unit error in percent: {errors}")
    return 0


if __name__ == "__main__":
    run_main(main)
