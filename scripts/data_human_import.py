"""How data/human was made from Debian's Asterisk prompt packages. No step of the study: its output is shipped.

    apt-get download asterisk-core-sounds-{en,en-wav,fr,es,it,ru}       # 1.6.1-1
    for package in *.deb; do dpkg -x "$package" unpacked; done
    python scripts/data_human_import.py --unpacked unpacked --out data/human
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.speech.human_import import import_prompts


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unpacked", type=Path, required=True, help="folder with the unpacked packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for metadata.jsonl and audio/*.flac")
    args = parser.parse_args(argv)
    counts = import_prompts(args.unpacked, args.out)
    print(f"{counts.kept} prompts kept, {counts.seconds} s")
    print(f"dropped: {counts.no_words} without words, {counts.too_short_or_long} too short or too long")
    print("translations: " + ", ".join(f"{language} {n}" for language, n in counts.translations.items()))
    return 0


if __name__ == "__main__":
    run_main(main)
