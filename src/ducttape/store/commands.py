"""The commands of a bash body without its comments and layout: what counts when asking whether a body changed.

Guarantee: two bodies with equal normalized commands do the same. Strings, `${...}`, heredocs and anything the
parser is unsure about keep every byte; only comments, indentation, blank lines, runs of blanks between words and
line continuations go.
"""

from __future__ import annotations

import functools

_VERBATIM = frozenset(
    {
        "string",
        "raw_string",
        "ansi_c_string",
        "translated_string",
        "expansion",
        "regex",
        "extglob_pattern",
        "heredoc_body",
        "heredoc_end",
        "arithmetic_expansion",
    }
)


@functools.cache
def _parser():
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


@functools.lru_cache(maxsize=4096)
def normalize(body: str) -> tuple[str, ...]:
    """The commands of `body`, one line each (a heredoc or string may hold further lines)."""
    data = body.encode("utf-8", "surrogateescape")
    root = _parser().parse(data).root_node
    if root.has_error:
        return tuple(body.strip("\n").split("\n"))
    pieces: list[bytes] = []
    end = 0
    for start, stop, comment in _leaves(root, data):
        if start < end:
            continue
        gap = data[end:start]
        blank = _squeeze(gap)
        if comment:
            # The blanks before a comment go with it.
            pieces.append(b"" if blank == b" " else blank)
        else:
            pieces += blank, data[start:stop]
        end = stop
    pieces.append(_squeeze(data[end:]))
    return _lines(pieces)


def _leaves(root, data: bytes):
    """(start, stop, is_comment) of every token in order; a verbatim node is one token."""
    stack = [root]
    found = []
    while stack:
        node = stack.pop()
        if node.type == "heredoc_body":
            # The first line's own indentation belongs to the text; the grammar may leave it outside the node.
            start = data.rfind(b"\n", 0, node.start_byte) + 1
            found.append((start, node.end_byte, False))
        elif node.type in _VERBATIM or node.child_count == 0:
            if node.end_byte > node.start_byte:
                found.append((node.start_byte, node.end_byte, node.type == "comment"))
        else:
            stack.extend(node.children)
    return sorted(found)


def _squeeze(gap: bytes) -> bytes:
    bare = gap.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    if bare.strip():
        return gap
    return b"\0" if b"\n" in bare else b" " if bare else b""


def _lines(pieces: list[bytes]) -> tuple[str, ...]:
    # NUL cannot occur in a body that bash could run, so it marks the line ends that are layout.
    text = b"".join(b"\0" if p == b"\n" else p for p in pieces)
    lines = text.strip(b" ").split(b"\0")
    return tuple(line.decode("utf-8", "surrogateescape") for line in lines if line.strip())
