"""Files that lie, made by hand: pickle instructions, torch archives, and a bound on what refusing them may cost."""

import contextlib
import io
import pickle
import struct
import time
import tracemalloc
import zipfile


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return b"X" + struct.pack("<I", len(data)) + data


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def called(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def archive(data, folder="archive", extra=()):
    """A torch archive whose pickle is `data`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(f"{folder}/data.pkl", data)
        for member, content in extra:
            made.writestr(member, content)
    return buffer.getvalue()


def stream(data, system=None):
    """torch's older form with the object pickle `data`."""
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system or {"little_endian": True})]
    return b"".join(head) + data + pickle.dumps([], 2)


def as_setting(data):
    return b"\x80\x02}(" + text("model") + b"}" + text("cfg") + data[2:-1] + b"u."


def npz(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for member, content in members:
            made.writestr(member, content)
    return buffer.getvalue()


def quickly(seconds=10.0, megabytes=120):
    @contextlib.contextmanager
    def guard():
        tracemalloc.start()
        start = time.process_time()
        try:
            yield
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert time.process_time() - start < seconds and peak < megabytes << 20, (time.process_time() - start, peak)

    return guard()
