"""A released SpiRit-LM model (pytorch_model.bin) with its weights in safetensors, as every step here opens models.

    python scripts/spiritlm_safe_model.py --model checkpoints/spiritlm_model/spirit-lm-base-7b --out spirit-lm-base-7b

Nothing in the file is run. A model that has safetensors already is linked to, not copied.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from spire.errors import UserError, run_main


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    from spire.baselines.weights import safe_directory
    from spire.files import replaced_folder

    if not (args.model / "config.json").is_file():
        raise UserError(f"{args.model}: no config.json", hint="give the folder of a model, such as spirit-lm-base-7b")
    with safe_directory(args.model, args.out) as made, replaced_folder(args.out) as folder:
        own = made.resolve() == args.model.resolve()
        for path in sorted(made.iterdir()):
            if path.is_file() and own:
                os.symlink(path.resolve(), folder / path.name)
            elif path.is_file():
                shutil.move(path, folder / path.name)
    return 0


if __name__ == "__main__":
    run_main(main)
