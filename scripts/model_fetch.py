"""A model directory from the hub, at one commit: weights (safetensors where there are any), config, tokenizer.

    python scripts/model_fetch.py --repository Unbabel/TowerBase-7B-v0.1 --revision COMMIT --out tower/

Nothing that is fetched is run. A download that was stopped goes on in --work. The commit is written into
source.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

from spire.errors import UserError, run_main


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", required=True, help="OWNER/NAME on the hub (HF_ENDPOINT names another hub)")
    parser.add_argument("--revision", default="main", help="commit, branch or tag; give a commit to have it pinned")
    parser.add_argument("--work", type=Path, help="folder for the download (default: OUT with a dot before its name)")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    args = parser.parse_args(argv)
    if not args.repository:
        raise UserError("no --repository", hint="OWNER/NAME, as in Unbabel/TowerBase-7B-v0.1")
    fetch(args.repository, args.revision or "main", args.work or args.out.with_name(f".{args.out.name}.part"), args.out)
    return 0


def fetch(repository: str, revision: str, work: Path, out: Path) -> None:
    """Raises UserError when the hub refuses or cannot be reached."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    page = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/{repository}"
    try:
        info = HfApi().model_info(repository, revision=revision)
        names = [file.rfilename for file in info.siblings or []]
        has_safetensors = any(name.endswith(".safetensors") for name in names)
        # The same weights twice, and pictures, are left out.
        unwanted = ("*.bin", "*.pt", "*.pth", "*.msgpack", "*.h5", "*.ot") if has_safetensors else ()
        snapshot_download(
            repository,
            revision=info.sha,
            local_dir=work,
            ignore_patterns=[*unwanted, "*.png", "*.jpg", "*.gguf", "*.onnx"],
        )
    except GatedRepoError as e:
        raise UserError(f"{repository} is gated", hint=f"accept its terms at {page}, and set HF_TOKEN") from e
    except RepositoryNotFoundError as e:
        raise UserError(
            f"{repository} is not on the hub, or private", hint=f"see {page}; HF_TOKEN for private ones"
        ) from e
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as e:
        hint = "start the same command again: what was fetched is kept"
        raise UserError(f"{repository} at {revision} cannot be fetched: {e}", hint=hint) from e
    (work / "source.json").write_text(json.dumps({"repository": repository, "commit": info.sha}, indent=1) + "\n")
    # What the client notes about its downloads differs from time to time.
    shutil.rmtree(work / ".cache", ignore_errors=True)
    os.rename(work, out)
    print(f"{out}: {repository} at {info.sha}")


if __name__ == "__main__":
    run_main(main)
