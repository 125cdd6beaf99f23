"""How the hypotheses were made, as signature fields, from the `decoding.json` beside them."""

from __future__ import annotations

from pathlib import Path

from spire.errors import UserError
from spire.textfiles import read_json

_DIGESTS = ("model_digest", "model_sha256", "model_blake3")


def decoding_fields(folder: Path) -> str:
    """`|decoding:max_new_tokens=64,strategy=greedy|model:1f3a...` for a folder of hypotheses; empty without
    `decoding.json`.

    Taken are the scalar entries of `settings`, sorted by name, and the first 16 characters of the model's digest.
    Counts and times that stand beside them do not identify a number and are left out.
    """
    path = Path(folder) / "decoding.json"
    if not path.exists():
        return ""
    record = read_json(path)
    if not isinstance(record, dict):
        raise UserError(f"{path}: expected a JSON object")
    settings = record.get("settings") or {}
    if not isinstance(settings, dict):
        raise UserError(f"{path}: settings must be an object of names and values")
    scalars = {k: v for k, v in settings.items() if isinstance(v, str | int | float | bool)}
    text = ",".join(f"{key}={_clean(value)}" for key, value in sorted(scalars.items()))
    digest = next((record[key] for key in _DIGESTS if isinstance(record.get(key), str)), None)
    return (f"|decoding:{text}" if text else "") + (f"|model:{_clean(digest)[:16]}" if digest else "")


def _clean(value: object) -> str:
    # The separators of signatures would make a value look like fields; a newline (a stop string, say) would break a CSV
    # line.
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "".join(c if c.isprintable() and c not in "|,:" else f"\\u{ord(c):04x}" for c in text)
