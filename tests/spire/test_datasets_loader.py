"""Decoding ahead: the same whatever the number of workers, bounded, and not stopped by files that kill decoders."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spire.audio import read_audio, read_audio_bytes, write_wav
from spire.datasets import decode_worker, loader
from spire.datasets.corpus import Item, Reference
from spire.datasets.loader import decoded
from spire.errors import UserError


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Files of several formats and rates, stretches of them, bytes, and things that are no audio."""
    root = tmp_path_factory.mktemp("formats")
    rng = np.random.default_rng(0)
    found = []
    for i, (ending, rate) in enumerate(
        [("wav", 8000), ("flac", 44_100), ("ogg", 16_000), ("mp3", 24_000), ("aiff", 16_000)]
    ):
        path = root / f"{i}.{ending}"
        soundfile.write(path, 0.1 * rng.standard_normal((rate // 2, 1 + i % 2)), rate)
        found.append(Item(path.name, Reference(str(path))))
        found.append(Item(f"part of {path.name}", Reference(str(path), start=0.1, duration=0.2)))
        found.append(Item(f"bytes of {path.name}", Reference("row 7", data=path.read_bytes())))
    joined = root / "two.bin"
    content = (root / "0.wav").read_bytes()
    joined.write_bytes(b"#" * 1000 + content + b"#" * 1000)
    found.append(Item("member", Reference(str(joined), offset=1000, size=len(content))))
    found.append(Item("beyond", Reference(str(joined), offset=1000, size=10**6)))
    found.append(Item("gone", Reference(str(root / "gone.wav"))))
    found.append(Item("folder", Reference(str(root))))
    found.append(Item("no audio", Reference("row 8", data=b"abc")))
    found.append(Item("empty", Reference("row 9", data=b"")))
    found.append(Item("none", None, problem="no audio in this row"))
    return found


def test_the_same_for_any_number_of_workers(items):
    here = list(decoded(items))
    good = {d.item.id: d.samples for d in here if not d.reason}
    bad = {d.item.id: d.reason for d in here if d.reason}
    assert list(bad) == ["beyond", "gone", "folder", "no audio", "empty", "none"] and len(good) == 16
    assert all(len(d.samples) == 0 for d in here if d.reason)
    assert np.array_equal(good["0.wav"], good["bytes of 0.wav"]) and np.array_equal(good["0.wav"], good["member"])
    assert abs(len(good["part of 1.flac"]) - 3200) <= 1 and abs(len(good["3.mp3"]) - 8000) <= 1
    for workers in (1, 2, 5):
        for ours, theirs in zip(here, decoded(iter(items), workers), strict=True):
            assert (ours.item.id, ours.reason) == (theirs.item.id, theirs.reason)
            assert ours.samples.dtype == theirs.samples.dtype == np.float32
            assert np.array_equal(ours.samples, theirs.samples)


def test_a_decoder_that_dies_loses_its_file_only(items, monkeypatch, tmp_path):
    """A worker that kills itself on one file, as a native library would."""
    worker = tmp_path / "deadly.py"
    worker.write_text(
        "import os, signal, spire.datasets.decode_worker as w\n"
        "plain = w.Reference.samples\n"
        "def samples(self):\n"
        "    if 'flac' in self.path: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if 'mp3' in self.path: os._exit(3)\n"
        "    return plain(self)\n"
        "w.Reference.samples = samples\n"
        "w.main()\n"
    )
    start = subprocess.Popen

    def deadly(command, **options):
        return start([sys.executable, str(worker)], **options)

    monkeypatch.setattr(loader.subprocess, "Popen", deadly)
    reasons = {d.item.id: d.reason for d in decoded(items[:15], 2)}
    died = {i for i, reason in reasons.items() if reason}
    assert died == {"1.flac", "part of 1.flac", "3.mp3", "part of 3.mp3"}
    assert reasons["1.flac"].endswith("the decoder crashed on it (signal 11)")
    assert reasons["3.mp3"].endswith("(exit code 3)")


def test_workers_that_cannot_start_are_an_error_not_empty_lines(items, monkeypatch):
    monkeypatch.setattr(loader.sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="did not start .exit code 1"):
        list(decoded(items, 1))


def workers_alive():
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if decode_worker.__name__.encode() in command and state != "Z":
            found.append((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
    return [parent for parent in found if parent == str(os.getpid())]


def test_no_process_is_left_behind(items):
    list(decoded(items, 3))
    assert not workers_alive()
    stream = decoded(items, 3)
    next(stream)
    assert workers_alive()
    stream.close()
    assert not workers_alive()

    def failing():
        yield from items[:3]
        raise KeyError("the table")

    with pytest.raises(KeyError):
        list(decoded(failing(), 2))
    assert not workers_alive()


def test_workers_end_with_a_killed_parent(items):
    code = (
        "import os, subprocess, sys, time\n"
        "from spire.datasets.corpus import Item, Reference\n"
        "from spire.datasets.loader import decoded\n"
        "stream = decoded((Item('x', Reference(sys.argv[1])) for _ in iter(int, 1)), 2); next(stream); next(stream)\n"
        "ps = ['ps', '-o', 'pid=,args=', '--ppid', str(os.getpid())]\n"
        "found = subprocess.run(ps, capture_output=True, text=True).stdout.splitlines()\n"
        "print(*[line.split()[0] for line in found if 'decode_worker' in line], flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, items[0].reference.path]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    limit = time.monotonic() + 10
    while any(running(pid) for pid in workers) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not any(running(pid) for pid in workers)


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_what_waits_is_bounded(monkeypatch, tmp_path):
    """A consumer that stands still: workers stop at the limit and go on when something is taken."""
    write_wav(tmp_path / "x.wav", np.zeros(16_000))  # 64 kB decoded
    monkeypatch.setattr(loader, "HELD_BYTES", 300_000)
    asked = []
    ask = loader._Pool._ask
    monkeypatch.setattr(loader._Pool, "_ask", lambda self, r: asked.append(1) or ask(self, r))
    stream = decoded((Item(str(i), Reference(str(tmp_path / "x.wav"))) for i in range(30)), 2)
    next(stream)
    limit = time.monotonic() + 20
    while len(asked) < 5 and time.monotonic() < limit:
        time.sleep(0.01)
    time.sleep(0.2)
    assert 5 <= len(asked) <= 8, "the limit, what was taken, and one for each worker"
    assert len(list(stream)) == 29 and len(asked) == 30


def test_hostile_headers(tmp_path):
    def wav(rate, samples, promised):
        body = b"\0\0" * samples
        head = b"RIFF" + (36 + promised).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
        head += (1).to_bytes(2, "little") * 2 + rate.to_bytes(4, "little") + (2 * rate).to_bytes(4, "little")
        return (
            head
            + (2).to_bytes(2, "little")
            + (16).to_bytes(2, "little")
            + b"data"
            + promised.to_bytes(4, "little")
            + body
        )

    with pytest.raises(UserError, match="slow: 1 samples a second"):
        read_audio_bytes(wav(1, 500, 1000), "slow")
    assert len(read_audio_bytes(wav(16_000, 500, 1000), "good")) == 500
    long = np.zeros(1000 * 3600 * 13, np.int16)
    soundfile.write(tmp_path / "long.flac", long, 1000, subtype="PCM_16")
    assert (tmp_path / "long.flac").stat().st_size < 1_000_000
    with pytest.raises(UserError, match="13.0 hours of audio"):
        read_audio(tmp_path / "long.flac")
    assert len(read_audio(tmp_path / "long.flac", start=3600, duration=2)) == 32_000


def test_long_files_are_read_in_blocks(tmp_path, monkeypatch):
    import spire.audio

    wave = 0.1 * np.random.default_rng(0).standard_normal((50_000, 2))
    soundfile.write(tmp_path / "x.wav", wave, 16_000, subtype="PCM_16")
    whole = read_audio(tmp_path / "x.wav")
    monkeypatch.setattr(spire.audio, "BLOCK_SECONDS", 1)
    assert np.array_equal(read_audio(tmp_path / "x.wav"), whole)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_damaged_bytes_are_samples_or_a_reason(ending):
    """Mutants of files of each format, decoded here and in a process: the same, and never an exception."""
    rng = np.random.default_rng(len(ending))
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * rng.standard_normal(4000), 16_000, format=ending.upper())
    whole = np.frombuffer(buffer.getvalue(), np.uint8)
    mutants = []
    for number in range(60):
        mutant = whole.copy()
        places = rng.integers(0, len(mutant) if number % 2 else min(100, len(mutant)), 1 + number % 8)
        mutant[places] = rng.integers(0, 256, len(places))
        mutants.append(mutant[: rng.integers(0, len(mutant))] if number % 5 == 0 else mutant)
    items = [Item(str(i), Reference(f"mutant {i}", data=m.tobytes())) for i, m in enumerate(mutants)]
    apart = list(decoded(items, 1))
    assert not [d.reason for d in apart if "crashed" in d.reason]
    for here, there in zip(decoded(items), apart, strict=True):
        assert here.reason == there.reason and np.array_equal(here.samples, there.samples)
        assert bool(len(here.samples)) != bool(here.reason) and np.isfinite(here.samples).all()
