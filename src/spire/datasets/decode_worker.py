"""A process that turns references into waveforms: requests on standard input, answers on standard output, in order.

A process of its own because a damaged file can crash or exhaust a native decoder, and because decoding then costs the
labelling process nothing. It ends when its input ends, so it never outlives a killed parent.

Request: lengths of two parts (<IQ), a JSON object, the audio's bytes (or none). Answer: status and length (<BQ), then
float32 samples (0), or the reason in UTF-8 (1). Before the first request it says READY.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import BinaryIO

from spire.datasets.corpus import Reference

REQUEST = struct.Struct("<IQ")
ANSWER = struct.Struct("<BQ")
READY = b"decoder\n"
OK, FAILED = 0, 1


def write_request(pipe: BinaryIO, reference: Reference) -> None:
    """Send one reference."""
    fields = {key: getattr(reference, key) for key in ("path", "start", "duration", "offset", "size")}
    head = json.dumps(fields | {"data": reference.data is not None}).encode()
    pipe.write(REQUEST.pack(len(head), len(reference.data or b"")) + head)
    if reference.data:
        pipe.write(reference.data)
    pipe.flush()


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    answers.write(READY)
    answers.flush()
    while len(lengths := requests.read(REQUEST.size)) == REQUEST.size:
        head, size = REQUEST.unpack(lengths)
        fields = json.loads(requests.read(head))
        data = requests.read(size)
        fields["data"] = data if fields["data"] else None
        decoded = Reference(**fields).decoded()
        if isinstance(decoded, str):
            status, content = FAILED, decoded.encode("utf-8", "replace")
        else:
            status, content = OK, memoryview(decoded).cast("B")
        answers.write(ANSWER.pack(status, len(content)))
        answers.write(content)
        answers.flush()


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    # Decoders print to both; what they print must not mix with answers, nor fill a log with a line for each MP3.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
