"""How data/human was made: Asterisk's English prompts and the transcripts of its translated prompt sets.

A prompt is kept when its English transcript is nothing but words (at least two) and its recording lasts 0.8 to 30
seconds; a translation is kept when it is nothing but words. Everything is a function of the unpacked packages.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import soundfile

from spire.errors import UserError
from spire.speech.human import LANGUAGES

VOICE = "en_US_f_Allison"
SPEAKER = "allison"
SECONDS = (0.8, 30.0)

# Tones, stage directions and symbols stand in brackets; spoken channel-driver names are spelt as no one says them.
_ANNOTATION = re.compile(r"[\[\]()<>@{}*]")
_DROPPED_FOLDERS = ("digits", "letters", "phonetic", "silence")
_DROPPED_PREFIX = "spy-"

_TYPOS = {
    "represenatives": "representatives",
    "umute": "unmute",
    "Un-indentified": "Unidentified",
    "witheld": "withheld",
}


@dataclass(frozen=True)
class Counts:
    """What the import kept, and why it dropped the others."""

    kept: int
    seconds: float
    no_words: int
    too_short_or_long: int
    translations: dict[str, int]


def clean(text: str) -> str:
    """Single spaces, and no dots of omission, which mark that a prompt is the part of a longer message."""
    text = re.sub(r"\.{2,}|…", " ", text)
    for wrong, right in _TYPOS.items():
        text = re.sub(rf"\b{re.escape(wrong)}\b", right, text)
    return " ".join(text.split())


def read_transcripts(path: Path) -> dict[str, str]:
    """{prompt key: cleaned text} of a core-sounds-*.txt.gz; ';' starts a comment, the first of two keys counts."""
    transcripts: dict[str, str] = {}
    with gzip.open(path, "rt", encoding="utf-8-sig") as lines:
        for line in lines:
            key, colon, text = line.strip().partition(":")
            if colon and not line.startswith(";"):
                transcripts.setdefault(key.strip(), clean(text))
    return transcripts


def _is_words(text: str) -> bool:
    return bool(text) and not _ANNOTATION.search(text) and any(c.isalpha() for c in text)


def import_prompts(unpacked: Path, out: Path) -> Counts:
    """Write out/metadata.jsonl and out/audio/KEY.flac from packages unpacked (dpkg -x) into one folder."""
    documents = unpacked / "usr/share/doc"
    sounds = unpacked / "usr/share/asterisk/sounds" / VOICE
    texts = {}
    for language in ("en", *LANGUAGES):
        path = documents / f"asterisk-core-sounds-{language}" / f"core-sounds-{language}.txt.gz"
        if not path.is_file() or not sounds.is_dir():
            raise UserError(
                f"{path if sounds.is_dir() else sounds}: missing",
                hint="apt-get download asterisk-core-sounds-{en,en-wav,fr,es,it,ru}; dpkg -x each into one folder",
            )
        texts[language] = read_transcripts(path)
    (out / "audio").mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    seconds = 0.0
    no_words = bad_length = 0
    translated = dict.fromkeys(LANGUAGES, 0)
    for key, text in sorted(texts["en"].items()):
        wav = sounds / f"{key}.wav"
        folder = key.split("/")[0] if "/" in key else ""
        wordless = len(text.split()) < 2 or not _is_words(text)
        if not wav.is_file() or folder in _DROPPED_FOLDERS or key.startswith(_DROPPED_PREFIX) or wordless:
            no_words += 1
            continue
        samples, rate = soundfile.read(wav, dtype="int16")
        if not SECONDS[0] <= len(samples) / rate <= SECONDS[1]:
            bad_length += 1
            continue
        name = key.replace("/", "-")
        audio = f"audio/{name}.flac"
        soundfile.write(out / audio, samples, rate, format="FLAC", subtype="PCM_16", compression_level=1.0)
        translations = {lang: texts[lang][key] for lang in LANGUAGES if _is_words(texts[lang].get(key, ""))}
        for language in translations:
            translated[language] += 1
        seconds += len(samples) / rate
        digest = hashlib.sha256((out / audio).read_bytes()).hexdigest()
        row = {"key": name, "audio": audio, "text": text, "translations": translations}
        lines.append(json.dumps(row | {"speaker": SPEAKER, "sha256": digest}, ensure_ascii=False) + "\n")
    (out / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return Counts(len(lines), round(seconds, 1), no_words, bad_length, translated)
