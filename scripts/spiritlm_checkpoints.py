"""Put trained parts together in the layout of SpiRit-LM's release, and try it on an utterance.

python scripts/spiritlm_checkpoints.py --hubert mhubert.pt --quantizer quantizer.pt --vocoder-base DIR --out checkpoints
SPIRITLM_CHECKPOINTS_DIR=checkpoints python -c 'from spiritlm.speech_tokenizer import spiritlm_base; ...'
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main
from spiritlm.assemble import BASE, EXPRESSIVE, Parts, assemble


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hubert", required=True, type=Path, help="file of the 25 Hz encoder")
    parser.add_argument("--quantizer", required=True, type=Path, help="file of the linear or k-means quantizer")
    parser.add_argument("--pitch", type=Path, help="folder of the VQ-VAE")
    parser.add_argument("--style", type=Path, help="folder of the style encoder")
    parser.add_argument("--vocoder-base", type=Path)
    parser.add_argument("--vocoder-expressive", type=Path)
    parser.add_argument("--base", type=Path, help=f"folder of the language model that becomes {BASE}")
    parser.add_argument("--expressive", type=Path, help=f"folder of the language model that becomes {EXPRESSIVE}")
    parser.add_argument("--try-on", type=Path, help="manifest: its first utterance is encoded and decoded")
    parser.add_argument("--f0-backend", default="fcpe", help="of the trial: fcpe or pyaapt")
    parser.add_argument("--out", required=True, type=Path, help="folder; replaced when it exists")
    arguments = parser.parse_args(argv)
    models = {BASE: arguments.base, EXPRESSIVE: arguments.expressive}
    parts = Parts(
        hubert=arguments.hubert,
        quantizer=arguments.quantizer,
        pitch=arguments.pitch,
        style=arguments.style,
        vocoder_base=arguments.vocoder_base,
        vocoder_expressive=arguments.vocoder_expressive,
        models={name: path for name, path in models.items() if path},
    )
    for place in assemble(parts, arguments.out):
        print(place)
    if arguments.try_on:
        _try(arguments.out, arguments.try_on, arguments.f0_backend, parts)
    return 0


def _try(folder: Path, manifest: Path, backend: str, parts: Parts) -> None:
    from spire.manifest import read_manifest
    from spiritlm.speech_tokenizer import spiritlm_base, spiritlm_expressive

    utterances = read_manifest(manifest)
    if not utterances:
        raise UserError(f"{manifest}: no utterance to try the checkpoints on")
    opened = {}
    if parts.vocoder_base:
        opened["Base"] = spiritlm_base(folder=folder, device="cpu")
    if parts.vocoder_expressive and parts.pitch and parts.style:
        opened["Expressive"] = spiritlm_expressive(f0_backend=backend, folder=folder, device="cpu")
    for name, tokenizer in opened.items():
        units = tokenizer.encode_units(str(utterances[0].audio_path))
        samples = tokenizer.decode(units, speaker_id=0, dur_pred=False)
        print(f"{name}: {len(units['hubert'].split())} units, {len(samples)} samples")


if __name__ == "__main__":
    run_main(main)
