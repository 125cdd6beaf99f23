"""Tapes and configs (they have one grammar) from text to tree.

`parse` and `parse_file` either return the whole tree or raise one `TapeError` with every independent error found: after
an error, reading goes on at the next line that starts with the word of a block.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ducttape.syntax.blocks import KEYWORDS, block
from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.scanner import Cursor
from ducttape.syntax.source import Source
from ducttape.syntax.tree import Block, File

# Not the words that a skipped body may well have at the start of a line ("of the ..."): they start no usable block.
_RESUME = [word for word in KEYWORDS if word not in ("of", "action", "branch", "baseline", "group", "branchpoint")]
_NEXT_BLOCK = re.compile(rf"^(?:{'|'.join(_RESUME)})[ \t{{]", re.MULTILINE)
_MAX_ERRORS = 20


def parse(source: Source) -> File:
    """The tree of a source. Raises TapeError with all errors, in the order of the text."""
    cursor = Cursor(source)
    blocks: list[Block] = []
    errors: list[Diagnostic] = []
    while True:
        start = cursor.at
        try:
            cursor.skip_ignored()
            if cursor.done:
                break
            start = cursor.at
            blocks.append(block(cursor))
        except TapeError as error:
            errors += error.diagnostics
            following = _NEXT_BLOCK.search(source.text, max(cursor.at, start + 1))
            if not following or len(errors) >= _MAX_ERRORS:
                break
            cursor.at = following.start()
    if errors:
        raise TapeError(errors)
    return File(tuple(blocks), source)


def parse_file(path: str | os.PathLike[str]) -> File:
    """The tree of a file. An unreadable one raises TapeError."""
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"'{path}' is not UTF-8 text (byte {error.start})"
        raise TapeError(Diagnostic(message, hint="convert it, for example with iconv")) from None
    except FileNotFoundError:
        hint = "the name is relative to the current directory" if not path.is_absolute() else None
        raise TapeError(Diagnostic(f"there is no file '{path}'", hint=hint)) from None
    except IsADirectoryError:
        raise TapeError(Diagnostic(f"'{path}' is a directory, not a tape", hint="name the file in it")) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "check the name and its permissions"
        raise TapeError(Diagnostic(f"cannot read '{path}': {reason}", hint=hint)) from None
    return parse(Source(str(path), text, path))
