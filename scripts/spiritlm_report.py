"""Write the report of a SpiRit-LM study: one HTML file with tables, audio, losses, graph and records."""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main
from spire.scoring.references import named_files
from spire.textfiles import write_text
from spiritlm.report.build import ReportInputs, build_report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", required=True, type=Path, help="folders of tables, in order")
    parser.add_argument(
        "--audio", action="append", default=[], metavar="TITLE=FOLDER", help="resynthesis, original first"
    )
    parser.add_argument("--continuations", action="append", default=[], metavar="TITLE=FOLDER", help="of one model")
    parser.add_argument("--speech", type=Path, help="folder of the utterances that were continued")
    parser.add_argument("--log", action="append", default=[], metavar="TITLE=FILE", help="log of a training")
    parser.add_argument("--page", type=Path, help="folder of the template; default the package's")
    parser.add_argument("--shared", type=Path, help="folder of style and record template; default the package's")
    parser.add_argument("--root", type=Path, help="the project: outside files are named relative to it")
    parser.add_argument("--title", default="SpiRit-LM study")
    parser.add_argument("--lines", type=int, default=6, help="utterances a section")
    parser.add_argument("--audio-bytes", type=int, default=3_000_000, help="audio in the page at most; 0 for none")
    parser.add_argument("--out", required=True, type=Path, help="HTML file; replaced when it exists")
    arguments = parser.parse_args(argv)
    if arguments.audio_bytes < 0 or arguments.lines < 1:
        raise UserError("--audio-bytes below 0, or --lines below 1")
    options = {name: getattr(arguments, name) for name in ("page", "shared") if getattr(arguments, name)}
    text = build_report(
        ReportInputs(
            tables=arguments.tables,
            sources=named_files("--audio", arguments.audio),
            continuations=named_files("--continuations", arguments.continuations),
            speech=arguments.speech,
            logs=named_files("--log", arguments.log),
            root=arguments.root,
            title=arguments.title,
            lines=arguments.lines,
            audio_bytes=arguments.audio_bytes,
            **options,
        )
    )
    write_text(arguments.out, text)
    print(f"{arguments.out}: {len(text.encode()) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    run_main(main)
