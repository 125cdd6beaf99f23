"""Measure the pitch quantizer and the style classifier on speech that they did not learn from.

    python scripts/spiritlm_prosody_report.py --manifest test/manifest.jsonl --f0 f0.test --pitch vqvae_f0_quantizer \
        --style style_encoder_w2v2 --report report.json --out measures
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.manifest import read_manifest
from spire.textfiles import write_json
from spiritlm.evaluation.measures import write_measures
from spiritlm.pitch.f0_files import F0Folder
from spiritlm.prosody_report import pitch_report, style_report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help="speech with the field style")
    parser.add_argument("--f0", type=Path, nargs="+", required=True, help="its folders of spiritlm_f0.py")
    parser.add_argument("--pitch", type=Path, required=True, help="folder of the pitch quantizer")
    parser.add_argument("--style", type=Path, required=True, help="folder of the style classifier")
    parser.add_argument("--seed", type=int, default=1, help="of the intervals")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of measures")
    args = parser.parse_args(argv)
    pitch, of_pitch = pitch_report(F0Folder(args.f0), args.pitch, args.seed)
    style, of_style = style_report(read_manifest(args.manifest), args.style, args.seed)
    write_json(args.report, {"pitch": pitch, "style": style})
    write_measures(args.out, [*of_pitch, *of_style])
    print(
        f"pitch: f0 frame error {pitch['f0_frame_error']:.1%}, {pitch['codes_used']} of {pitch['codes']} codes; "
        f"style: {style['accuracy_of_seconds']:.1f} % of seconds, {style['accuracy_of_utterances']:.1f} % of utterances"
    )
    return 0


if __name__ == "__main__":
    run_main(main)
