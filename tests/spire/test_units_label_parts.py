"""Labels do not depend on parts, workers or kills: the same bytes, always. And what a join refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import units_join
import units_label
import units_lengths

from spire.audio import write_wav
from spire.datasets.loader import decoded
from spire.datasets.local import FilesCorpus
from spire.datasets.open import open_corpus
from spire.errors import UserError
from spire.units import label_part
from spire.units.kmeans import KMeans, save
from spire.units.label import read_frames
from spire.units.label_files import read_record, write_frames
from spire.units.lines import parse_line

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SIZES = [1600, 300, 8000, 0, 4000, 12000, 900, 2000, 16000, 700, 399, 400]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with twelve files, of which one is too short, one empty, one no audio; and a k-means of cepstra."""
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(3)
    for i, size in enumerate(SIZES):
        write_wav(root / f"audio/{i:02d}.wav", 0.1 * rng.standard_normal(size))
    (root / "audio/06.wav").write_bytes(b"RIFF but not really")
    metadata = {"encoder": "mfcc", "layer": "0", "smoothing": "0", "normalization": "none"}
    save(root / "k.safetensors", KMeans(rng.standard_normal((30, 39)).astype(np.float32), metadata))
    label(root, root / "whole")
    return root


def label(root, out, *more):
    named = ["--encoder", "mfcc", "--kmeans", f"{root}/k.safetensors", "--corpus", f"c={root}/audio"]
    assert units_label.main([*named, "--out", str(out), *more]) == 0
    return out


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_the_whole(corpus):
    out = files(corpus / "whole")
    assert set(out) == {"c.units", "c.frames.npz", "c.unreadable.jsonl", "c.labels.json", "unreadable.json"}
    lines = out["c.units"].decode().split("\n")[:-1]
    assert [i for i, line in enumerate(lines) if not line] == [1, 3, 6, 10]
    reasons = [json.loads(line) for line in out["c.unreadable.jsonl"].splitlines()]
    assert [(r["row"], r["id"]) for r in reasons] == [(1, "01"), (3, "03"), (6, "06"), (10, "10")]
    assert "too short: 300 samples" in reasons[0]["reason"] and "cannot be read" in reasons[2]["reason"]
    record = read_record(corpus / "whole/c.labels.json")
    assert record.counts["utterances"] == 12 and record.counts["unreadable"] == 4
    assert record.counts["samples"] == sum(SIZES) - 900


@given(parts=st.integers(1, 14), workers=st.sampled_from([0, 0, 0, 0, 2]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_parts_and_workers_join_to_the_same_bytes(corpus, parts, workers):
    root = corpus / f"p{parts}-{workers}"
    shutil.rmtree(root, ignore_errors=True)
    for part in np.random.default_rng(parts).permutation(parts) + 1:
        label(corpus, root / f"{part % 3}", "--shard", f"{part}/{parts}", "--workers", str(workers))
    folders = [str(p) for p in root.iterdir()]
    assert units_join.main(["--parts", *folders, "--out", str(root / "joined")]) == 0
    assert files(root / "joined") == files(corpus / "whole")


def test_a_raised_error_in_the_middle_and_going_on(corpus, tmp_path, monkeypatch, capsys):
    class Stop(Exception):
        pass

    for after in (1, 4, 6):
        seen = []

        def failing(items, workers, seen=seen, after=after):
            for utterance in decoded(items, workers):
                if len(seen) == after:
                    raise Stop
                seen.append(utterance)
                yield utterance

        monkeypatch.setattr(label_part, "decoded", failing)
        with pytest.raises(Stop):
            label(corpus, tmp_path / "out")
        assert not list((tmp_path / "out").glob("c*")), "nothing looks finished"
        monkeypatch.setattr(label_part, "decoded", decoded)
    label(corpus, tmp_path / "out")
    assert "going on after" in capsys.readouterr().out
    assert files(tmp_path / "out") == files(corpus / "whole")


def test_killed_again_and_again(corpus, tmp_path):
    """kill -9 at random moments of a slow run with checkpoints after every row; then one run to the end."""
    slow = (
        "import sys, time; sys.path[:0] = sys.argv[1:2]\n"
        "import spire.journal as j; j.EVERY = 0.0\n"
        "import spire.units.label_part as p, spire.datasets.loader as l\n"
        "p.Journal = lambda *a: j.Journal(*a, every=0.0)\n"
        "def slow(items, workers):\n"
        "    for u in l.decoded(items, workers):\n"
        "        time.sleep(0.05); yield u\n"
        "p.decoded = slow\n"
        "import units_label; units_label.main(sys.argv[2:])\n"
    )
    out = tmp_path / "out"
    named = ["--encoder", "mfcc", "--kmeans", f"{corpus}/k.safetensors", "--corpus", f"c={corpus}/audio"]
    command = [sys.executable, "-c", slow, str(SCRIPTS), *named, "--out", str(out), "--workers", "1"]
    rng, progress = np.random.default_rng(5), []
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = progress[-1] if progress else 0
        limit = time.monotonic() + 20
        while rows(out) <= before and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.08))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        progress.append(rows(out))
        assert not list(out.glob("c*")), "nothing looks finished"
    assert progress == sorted(set(progress)) and 0 < progress[-1] < len(SIZES), progress
    label(corpus, out)
    assert files(out) == files(corpus / "whole")


def rows(out):
    states = list(out.glob(".*.partial/state.json"))
    return json.loads(states[0].read_text())["rows"] if states else 0


def test_what_is_there_is_not_labelled_again(corpus, tmp_path, monkeypatch):
    out = label(corpus, tmp_path / "out", "--shard", "2/3")
    before = {p: p.stat().st_mtime_ns for p in out.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(label_part, "decoded", lambda *a: pytest.fail("labelled again"))
        label(corpus, out, "--shard", "2/3")
    assert {p: p.stat().st_mtime_ns for p in out.iterdir()} == before
    units = out / "c.00002-of-00003.units"
    content = units.read_bytes()
    units.write_bytes(content[:-3])
    label(corpus, out, "--shard", "2/3")
    assert units.read_bytes() == content, "a file that was cut off is made again"
    label(corpus, out, "--shard", "2/3", "--form", "indices")
    assert units.read_bytes() != content, "another form is another result"


def test_killed_while_the_files_appear(corpus, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(label_part, "write_frames", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            label(corpus, tmp_path / "out")
    assert (tmp_path / "out/c.units").exists() and not (tmp_path / "out/c.labels.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr(label_part.PartLabelling, "_append", lambda *a: pytest.fail("labelled again"))
        label(corpus, tmp_path / "out")
    assert files(tmp_path / "out") == files(corpus / "whole")


def test_two_processes_on_one_part(corpus, tmp_path):
    work = tmp_path / "work"
    with pytest.MonkeyPatch.context() as patch:
        inner = []

        def nested(items, workers):
            if not inner:
                inner.append(True)
                with pytest.raises(UserError, match="another process works on this part"):
                    label(corpus, tmp_path / "out", "--work", str(work))
            yield from decoded(items, workers)

        patch.setattr(label_part, "decoded", nested)
        label(corpus, tmp_path / "out", "--work", str(work))
    assert inner and not list(work.iterdir()), "the journal lay where it was told to, and is gone"
    assert files(tmp_path / "out") == files(corpus / "whole")


def test_forms(corpus, tmp_path):
    frames = read_frames(corpus / "whole/c.frames.npz")
    for form in ("indices", "extra_id", "pua"):
        out = label(corpus, tmp_path / form, "--form", form, "--no-dedup", "--no-frames")
        lines = (out / "c.units").read_text().split("\n")[:-1]
        assert [parse_line(line, form) for line in lines] == [f.tolist() for f in frames]
        assert not (out / "c.frames.npz").exists()


@pytest.fixture
def parts(corpus, tmp_path):
    for part in (1, 2, 3):
        label(corpus, tmp_path / "parts", "--shard", f"{part}/3")
    return tmp_path / "parts"


def refuse(parts, match, *more):
    out = parts.parent / "joined"
    with pytest.raises(UserError, match=match):
        units_join.main(["--parts", str(parts), *more, "--out", str(out)])
    assert not (out / "c.labels.json").exists()


def test_join_refuses_a_missing_part(parts):
    (parts / "c.00002-of-00003.labels.json").unlink()
    refuse(parts, "1 of 3 parts missing: 2")


@pytest.mark.parametrize("file", ["units", "frames.npz", "unreadable.jsonl"])
def test_join_refuses_a_changed_file(parts, file):
    path = parts / f"c.00002-of-00003.{file}"
    content = bytearray(path.read_bytes() or b"x")
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refuse(parts, f"{file}: changed")
    path.unlink()
    refuse(parts, "no such file")


def test_join_refuses_parts_that_do_not_belong_together(corpus, parts):
    other = parts.parent / "other"
    label(corpus, other, "--shard", "2/3")
    refuse(parts, "both in", str(other))
    for path in parts.glob("c.00002*"):
        path.unlink()
    shutil.rmtree(other)
    label(corpus, other, "--shard", "2/3", "--form", "indices")
    refuse(parts, "form 'indices' and 'pua'", str(other))
    shutil.rmtree(other)
    label(corpus, other, "--shard", "2/4")
    refuse(parts, "4 and 3 parts", str(other))


def test_join_refuses_wrong_counts(parts):
    path = parts / "c.00001-of-00003.labels.json"
    record = json.loads(path.read_text())
    record["counts"]["utterances"] += 1
    path.write_text(json.dumps(record))
    refuse(parts, "lines, .* utterances")
    path.write_text("{}")
    refuse(parts, "not a record")
    refuse(parts.parent, "no labelled parts")


def test_join_refuses_a_corpus_without_any_frame(corpus, tmp_path):
    write_wav(tmp_path / "a/x.wav", np.zeros(10))
    write_wav(tmp_path / "a/y.wav", np.zeros(10))
    arguments = ["--encoder", "mfcc", "--kmeans", f"{corpus}/k.safetensors", "--corpus", f"c={tmp_path}/a"]
    for part in (1, 2):
        assert units_label.main([*arguments, "--shard", f"{part}/2", "--out", f"{tmp_path}/p"]) == 0
    with pytest.raises(UserError, match="none of the 2"):
        units_join.main(["--parts", f"{tmp_path}/p", "--out", f"{tmp_path}/joined"])


def test_frames_files_are_those_of_numpy(tmp_path):
    ids, lengths = np.arange(10, dtype=np.int32), np.array([4, 0, 6], np.int32)
    np.savez(tmp_path / "numpy.npz", ids=ids, lengths=lengths)
    chunks = (iter([a.tobytes()[:8], a.tobytes()[8:]]) for a in (ids, lengths))
    write_frames(tmp_path / "ours.npz", next(chunks), 10, next(chunks), 3)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()


def test_lengths(corpus, tmp_path):
    def measure(out, *more):
        arguments = ["--corpus", f"c={corpus}/audio", "--out", str(tmp_path / out), *more]
        assert units_lengths.main(arguments) == 0
        return tmp_path / out

    whole = measure("whole")
    expected = np.array(SIZES) / 16_000
    expected[6] = 0
    assert np.array_equal(np.load(whole / "c.times.npy"), expected)
    unreadable = json.loads((whole / "c.times.json").read_text())["unreadable"]
    assert [(e["row"], e["id"]) for e in unreadable] == [(6, "06")]
    for part in (3, 1, 2):
        measure("parts", "--shard", f"{part}/3")
    join = ["--parts", str(tmp_path / "parts"), "--lengths", "--out", str(tmp_path / "joined")]
    assert units_join.main(join) == 0
    assert files(tmp_path / "joined") == files(whole)
    array = tmp_path / "parts/c.00002-of-00003.times.npy"
    np.save(array, np.load(array) + 1)
    with pytest.raises(UserError, match="changed since"):
        units_join.main(join)
    array.with_suffix(".json").unlink()
    with pytest.raises(UserError, match="of 3 parts there are 1/3, 3/3"):
        units_join.main(join)


def test_lengths_of_a_manifest_open_no_file(tmp_path):
    row = {"id": "a", "audio": "nowhere.wav", "duration": 1.25, "lang": "en", "text": "x"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    assert open_corpus(tmp_path / "m.jsonl").lengths.tolist() == [1.25]
    assert units_lengths.main(["--corpus", f"m={tmp_path}/m.jsonl", "--out", f"{tmp_path}/o"]) == 0
    assert np.load(tmp_path / "o/m.times.npy").tolist() == [1.25]


def test_a_corpus_that_gives_too_few_is_an_error(corpus, tmp_path, monkeypatch):
    items = FilesCorpus.items
    monkeypatch.setattr(FilesCorpus, "items", lambda *a, **k: list(items(*a, **k))[:-1].__iter__())
    with pytest.raises(RuntimeError, match="11 lines for 12 utterances"):
        label(corpus, tmp_path / "out")
    with pytest.raises(RuntimeError, match="11 lengths for 12 utterances"):
        units_lengths.main(["--corpus", f"c={corpus}/audio", "--out", f"{tmp_path}/o"])


def test_archives_are_parts(corpus, tmp_path):
    """More parts than archives leave some parts empty; the join is the whole all the same."""
    for i, names in enumerate((["00", "02"], ["04"], ["05", "08", "07"])):
        with tarfile.open(tmp_path / f"s{i}.tar", "w") as archive:
            for name in names:
                archive.add(corpus / f"audio/{name}.wav", arcname=f"{name}.wav")
    arguments = ["--encoder", "mfcc", "--kmeans", f"{corpus}/k.safetensors", "--corpus", f"c={tmp_path}/s{{0..2}}.tar"]
    units_label.main([*arguments, "--out", f"{tmp_path}/whole"])
    for part in range(1, 6):
        units_label.main([*arguments, "--out", f"{tmp_path}/parts", "--shard", f"{part}/5"])
    units_join.main(["--parts", f"{tmp_path}/parts", "--out", f"{tmp_path}/joined"])
    assert files(tmp_path / "joined") == files(tmp_path / "whole")
    whole = (corpus / "whole/c.units").read_text().split("\n")
    assert (tmp_path / "whole/c.units").read_text().split("\n")[:-1] == [whole[i] for i in (0, 2, 4, 5, 8, 7)]
