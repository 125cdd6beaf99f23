"""Corpora of the hub, prepared through the real client against the loopback hub."""

import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from corpora_made import CORPORA, PROJECT, archive, description, librispeech, table, tone
from server import Hub

from spire.audio import load_utterance
from spire.datasets import transcripts
from spire.datasets.catalog import Split, read_facts
from spire.datasets.local import ManifestCorpus
from spire.datasets.prepare import prepare
from spire.datasets.prepared import begun_commit, join
from spire.datasets.shards import Shard
from spire.datasets.sources import open_source
from spire.errors import UserError
from spire.manifest import read_manifest

NAME = "openslr/librispeech_asr"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path)
        yield hub


def made(key, folder, split, out, target="", shard=None, limit=None, **options):
    """What the script does."""
    facts = read_facts(description(key, folder))
    revision = options.get("revision") or facts.revision
    source = open_source(facts, split, target, commit=begun_commit(out, facts.key, revision), **options)
    return prepare(facts, source, out, shard, limit)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_librispeech_end_to_end(hub, tmp_path):
    commit = hub.commit(NAME, librispeech())
    summary = made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    assert summary["commit"] == commit and summary["utterances"] == 6 and summary["licence"] == "CC BY 4.0"
    utterances = read_manifest(tmp_path / "out/manifest.jsonl")
    assert [u.id for u in utterances] == [f"1089-134686-{n:04d}" for n in range(6)]
    assert utterances[4].text == "HE HOPED 4" and utterances[4].speaker == "1089" and utterances[4].lang == "en"
    for n, u in enumerate(utterances):
        samples = load_utterance(u)
        assert len(samples) / 16_000 == pytest.approx(u.duration, abs=1e-4) == pytest.approx(0.1 + 0.01 * n)
    with tarfile.open(tmp_path / "out/audio/00001.tar") as archive:
        assert [(m.offset_data, m.size) for m in archive] == [u.stretch for u in utterances[3:]]
    items = list(ManifestCorpus(tmp_path / "out/manifest.jsonl").items(0, 6))
    assert all(len(i.reference.samples()) for i in items)
    assert not list((tmp_path / "out").glob(".*"))
    assert [p["digest"].partition(":")[0] for p in summary["parts"]] == ["sha256", "sha256"]


def test_a_stopped_run_goes_on_with_equal_bytes(hub, tmp_path):
    hub.commit(NAME, librispeech())
    made("librispeech", tmp_path, "test.clean", tmp_path / "whole")
    hub.fail("GET /lfs", skip=1, times=99, status=403)
    with pytest.raises(UserError, match="403"):
        made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    assert not (tmp_path / "out/manifest.jsonl").exists()
    hub._faults.clear()
    before = len(hub.asked("GET /lfs"))
    # The branch moves between the two runs: the second stays at the commit of the first.
    hub.commit(NAME, librispeech(parts=1))
    made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    assert len(hub.asked("GET /lfs")) == before + 1
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_shards_join_to_the_whole_corpus(hub, tmp_path):
    hub.commit(NAME, librispeech(parts=3))
    made("librispeech", tmp_path, "test.clean", tmp_path / "whole")
    folders = [tmp_path / f"part{i}" for i in (1, 2)]
    for i, folder in enumerate(folders, start=1):
        made("librispeech", tmp_path, "test.clean", folder, shard=Shard(i, 2))
    summary = join(folders[::-1], tmp_path / "joined")
    whole, joined = (read_manifest(tmp_path / f"{name}/manifest.jsonl") for name in ("whole", "joined"))
    assert [(u.id, u.text, u.duration) for u in whole] == [(u.id, u.text, u.duration) for u in joined]
    assert [load_utterance(u).tobytes() for u in whole] == [load_utterance(u).tobytes() for u in joined]
    assert summary["utterances"] == 9
    with pytest.raises(UserError, match="part"):
        join(folders[:1], tmp_path / "half")
    hub.commit(NAME, librispeech(parts=2))
    made("librispeech", tmp_path, "test.clean", tmp_path / "other", shard=Shard(2, 2))
    with pytest.raises(UserError, match="commit|parts") as e:
        join([folders[0], tmp_path / "other"], tmp_path / "mixed")
    assert "pin" in e.value.hint


@pytest.mark.parametrize("reset", [False, True])
def test_cut_connections_go_on_where_they_were(hub, tmp_path, reset):
    files = librispeech(parts=1)
    hub.commit(NAME, files)
    hub.fail("GET /lfs", cut=3000, reset=reset, times=2)
    assert made("librispeech", tmp_path, "test.clean", tmp_path / "out")["utterances"] == 3
    assert reset or hub.asked("bytes=3000-") and hub.asked("bytes=6000-")


def test_a_damaged_download_is_fetched_again_once(hub, tmp_path):
    hub.commit(NAME, librispeech(parts=1))
    hub.fail("GET /lfs", corrupt=True)
    assert made("librispeech", tmp_path, "test.clean", tmp_path / "out")["utterances"] == 3
    hub.fail("GET /lfs", corrupt=True, times=2)
    with pytest.raises(UserError, match="checksum"):
        made("librispeech", tmp_path, "test.clean", tmp_path / "again")


def test_busy_hub_is_waited_for(hub, tmp_path):
    hub.commit(NAME, librispeech(parts=1))
    hub.fail("api/datasets", status=429, headers={"Retry-After": "1"}, times=2)
    hub.fail("GET /lfs", status=503)
    assert made("librispeech", tmp_path, "test.clean", tmp_path / "out")["utterances"] == 3
    hub.fail("api/datasets", status=429, headers={"Retry-After": "1"}, times=1000)
    with pytest.raises(UserError, match="429") as e:
        made("librispeech", tmp_path, "test.clean", tmp_path / "never")
    assert "goes on where it stopped" in e.value.hint and "HF_TOKEN" in e.value.hint


def test_without_a_network_a_folder_is_asked_for(hub, tmp_path):
    hub.commit(NAME, librispeech(parts=1))
    hub.fail("api/datasets", cut=0, reset=True, times=1000)
    with pytest.raises(UserError, match="given up after 6 tries") as e:
        made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    assert "goes on where it stopped; without a network, give a folder" in e.value.hint
    assert not (tmp_path / "out").exists()


def test_a_killed_download_goes_on_in_the_middle_of_its_file(hub, tmp_path):
    files = librispeech(parts=1)
    hub.commit(NAME, files)
    hub.fail("GET /lfs", cut=3000)
    hub.fail("GET /lfs", status=403)
    with pytest.raises(UserError, match="403"):
        made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    (partial,) = (tmp_path / "out/.source").rglob("*.incomplete")
    assert partial.read_bytes() == files["all/test.clean/0000.parquet"][:3000]
    before = len(hub.requests)
    assert made("librispeech", tmp_path, "test.clean", tmp_path / "out")["utterances"] == 3
    asked = [line for line in hub.requests[before:] if "/lfs" in line and line.startswith("GET")]
    assert len(asked) == 1 and asked[0].endswith("bytes=3000-")


def test_interrupted_at_any_utterance_the_bytes_are_the_same(hub, tmp_path, monkeypatch):
    import spire.datasets.prepare as module

    hub.commit(NAME, librispeech())
    made("librispeech", tmp_path, "test.clean", tmp_path / "whole")
    for stop in range(6):
        calls = iter(range(100))

        def cleaned(*arguments, calls=calls, stop=stop):
            if next(calls) == stop:
                raise KeyboardInterrupt
            return transcripts.cleaned(*arguments)

        monkeypatch.setattr(module, "cleaned", cleaned)
        out = tmp_path / f"stopped{stop}"
        with pytest.raises(KeyboardInterrupt):
            made("librispeech", tmp_path, "test.clean", out)
        assert not (out / "corpus.json").exists()
        made("librispeech", tmp_path, "test.clean", out)
        assert content(out) == content(tmp_path / "whole")


@pytest.mark.parametrize("request_number", (1, 3))
def test_killed_at_any_request_the_bytes_are_the_same(hub, tmp_path, request_number):
    hub.commit(NAME, librispeech())
    corpus = description("librispeech", tmp_path)
    made("librispeech", tmp_path, "test.clean", tmp_path / "whole")
    command = [sys.executable, "scripts/data_corpus.py", "--corpus", str(corpus), "--split", "test.clean"]
    environment = os.environ | hub.environment(tmp_path)
    process = subprocess.Popen([*command, "--out", str(tmp_path / "out")], cwd=PROJECT, env=environment)
    match, skip = ("api/datasets", "GET /lfs")[request_number // 2], request_number % 2
    hub.fail(match, skip=skip, action=process.kill, cut=2000)
    assert process.wait(timeout=60) == -9
    made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def gigaspeech() -> dict[str, bytes]:
    texts = [
        "AS THEY'RE LEAVING <COMMA> CAN KASH ASIDE <QUESTIONMARK>",
        "<MUSIC>",
        "YES <PERIOD>",
        "<FOO> A",
    ]
    columns = {"segment_id": lambda n: f"POD{n}", "text": lambda n: texts[n % 4], "speaker": lambda n: "N/A"}
    return {"README.md": b"", "parquet-data/xl/train-00000-of-00001.parquet": table(4, kind="WAV", **columns)}


def test_gated_fails_at_once_with_the_page(hub, tmp_path, monkeypatch):
    hub.commit("speechcolab/gigaspeech", gigaspeech(), gated=True, allowed={"good"})
    for token, todo in (("", "no valid token was sent: sign in"), ("bad", "may not read it yet: sign in")):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(UserError, match="gated") as e:
            made("gigaspeech", tmp_path, "train", tmp_path / "out")
        assert todo in e.value.hint and "huggingface.co/datasets/speechcolab/gigaspeech" in e.value.hint
        assert not (tmp_path / "out").exists()
    assert not hub.asked("/lfs/")
    monkeypatch.setenv("HF_TOKEN", "good")
    summary = made("gigaspeech", tmp_path, "train", tmp_path / "out")
    texts = [u.text for u in read_manifest(tmp_path / "out/manifest.jsonl")]
    assert texts == ["AS THEY'RE LEAVING, CAN KASH ASIDE?", "YES."]
    assert summary["dropped"] == {"transcript dropped by gigaspeech": 2}


def test_missing_revision_repository_files_and_columns(hub, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    hub.commit(NAME, {"README.md": b"moved"})
    with pytest.raises(UserError, match="no data"):
        made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    hub.commit(NAME, {"other.parquet": b""})
    with pytest.raises(UserError, match="no file") as e:
        made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    assert "other.parquet" in e.value.hint
    with pytest.raises(UserError, match="no revision"):
        made("librispeech", tmp_path, "test.clean", tmp_path / "out", revision="v9")
    hub.commit(NAME, {"all/test.clean/0.parquet": table(1, sentence=lambda n: "x")})
    with pytest.raises(UserError, match="no column"):
        made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    hub.commit(NAME, {"all/test.clean/0.parquet": b"PAR1 not really"})
    with pytest.raises(UserError, match="parquet"):
        made("librispeech", tmp_path, "test.clean", tmp_path / "out2")


def test_the_promised_number_of_utterances_is_checked(hub, tmp_path):
    hub.commit(NAME, librispeech())
    facts = read_facts(description("librispeech", tmp_path))
    facts = replace(facts, splits={"test.clean": Split(facts.splits["test.clean"].files, 2620)})
    with pytest.raises(UserError, match="6 utterances, but it has 2620"):
        prepare(facts, open_source(facts, "test.clean"), tmp_path / "out")
    assert not (tmp_path / "out/manifest.jsonl").exists()
    few = prepare(facts, open_source(facts, "test.clean"), tmp_path / "few", limit=4)
    assert few["utterances"] == 4


def test_a_file_that_somebody_vouched_for_is_that_file(hub, tmp_path):
    hub.commit(NAME, librispeech())
    with pytest.raises(UserError, match="not sha256:7113aa4c"):
        open_source(read_facts(CORPORA / "librispeech.yml"), "test.clean", revision="main")


def test_a_branch_that_moves_during_a_run_changes_nothing(hub, tmp_path):
    first = hub.commit(NAME, librispeech(parts=3))
    hub.fail("GET /lfs", skip=1, action=lambda: hub.commit(NAME, librispeech(parts=1)))
    summary = made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    assert summary["commit"] == first and summary["utterances"] == 9


def test_streamed_rows_equal_fetched_ones(hub, tmp_path):
    hub.commit(NAME, librispeech())
    made("librispeech", tmp_path, "test.clean", tmp_path / "fetched")
    made("librispeech", tmp_path, "test.clean", tmp_path / "streamed", stream=True)
    assert content(tmp_path / "streamed") == content(tmp_path / "fetched")


HUB_CORPORA = sorted(p.stem for p in CORPORA.glob("*.yml") if "repository" in (t := p.read_text()) and "parquet\n" in t)


@pytest.mark.parametrize("key", HUB_CORPORA)
def test_every_parquet_description_reads_its_columns(hub, tmp_path, key):
    facts = read_facts(description(key, tmp_path))
    target = facts.targets[1] if facts.targets else ""
    sound = facts.columns.get("audio", "audio")
    used = {*facts.columns.values(), *facts.translations.values()} - {sound, f"{sound}.path"}
    split = next(iter(facts.splits))
    path = facts.splits[split].files[0].replace("{target}", target).replace("*", "00000-of-00001")
    columns = {name: lambda n, name=name: f"{name} {n}" for name in used}
    hub.commit(facts.repository, {path: table(2, kind="WAV", sound=sound, **columns)}, branch=facts.revision)
    made(key, tmp_path, split, tmp_path / "out", target)
    first, second = read_manifest(tmp_path / "out/manifest.jsonl")
    assert first.text == facts.columns["text"] + " 0" and first.id != second.id
    assert first.translations == ({"zh": "translation 0"} if target else {})
    assert len(load_utterance(second))


def test_archives_beside_a_table(hub, tmp_path):
    lines = ["id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender\tis_gold_transcript\taccent"]
    lines += [f"2012-en_{n}\tMr, {n}\tmr {n}\t77\ttest\tmale\tTrue\tNone" for n in range(3)]
    members = {f"test_part_0/2012-en_{n}.wav": tone(0.2, "WAV", seed=n) for n in range(3)}
    hostile = {"../../etc/passwd": b"x", "/abs/2012-en_9.wav": b"y"}
    files = {
        "data/en/asr_test.tsv": "\n".join(lines).encode() + b"\n",
        "data/en/test/test_part_0.tar.gz": archive(hostile | members),
    }
    hub.commit("facebook/voxpopuli", files)
    made("voxpopuli_archives", tmp_path, "test", tmp_path / "out")
    found = read_manifest(tmp_path / "out/manifest.jsonl")
    assert [(u.id, u.text, u.speaker) for u in found] == [(f"2012-en_{n}", f"mr {n}", "77") for n in range(3)]
    assert {p.name for p in tmp_path.rglob("*passwd*")} == set()
    files["data/en/test/test_part_0.tar.gz"] = files["data/en/test/test_part_0.tar.gz"][:-40]
    hub.commit("facebook/voxpopuli", files)
    with pytest.raises(UserError, match="not a whole tar archive"):
        made("voxpopuli_archives", tmp_path, "test", tmp_path / "cut")


def test_a_snapshot_on_disk_serves_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name, data in librispeech().items():
        (tmp_path / "snapshot" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "snapshot" / name).write_bytes(data)
    facts = read_facts(description("librispeech", tmp_path))
    source = open_source(facts, "test.clean", folder=tmp_path / "snapshot")
    assert prepare(facts, source, tmp_path / "out")["utterances"] == 6


def test_utterances_without_a_name_are_numbered_by_file_and_row(hub, tmp_path):
    hub.commit(NAME, librispeech())
    facts = read_facts(description("librispeech", tmp_path))
    facts = replace(facts, columns={"text": "text", "audio": "audio"})
    prepare(facts, open_source(facts, "test.clean"), tmp_path / "out")
    found = [u.id for u in read_manifest(tmp_path / "out/manifest.jsonl")]
    assert found[1:4] == ["00000-000001", "00000-000002", "00001-000000"]


def test_unreadable_rows_and_repeated_ids(hub, tmp_path):
    columns = {"id": lambda n: "same", "text": lambda n: "a" if n else "", "speaker_id": lambda n: 1}
    hub.commit(NAME, {"all/test.clean/0.parquet": table(3, **columns)})
    with pytest.raises(UserError, match="'same' occurs 2 times"):
        made("librispeech", tmp_path, "test.clean", tmp_path / "out")
    made("librispeech", tmp_path, "test.clean", tmp_path / "one", limit=1)
    dropped = [json.loads(line) for line in (tmp_path / "one/dropped.jsonl").read_text().splitlines()]
    assert [(d["row"], d["reason"]) for d in dropped] == [(1, "no transcript")]


def test_the_script(hub, tmp_path, capsys):
    sys.path.append(str(PROJECT / "scripts"))
    import data_corpus

    commit = hub.commit(NAME, librispeech())
    corpus = str(description("librispeech", tmp_path))
    assert data_corpus.main(["--corpus", corpus, "--split", "test.clean", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "6 utterances" in said and f"revision: {commit}" in said
    assert data_corpus.main(["--corpus", str(CORPORA / "gigaspeech.yml"), "--facts"]) == 0
    assert "gate: hub" in capsys.readouterr().out
