"""Descriptions read by the `datasets` library itself, and manifests of archives, by the steps that follow."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from corpora_made import PROJECT, description, librispeech, table
from server import Hub

from spire.datasets.catalog import read_facts
from spire.datasets.prepare import prepare
from spire.datasets.sources import open_source
from spire.units.kmeans import KMeans, save

SHIPPED = PROJECT / "configs/datasets"
CARD = b"""---
configs:
- config_name: all
  data_files:
  - split: test.clean
    path: all/test.clean/*.parquet
---
"""


def run(script, *arguments, **environment):
    command = [sys.executable, f"scripts/{script}", *map(str, arguments)]
    run = {"cwd": PROJECT, "capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": 100}
    return subprocess.run(command, env=os.environ | environment, **run)


@pytest.fixture(scope="module")
def hub():
    with Hub() as hub:
        columns = {"id": lambda n: n // 2, "raw_transcription": lambda n: f"Sentence {n}"}
        fleurs = {"en_us/test/0000.parquet": table(3, kind="WAV", **columns), "de_de/test/0000.parquet": b"broken"}
        hub.commit("google/fleurs", {"fleurs.py": b"", "README.md": b""})
        hub.commit("google/fleurs", fleurs, branch="refs/convert/parquet")
        files = librispeech() | {"README.md": CARD}
        pinned = read_facts(PROJECT / "configs/corpora/librispeech.yml").revision
        hub.commit("openslr/librispeech_asr", {"README.md": b"moved on"})
        hub.commit("openslr/librispeech_asr", files, branch=pinned)
        hub.commit("speechcolab/gigaspeech", files, gated=True)
        hub.commit("CSTR-Edinburgh/vctk", {"vctk.py": b"", "README.md": b""})
        yield hub


@pytest.mark.parametrize(("name", "count"), [("fleurs_en_test", 3), ("librispeech_test_clean", 6)])
def test_shipped_descriptions_load(hub, tmp_path, name, count):
    out = tmp_path / "out"
    arguments = ["--corpus", f"x={SHIPPED / name}.yml", "--out", out]
    done = run("units_lengths.py", *arguments, **hub.environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert np.load(out / "x.times.npy") == pytest.approx([0.1 + 0.01 * n for n in range(count)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gigaspeech_xl_train", "/datasets/speechcolab/gigaspeech, then set HF_TOKEN"),
        ("vctk", "refs/convert/parquet"),
        ("mls_eng_train", "check its name"),
    ],
)
def test_what_cannot_be_loaded_says_what_to_do(hub, tmp_path, name, hint):
    arguments = ["--corpus", f"x={SHIPPED / name}.yml", "--out", tmp_path / "out"]
    done = run("units_lengths.py", *arguments, **hub.environment(tmp_path))
    assert done.returncode == 1 and hint in done.stderr


def test_a_prepared_corpus_is_labelled_from_its_archives(hub, tmp_path, monkeypatch):
    hub.use(monkeypatch, tmp_path)
    hub.commit("openslr/librispeech_asr", librispeech(), branch="main")
    facts = read_facts(description("librispeech", tmp_path))
    prepare(facts, open_source(facts, "test.clean"), tmp_path / "corpus", limit=5)
    centroids = np.random.default_rng(0).standard_normal((20, 39)).astype(np.float32)
    save(tmp_path / "k.safetensors", KMeans(centroids, {}))
    arguments = ["--encoder", "mfcc", "--kmeans", tmp_path / "k.safetensors", "--workers", "1"]
    arguments += ["--corpus", f"x={tmp_path}/corpus/manifest.jsonl", "--out", tmp_path / "units"]
    done = run("units_label.py", *arguments)
    assert done.returncode == 0, done.stderr
    counts = json.loads((tmp_path / "units/x.labels.json").read_text())["counts"]
    assert counts["utterances"] == 5
    assert all((tmp_path / "units/x.units").read_text().splitlines())
