"""Train the style classifier: wav2vec 2.0 over one second, in the form of the published style encoder.

    python scripts/spiritlm_style.py --manifest speech/manifest.jsonl --config configs/hubert/style_mini.json \
        --tokens 12 --steps 400 --out style_encoder_w2v2

--labels style takes the field `style` of the manifest; --labels prosody makes labels from the pitch (--f0) and loudness
of each second where there are none. --init goes on from a wav2vec 2.0 in Hugging Face form instead of random weights.
A run that is stopped goes on with the same command.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from spire.errors import UserError, run_main
from spire.manifest import read_manifest
from spire.units.hubert import Hubert, HubertShape, load_hubert
from spire.units.products import set_product_dtype
from spiritlm.devices import device_named
from spiritlm.learning import add_learning_flags, checkpoints_from
from spiritlm.pitch.f0_files import F0Folder
from spiritlm.style_clusters import prosody_labels
from spiritlm.style_training import Training, fresh, style_labels, train


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--labels", choices=("style", "prosody"), default="style")
    parser.add_argument("--f0", type=Path, nargs="+", default=[], help="folders of spiritlm_f0.py, for prosody")
    parser.add_argument("--config", type=Path, help="sizes of a network with random weights")
    parser.add_argument("--init", type=Path, help="folder of a wav2vec 2.0 to go on from")
    parser.add_argument("--freeze-convolutions", action="store_true", help="keep those of --init as they are")
    parser.add_argument("--tokens", type=int, default=100, help="style tokens (prosody: clusters)")
    parser.add_argument("--projection", type=int, default=256, help="width of the features that are clustered")
    parser.add_argument("--seconds", type=int, default=2, help="length of a crop")
    parser.add_argument("--cluster-seconds", type=float, default=36_000.0, help="speech that is clustered")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the transformer's products")
    add_learning_flags(parser, steps=2000, batch=16, rate=1e-3)
    args = parser.parse_args(argv)
    args.device = device_named(args.device)
    import torch

    torch.set_num_threads(1)
    if bool(args.config) == bool(args.init):
        raise UserError("give either --config or --init", hint="sizes, or a model to go on from")
    settings = Training(
        args.steps,
        args.batch,
        args.seconds,
        args.rate,
        args.projection,
        args.tokens,
        args.cluster_seconds,
        args.freeze_convolutions,
        args.seed,
    )
    utterances = read_manifest(args.manifest)
    if args.labels == "style":
        names, labels = style_labels(utterances)
    else:
        if not args.f0:
            raise UserError("--labels prosody needs --f0", hint="track the speech with spiritlm_f0.py")
        names, labels = prosody_labels(utterances, F0Folder(args.f0), args.tokens, args.seed)

    def encoder() -> Hubert:
        if args.init:
            model = load_hubert(args.init)
        else:
            sizes = json.loads(args.config.read_text(encoding="utf-8"))
            model = fresh(HubertShape.from_config(sizes | {"model_type": "wav2vec2"}, str(args.config)))
        if args.precision == "bf16":
            set_product_dtype(model, torch.bfloat16)
        return model

    def identity() -> dict:
        source = {"utterances": [u.id for u in utterances], "labels": args.labels, "precision": args.precision}
        start = args.config.read_text(encoding="utf-8") if args.config else str(args.init)
        return {"stage": "style", "settings": asdict(settings), "start": start, "source": source}

    checkpoints = checkpoints_from(args, identity)
    by_style = args.labels == "style"
    curve = train(utterances, names, labels, encoder, settings, args.out, by_style, checkpoints, args.device)
    last = curve[-1]
    print(f"{len(names)} labels, {args.tokens} tokens: loss {last['loss']:.3f}, accuracy {last['accuracy']:.3f}")
    return 0


if __name__ == "__main__":
    run_main(main)
