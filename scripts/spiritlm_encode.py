"""Turn a corpus into SpiRit-LM's units: OUT/streams.jsonl, a line for each utterance of the manifest.

    python scripts/spiritlm_encode.py --manifest speech/manifest.jsonl --hubert mhubert.pt --quantizer quantizer.pt \
        --pitch vqvae --style style --f0-backend fcpe --out encoded

Without --pitch and --style the units are those of Base. --shard 3/8 makes part 3 of 8, which goes on after a kill;
spiritlm_encode_join.py puts parts together. --f0 saves tracking what spiritlm_f0.py has tracked already; the units are
the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from spire.datasets.shards import Shard, parse_shard
from spire.errors import UserError, run_main
from spiritlm.alignment.corpus import Transcribed
from spiritlm.alignment.part import run_part
from spiritlm.phonetic.encoding import TrackedPitch, digest, encoded_lines
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.phonetic.quantizer import open_quantizer
from spiritlm.pitch.f0_files import F0Folder
from spiritlm.pitch.tokenizer import BACKENDS, PitchTokenizer
from spiritlm.speech_tokenizer import SpeechTokenizer
from spiritlm.style import StyleTokenizer


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.f0 and not args.pitch:
        raise UserError("--f0 without --pitch", hint="contours become units by the VQ-VAE that --pitch names")
    torch.set_num_threads(args.threads)
    contours, backend = F0Folder(args.f0) if args.f0 else None, args.f0_backend
    if contours is not None and contours.backend != backend:
        raise UserError(f"contours of {contours.backend}, not of {backend}", hint=f"--f0-backend {contours.backend}")
    identity = {
        "hubert": digest(args.hubert),
        "quantizer": digest(args.quantizer),
        "pitch": f"{digest(args.pitch)} {backend}" if args.pitch else "",
        "style": digest(args.style) if args.style else "",
        "wrap_blanks": str(args.wrap_blanks).lower(),
        "device": args.device.partition(":")[0],
    }
    pitch = PitchTokenizer(args.pitch, backend, args.device) if args.pitch else None
    tokenizer = SpeechTokenizer(
        Hubert25(args.hubert, device=args.device),
        open_quantizer(args.quantizer, args.wrap_blanks, args.device),
        pitch=pitch if contours is None else None,
        style=StyleTokenizer(args.style, args.device) if args.style else None,
    )
    tracked = None if contours is None else TrackedPitch(pitch, contours)
    corpus = Transcribed(args.manifest, args.shard)
    record = run_part(
        "streams", corpus, args.shard, identity, encoded_lines(tokenizer, tracked, args.workers), args.out
    )
    print(f"{record.counts['utterances']} utterances, {record.counts['failed']} without units")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--hubert", type=Path, required=True)
    parser.add_argument("--quantizer", type=Path, required=True, help="linear quantizer, or k-means")
    parser.add_argument("--pitch", type=Path, help="folder of the VQ-VAE")
    parser.add_argument("--style", type=Path, help="folder of the style classifier")
    parser.add_argument("--f0-backend", choices=BACKENDS, default="fcpe")
    parser.add_argument("--f0", type=Path, nargs="+", help="folders of contours, where there are")
    parser.add_argument(
        "--wrap-blanks", action=argparse.BooleanOptionalAction, default=True, help="as the release does"
    )
    parser.add_argument("--shard", type=parse_shard, default=Shard(), help="part i/n of the corpus, i from 1")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode audio ahead")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    return parser


if __name__ == "__main__":
    run_main(main)
