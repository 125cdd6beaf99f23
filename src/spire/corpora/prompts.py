"""Prompt templates by file, and the names of languages in them.

A template is a string with `{fields}`; a template file is a JSON object of name -> string (configs/prompts/*.json).
Filling replaces the known fields in one pass and nothing else, so braces inside a transcript are safe.

Chat templates (user turns of instruct models): `asr`, `en_XX` (direct speech translation into the language with code
XX), `st_turn` (second turn after a transcription) and `mt`. Base-model formats: `asr_text` (a whole training line),
`asr_prompt`, `st_prompt`, `parallel_text`, `mt_prompt`. A prompt plus one space plus its target is the training line.

Two files rebuild what the published code once made: `chat_published_test.json` (its test prompts kept the line end of
the units file, so two line breaks) and `chat_2025_03.json` (a space after the line break).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from spire.errors import UserError

LANGUAGES = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "ru": "Russian",
    "ko": "Korean",
    "nl": "Dutch",
    "pt": "Portuguese",
    "zh": "Chinese",
    "ar": "Arabic",
    "cs": "Czech",
    "ja": "Japanese",
}

CHAT = {
    "asr": "Speech: {dsu_seq}\nEnglish:",
    **{f"en_{code}": f"Speech: {{dsu_seq}}\n{name}:" for code, name in LANGUAGES.items() if code != "en"},
    "st_turn": "{tgt_lang}:",
    "mt": "Translate the following text from {src_lang} to {tgt_lang}.\n{src_lang}: {example}\n{tgt_lang}:",
}
BASE = {
    "asr_text": "Speech:{dsu_seq}\nEnglish: {transcript}",
    "asr_prompt": "Speech:{dsu_seq}\nEnglish:",
    "st_prompt": "Speech:{dsu_seq}\n{tgt_lang}:",
    "parallel_text": "{src_lang}: {example}\n{tgt_lang}: {translation}",
    "mt_prompt": "{src_lang}: {example}\n{tgt_lang}:",
}
FIELDS = {"dsu_seq", "src_lang", "tgt_lang", "example", "translation", "transcript"}
_FIELD = re.compile(r"\{([a-z_]+)\}")


def language(code: str) -> str:
    """English name of a language code. Raises UserError for an unknown one."""
    try:
        return LANGUAGES[code]
    except KeyError as e:
        raise UserError(f"unknown language {code!r}", hint="known: " + " ".join(LANGUAGES)) from e


def fill(template: str, **fields: str) -> str:
    """The template with its fields replaced. Raises UserError for a field nobody gave.

    >>> fill(CHAT["asr"], dsu_seq="xyz")
    'Speech: xyz\\nEnglish:'
    """

    def value(match: re.Match) -> str:
        if match[1] not in fields:
            raise UserError(f"prompt template wants {{{match[1]}}}, which this step does not have: {template!r}")
        return fields[match[1]]

    return _FIELD.sub(value, template)


def load_templates(path: str | Path | None, default: dict[str, str]) -> dict[str, str]:
    """`default`, with the templates of a JSON file in place of those of the same name.

    Raises UserError when the file is no object of strings or uses an unknown field.
    """
    if path is None:
        return dict(default)
    try:
        read = json.loads(Path(path).read_text("utf-8"))
    except ValueError as e:
        raise UserError(f"{path}: not JSON: {e}") from e
    if not isinstance(read, dict) or not all(isinstance(v, str) for v in read.values()):
        raise UserError(f"{path}: expected an object of template name -> string")
    for name, template in read.items():
        unknown = set(_FIELD.findall(template)) - FIELDS
        if unknown:
            raise UserError(
                f"{path}: template {name!r} uses {{{sorted(unknown)[0]}}}", hint="fields: " + " ".join(sorted(FIELDS))
            )
    return {**default, **read}


def speech_template(templates: dict[str, str], target: str) -> str:
    """The chat template of direct speech recognition (`en`) or translation into `target`."""
    name = "asr" if target == "en" else f"en_{target}"
    if name not in templates:
        raise UserError(f"no prompt template {name!r}", hint="add it to the file given with --prompts")
    return templates[name]
