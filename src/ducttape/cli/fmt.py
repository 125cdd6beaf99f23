"""`fmt`: the tape in the usual layout on stdout; `--write` rewrites it, `--check` exits with 1 when it would change.

`-` as the tape stands for the standard input, for editors. More files may follow the mode. A file is replaced in one
step and only when its text changes; one that does not parse is left alone, and the others are still done.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from ducttape.cli.terminal import say
from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.formatter import format_file
from ducttape.syntax.parser import parse, parse_file
from ducttape.syntax.source import Source
from ducttape.syntax.tree import File


def run(options) -> int:
    paths = [Path(name) for name in (options.tape, *options.globs)]
    if options.tape == "-" and (len(paths) > 1 or options.write):
        raise TapeError(Diagnostic("what comes from the standard input can only be printed or checked"))
    if len(paths) > 1 and not (options.write or options.check):
        raise TapeError(Diagnostic("several files cannot be printed", hint="add --write or --check"))
    errors, changes = [], 0
    for path in paths:
        try:
            file = _standard_input() if options.tape == "-" else parse_file(path)
            text = format_file(file)
        except TapeError as error:
            errors += error.diagnostics
            continue
        if not (options.write or options.check):
            sys.stdout.write(text)
        elif text != file.source.text:
            changes += 1
            if options.write and not options.check:
                _replace(path, text)
            say(f"{'would change' if options.check else 'formatted'} {path}")
    if errors:
        raise TapeError(errors)
    if options.check and changes:
        say(f"hint: ducttape {options.tape} fmt --write{''.join(f' {name}' for name in options.globs)}")
        return 1
    return 0


def _standard_input() -> File:
    try:
        return parse(Source("-", sys.stdin.buffer.read().decode("utf-8")))
    except UnicodeDecodeError as error:
        raise TapeError(Diagnostic(f"the standard input is not UTF-8 text (byte {error.start})")) from None


def _replace(path: Path, text: str) -> None:
    # A link stays a link: what it points to is rewritten.
    real = Path(os.path.realpath(path))
    new = real.with_name(f".{real.name}.{os.getpid()}.new")
    try:
        new.write_bytes(text.encode("utf-8", "surrogateescape"))
        shutil.copymode(real, new)
        os.replace(new, real)
    finally:
        new.unlink(missing_ok=True)
