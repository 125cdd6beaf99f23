"""Corpora: order, parts, what is refused, and that every kind leads to the same samples."""

import io
import json
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from spire.audio import write_wav
from spire.datasets.description import read_description
from spire.datasets.loader import decoded
from spire.datasets.local import FolderCorpus, TarCorpus
from spire.datasets.open import named_corpora, open_corpus
from spire.datasets.shards import Shard, parse_shard
from spire.errors import UserError
from spire.manifest import Utterance, write_manifest

CONFIGS = Path(__file__).resolve().parents[2] / "configs/datasets"


def wav_bytes(samples, rate=16_000):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """Six files of different lengths in a folder with a subfolder."""
    root = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for i, name in enumerate(["b/x.wav", "a.wav", "b/w.wav", "c.wav", "d.wav", "b/y.wav"]):
        (root / name).parent.mkdir(exist_ok=True)
        write_wav(root / name, 0.1 * rng.standard_normal(800 * (i + 1)))
    (root / "notes.txt").write_text("not audio")
    return root


def ids(corpus, shard=None, skip=0):
    first, last = (shard or Shard()).cut(corpus.pieces, corpus.weights)
    return [item.id for item in corpus.items(first, last, skip)]


def samples(corpus):
    return [d.samples for d in decoded(corpus.items(0, corpus.pieces))]


def make_tar(path, names, root):
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.add(root / name, arcname=name)
    return path


def test_every_kind_gives_the_same_samples(audio, tmp_path):
    order = ["a", "b/w", "b/x", "b/y", "c", "d"]
    folder = open_corpus(audio)
    assert ids(folder) == order
    expected = samples(folder)
    assert [len(s) for s in expected] == [1600, 2400, 800, 4800, 3200, 4000]

    (tmp_path / "list.tsv").write_text(f"{audio}\n" + "".join(f"{i}.wav\t{100}\n" for i in order))
    write_manifest(
        tmp_path / "m.jsonl",
        [Utterance(i, os.path.relpath(audio / f"{i}.wav", tmp_path), 0.05, "en", "x") for i in order],
    )
    make_tar(tmp_path / "s-1.tar", ["a.wav", "b/w.wav", "notes.txt", "b/x.wav"], audio)
    make_tar(tmp_path / "s-2.tar", ["b/y.wav", "c.wav", "d.wav"], audio)
    kinds = ["list.tsv", "s-*.tar", "s-{1..2}.tar", "s-1.tar"]
    for kind in kinds:
        corpus = open_corpus(tmp_path / kind)
        count = 3 if kind == "s-1.tar" else 6
        assert ids(corpus) == order[:count], kind
        assert all(map(np.array_equal, samples(corpus), expected[:count])), kind
    manifest = open_corpus(tmp_path / "m.jsonl")
    assert all(np.array_equal(a, b[:800]) for a, b in zip(samples(manifest), expected, strict=True))


@given(
    st.lists(st.floats(0, 1e6, allow_nan=False), max_size=40) | st.integers(0, 40),
    st.integers(1, 12),
)
def test_parts_are_contiguous_and_complete(weights, parts):
    pieces = weights if isinstance(weights, int) else len(weights)
    array = None if isinstance(weights, int) else np.array(weights)
    cuts = [Shard(i, parts).cut(pieces, array) for i in range(1, parts + 1)]
    assert cuts[0][0] == 0 and cuts[-1][1] == pieces
    assert all(a[1] == b[0] and b[0] <= b[1] for a, b in zip(cuts, cuts[1:], strict=False))
    if array is not None and len(array):
        shares = [array[a:b].sum() for a, b in cuts]
        assert max(shares) <= array.sum() / parts + array.max() * 1.001 + 1e-6, "no part is more than a piece too long"


def test_parts_of_every_kind_add_up(audio, tmp_path):
    make_tar(tmp_path / "s-1.tar", ["a.wav", "c.wav"], audio)
    make_tar(tmp_path / "s-2.tar", ["b/y.wav"], audio)
    for corpus in (open_corpus(audio), open_corpus(tmp_path)):
        for parts in (1, 2, 3, 5):
            found = [i for part in range(1, parts + 1) for i in ids(corpus, Shard(part, parts))]
            assert found == ids(corpus)
        assert ids(corpus, skip=2) == ids(corpus)[2:]
        assert ids(corpus, skip=99) == []


@pytest.mark.parametrize("text", ["3", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/2/3", ""])
def test_shard_arguments(text):
    with pytest.raises(UserError, match="i/n"):
        parse_shard(text)


def test_digest_follows_the_list_and_not_the_place(audio, tmp_path):
    import shutil

    shutil.copytree(audio, tmp_path / "copy")
    assert FolderCorpus(audio).digest == FolderCorpus(tmp_path / "copy").digest
    (tmp_path / "copy/d.wav").rename(tmp_path / "copy/e.wav")
    assert FolderCorpus(audio).digest != FolderCorpus(tmp_path / "copy").digest


def test_damaged_archives_are_refused(audio, tmp_path):
    whole = make_tar(tmp_path / "x.tar", ["a.wav", "d.wav"], audio)
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:4000])
    with pytest.raises(UserError, match="not a whole tar"):
        ids(TarCorpus([tmp_path / "cut.tar"]))
    with tarfile.open(tmp_path / "z.tar", "w:gz") as archive:
        archive.add(audio / "a.wav")
    with pytest.raises(UserError, match="not a whole tar") as e:
        ids(open_corpus(tmp_path / "z.tar"))
    assert "plain .tar" in e.value.hint
    with pytest.raises(UserError, match="No such file"):
        open_corpus(tmp_path / "gone-{1..3}.tar")


def test_an_archive_reaches_nothing_outside_of_itself(audio, tmp_path):
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        link = tarfile.TarInfo("secret.wav")
        link.type, link.linkname = tarfile.SYMTYPE, str(audio / "a.wav")
        archive.addfile(link)
        data = wav_bytes(np.zeros(800))
        up = tarfile.TarInfo("../../up.wav")
        up.size = len(data)
        archive.addfile(up, io.BytesIO(data))
    before = sorted(tmp_path.rglob("*"))
    assert ids(open_corpus(tmp_path / "links.tar")) == ["../../up"], "a link is passed over"
    assert len(samples(open_corpus(tmp_path / "links.tar"))[0]) == 800
    assert sorted(tmp_path.rglob("*")) == before, "nothing is extracted"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1|:1:"),
        ("/x\na.wav 12\n", ":2:"),
        ("/x\na.wav\t12\nb.wav\tmany\n", ":3:"),
    ],
)
def test_tsv_errors_name_the_line(tmp_path, text, message):
    (tmp_path / "l.tsv").write_text(text)
    with pytest.raises(UserError, match=message):
        open_corpus(tmp_path / "l.tsv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config: x\n", "no `path`"),
        ("- a\n", "keys and values"),
        ("path: [1]\n", "path must be text"),
        ("path: a/b\nsplit: 3\n", "split must be text"),
        ("path: a/b\ntrust_remote_code: true\n", "trust_remote_code is refused"),
        ("path: a/b\ntoken: abc\n", "token is refused"),
        ("path: !!python/object/apply:os.system [true]\n", "not YAML"),
        ("path: {\n", "not YAML"),
    ],
)
def test_descriptions_that_are_refused(tmp_path, text, message):
    (tmp_path / "d.yml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_description(tmp_path / "d.yml")


def test_a_description_of_a_local_list(audio, tmp_path):
    (tmp_path / "list.tsv").write_text(f"{audio}\na.wav\t1\n")
    (tmp_path / "d.yml").write_text("path: list.tsv\n")
    assert ids(open_corpus(tmp_path / "d.yml")) == ["a"]
    (tmp_path / "d.yml").write_text("path: list.tsv\nsplit: test\n")
    with pytest.raises(UserError, match="split given for a local corpus"):
        open_corpus(tmp_path / "d.yml")


def test_shipped_descriptions_are_read():
    files = sorted(CONFIGS.rglob("*.yml"))
    found = {str(f.relative_to(CONFIGS)): read_description(f) for f in files}
    assert len(found) >= 14
    assert found["fleurs_en_test.yml"].arguments["data_dir"] == "en_us" and found["vctk.yml"].filter_mic == "mic1"
    assert found["covost2_en_de_test.yml"].arguments.keys() == {"revision"}
    spite = [d for name, d in found.items() if name.startswith("spite/")]
    assert len(spite) == 36 and {d.split for d in spite} == {"train"}


def test_unknown_things(tmp_path):
    with pytest.raises(UserError, match="no such corpus"):
        open_corpus(tmp_path / "nothing")
    with pytest.raises(UserError, match="no audio file"):
        open_corpus(tmp_path)
    assert named_corpora(["a=x=y"]) == {"a": "x=y"}
    with pytest.raises(UserError, match="given twice"):
        named_corpora(["a=x", "a=y"])


class TestHuggingFace:
    """Saved datasets, made without torchcodec."""

    @pytest.fixture(scope="class")
    @classmethod
    def saved(cls, tmp_path_factory):
        datasets = pytest.importorskip("datasets")
        root = tmp_path_factory.mktemp("saved")
        rng = np.random.default_rng(1)
        waves = [0.1 * rng.standard_normal(n) for n in (900, 1200, 500)]
        write_wav(root / "on_disk.wav", waves[2])
        rows = {
            "id": ["p", "q", "r", "s"],
            "file": ["p_mic1.flac", "q_mic2.flac", "r_mic1.flac", "s_mic1.flac"],
            "audio": [
                {"bytes": wav_bytes(waves[0]), "path": "p.wav"},
                {"bytes": b"no audio", "path": "q.wav"},
                {"bytes": None, "path": str(root / "on_disk.wav")},
                None,
            ],
            "begin_time": [0.0, 1.0, 2.0, 3.0],
            "end_time": [1.5, 2.0, 2.25, 3.0],
        }
        table = datasets.Dataset.from_dict(rows)
        table = table.cast_column("audio", datasets.Audio(sampling_rate=16_000))
        datasets.DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(root / "both")
        table.save_to_disk(root / "one")
        return root

    def description(self, folder, text):
        path = folder / "d.yml"
        path.write_text(text)
        return path

    def test_rows_bytes_paths_and_gaps(self, saved, tmp_path):
        corpus = open_corpus(self.description(tmp_path, f"path: {saved}/both\nsplit: train\n"))
        result = list(decoded(corpus.items(0, 4), workers=1))
        assert [d.item.id for d in result] == ["p", "q", "r", "s"]
        assert [len(d.samples) for d in result] == [900, 0, 500, 0]
        assert "cannot be read" in result[1].reason and "no audio in this row" in result[3].reason
        assert corpus.lengths.tolist() == [1.5, 1.0, 0.25, 0.0]
        assert ids(corpus, skip=1) == ["q", "r", "s"]
        assert corpus.digest == open_corpus(self.description(tmp_path, f"path: {saved}/both\nsplit: train\n")).digest
        assert ids(open_corpus(saved / "one")) == ["p", "q", "r", "s"]
        assert "torchcodec" not in sys.modules

    def test_splits_and_microphones(self, saved, tmp_path):
        with pytest.raises(UserError, match="several splits") as e:
            open_corpus(saved / "both")
        assert "train, test" in e.value.hint
        with pytest.raises(UserError, match="no split 'dev'"):
            open_corpus(self.description(tmp_path, f"path: {saved}/both\nsplit: dev\n"))
        corpus = open_corpus(self.description(tmp_path, f"path: {saved}/one\nfilter_mic: mic1\n"))
        assert ids(corpus) == ["p", "r", "s"] and corpus.lengths.tolist() == [1.5, 0.25, 0.0]
        with pytest.raises(UserError, match="_mic9"):
            open_corpus(self.description(tmp_path, f"path: {saved}/one\nfilter_mic: mic9\n"))

    def test_hub_errors_are_ours(self, tmp_path, monkeypatch):
        datasets = pytest.importorskip("datasets")
        asked = {}

        def load_dataset(path, name=None, split=None, **more):
            asked.update(path=path, name=name, split=split, **more)
            raise ConnectionError("no network")

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        text = "path: bpop/x\nconfig: en_de\nsplit: train\ndata_dir: cv\n"
        with pytest.raises(UserError, match="bpop/x: cannot be loaded: no network"):
            open_corpus(self.description(tmp_path, text))
        assert asked == {"path": "bpop/x", "name": "en_de", "split": "train", "data_dir": "cv"}


def test_importing_corpora_imports_no_heavy_library():
    import subprocess

    code = "import sys, spire.datasets.open; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", "import json; " + code], capture_output=True, text=True, check=True)
    assert not {"datasets", "torch", "pyarrow", "transformers"} & set(json.loads(done.stdout))
