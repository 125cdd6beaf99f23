"""Where the audio files of published corpora really are, for tables whose paths belong to another machine (spec 7)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def fix_fleurs_path(ex: Mapping[str, Any], split: str) -> str:
    """The path of a FLEURS row's audio: as the row says if it exists, else in the folder of the split beside it.

    FLEURS keeps the files of a split in a subfolder that the table's paths leave out; "validation" is called "dev".
    """
    path = ex["path"]
    if os.path.exists(path):
        return path
    folder, name = os.path.split(path)
    return os.path.join(folder, _folder_of(split), name)


def fix_librispeech_path(ex: Mapping[str, Any], path_extra: str, split: str) -> str:
    """The path of a LibriSpeech row's audio: as the row says if it exists, else in the unpacked corpus beside it:
    LibriSpeech/{split}-{path_extra}/{speaker}/{chapter}/{id}.flac, where path_extra is "clean" or "other"."""
    path = ex["file"]
    if os.path.exists(path):
        return path
    part = f"{_folder_of(split)}-{path_extra}"
    name = f"{ex['id']}.flac"
    return os.path.join(os.path.dirname(path), "LibriSpeech", part, str(ex["speaker_id"]), str(ex["chapter_id"]), name)


def _folder_of(split: str) -> str:
    return split.replace("validation", "dev")
