"""Dataset descriptions: YAML files in SPIRE's format (spec 8).

    path: google/fleurs      # a hub id, a folder of `save_to_disk`, a .tsv list (or another local corpus)
    config: en_us
    split: test

`filter_mic: mic1` keeps the files of one microphone (VCTK). Every other key becomes a keyword of `load_dataset`, such
as `data_dir` or `revision`. A path that exists is local: relative to the description's folder, else to the current one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spire.errors import UserError
from spire.textfiles import read_text

# A description is data from elsewhere; these would run code or send secrets.
_REFUSED = ("trust_remote_code", "token", "use_auth_token", "storage_options")


@dataclass(frozen=True)
class Description:
    """One dataset: `path`, `config`, `split`, `filter_mic`, and further `arguments` of `load_dataset`."""

    path: str
    config: str | None = None
    split: str | None = None
    filter_mic: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


def read_description(path: str | Path) -> Description:
    """The description in a YAML file; UserError when it is not a mapping with a `path`, or holds refused keys."""
    import yaml

    path = Path(path)
    try:
        values = yaml.safe_load(read_text(path))
    except yaml.YAMLError as e:
        raise UserError(f"{path}: not YAML: {' '.join(str(e).split())}") from e
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path}: expected keys and values", hint="path: google/fleurs")
    for key in ("path", "config", "split", "filter_mic"):
        value = values.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise UserError(f"{path}: {key} must be text, not {value!r}", hint=f'write it in quotes: {key}: "{value}"')
    if "path" not in values:
        raise UserError(f"{path}: no `path`", hint="path: a hub id, a saved dataset's folder, or a .tsv list")
    refused = [key for key in _REFUSED if key in values]
    if refused:
        hint = "code of a dataset is never run, and tokens belong into the environment: remove it"
        raise UserError(f"{path}: {refused[0]} is refused", hint)
    known = ("path", "config", "split", "filter_mic")
    return Description(
        path=_resolved(values["path"], path.parent),
        config=values.get("config"),
        split=values.get("split"),
        filter_mic=values.get("filter_mic"),
        arguments={key: value for key, value in values.items() if key not in known},
    )


def _resolved(value: str, folder: Path) -> str:
    expanded = os.path.expanduser(value)
    for candidate in (folder / expanded, Path(expanded)):
        if candidate.exists():
            return str(candidate)
    return value
