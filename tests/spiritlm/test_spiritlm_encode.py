"""Encoding: the units of the tokenizer, whatever the parts, workers and stops; the report of units."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from spiritlm_checkpoints import write_checkpoints
from spiritlm_goldens import audio

from spire.audio import load_utterance, write_wav
from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest, write_manifest
from spire.units.hubert import Hubert, HubertShape
from spiritlm.alignment.corpus import Transcribed
from spiritlm.alignment.part import run_part
from spiritlm.evaluation.measures import read_measures
from spiritlm.phonetic.encoding import TrackedPitch, digest, encoded_lines
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.phonetic.hubert_files import write_hubert25, write_kmeans, write_linear
from spiritlm.phonetic.quantizer import open_quantizer
from spiritlm.phonetic.quantizer_training import layers_of
from spiritlm.pitch.f0_files import F0Folder, TrackedF0, write_f0
from spiritlm.pitch.tokenizer import PitchTokenizer
from spiritlm.pitch.yaapt import yaapt
from spiritlm.speech_tokenizer import SpeechTokenizer
from spiritlm.style import StyleTokenizer

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SHAPE = HubertShape(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    conv_dim=(8,) * 8,
    conv_kernel=(10, 3, 3, 3, 3, 2, 2, 2),
    conv_stride=(5, 2, 2, 2, 2, 2, 2, 2),
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Random HuBERT, k-means and quantizer, and the tiny pitch and style parts."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(1)
    write_hubert25(folder / "mhubert.pt", Hubert(SHAPE), 2, normalize=True)
    write_linear(folder / "quantizer.pt", layers_of(32, 20), 20, 32)
    write_kmeans(folder / "kmeans.pt", np.random.default_rng(1).standard_normal((20, 32)).astype(np.float32))
    return write_checkpoints(folder)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Seven recordings: one below 80 ms, one that is not audio, one with phones."""
    folder = tmp_path_factory.mktemp("speech")
    utterances = []
    for i, samples in enumerate((5000, 9000, 1000, 8000, 0, 16_500, 6345)):
        path = folder / f"u{i}.wav"
        write_wav(path, audio(f"encode{i}", samples)) if samples else path.write_text("no audio")
        phones = (("a", 0.0, 0.3), ("b", 0.3, 0.9)) if i in (1, 5) else ()
        duration = max(samples, 1600) / 16_000 if not samples else samples / 16_000
        utterances.append(Utterance(f"u{i}", f"u{i}.wav", duration, "en", "text", phones=phones))
    write_manifest(folder / "manifest.jsonl", utterances)
    return folder / "manifest.jsonl"


def tokenizer(files, pitch=True):
    parts = files / "speech_tokenizer"
    return SpeechTokenizer(
        Hubert25(files / "mhubert.pt"),
        open_quantizer(files / "quantizer.pt"),
        pitch=PitchTokenizer(parts / "vqvae_f0_quantizer", "pyaapt") if pitch else None,
        style=StyleTokenizer(parts / "style_encoder_w2v2"),
    )


@pytest.fixture(scope="module")
def encoded(files, manifest, tmp_path_factory):
    """The bytes of streams.jsonl in one part."""
    out = tmp_path_factory.mktemp("encoded")
    run_part("streams", Transcribed(manifest, Shard()), Shard(), {}, encoded_lines(tokenizer(files)), out)
    return (out / "streams.jsonl").read_bytes()


def test_lines_are_the_units_of_the_tokenizer_in_order(files, manifest, encoded):
    rows = [json.loads(line) for line in encoded.decode().splitlines()]
    utterances = read_manifest(manifest)
    assert [row["id"] for row in rows] == [u.id for u in utterances]
    whole = tokenizer(files)
    for row, utterance in zip(rows, utterances, strict=True):
        if utterance.id in ("u2", "u4"):
            assert row["hubert"] == row["pitch"] == row["style"] == "" and row["reason"]
        else:
            assert {"id": utterance.id, **whole.encode_units(load_utterance(utterance))} == row
            assert len(row["hubert"].split()) == (round(utterance.duration * 16_000) - 80) // 640


@pytest.mark.parametrize("workers", [0, 2])
def test_parts_and_workers_change_nothing(files, manifest, encoded, tmp_path, workers, monkeypatch):
    monkeypatch.setattr("spiritlm.phonetic.encoding.AT_ONCE", 2)
    found = b""
    for part in (1, 2, 3):
        shard = Shard(part, 3)
        lines = encoded_lines(tokenizer(files), workers=workers)
        run_part("streams", Transcribed(manifest, shard), shard, {}, lines, tmp_path)
        found += (tmp_path / f"streams.0000{part}-of-00003.jsonl").read_bytes()
    assert found == encoded


def test_a_stopped_part_goes_on(files, manifest, encoded, tmp_path, monkeypatch):
    monkeypatch.setattr("spiritlm.phonetic.encoding.AT_ONCE", 2)
    corpus, lines = Transcribed(manifest, Shard()), encoded_lines(tokenizer(files))

    def stopped(utterances):
        for number, line in enumerate(lines(utterances)):
            if number == 3:
                raise KeyboardInterrupt
            yield line

    with pytest.raises(KeyboardInterrupt):
        run_part("streams", corpus, Shard(), {}, stopped, tmp_path)
    assert not (tmp_path / "streams.jsonl").exists()
    seen = []

    def counted(utterances):
        for line in lines(utterances):
            seen.append(line)
            yield line

    run_part("streams", corpus, Shard(), {}, counted, tmp_path)
    assert (tmp_path / "streams.jsonl").read_bytes() == encoded and len(seen) == 4


def test_contours_that_were_tracked_give_the_same_pitch(files, manifest, encoded, tmp_path):
    utterances = [u for u in read_manifest(manifest) if u.id not in ("u2", "u4")]
    contours = [TrackedF0(u.id, "", *yaapt(load_utterance(u))) for u in utterances[1:]]
    write_f0(tmp_path / "f0", contours, "pyaapt")
    pitch = PitchTokenizer(files / "speech_tokenizer" / "vqvae_f0_quantizer", "pyaapt")
    tracked = TrackedPitch(pitch, F0Folder(tmp_path / "f0"))
    lines = encoded_lines(tokenizer(files, pitch=False), tracked)
    assert "".join(line for line, _ in lines(read_manifest(manifest))).encode() == encoded
    with pytest.raises(UserError, match="contour of 'u1' has"):
        tracked.units("u1", np.zeros(20_000, np.float32))


def test_commands_encode_and_join(files, manifest, tmp_path, capsys):
    encode = runpy.run_path(str(SCRIPTS / "spiritlm_encode.py"))["main"]
    join = runpy.run_path(str(SCRIPTS / "spiritlm_encode_join.py"))["main"]
    common = ["--manifest", str(manifest), "--hubert", str(files / "mhubert.pt")]
    common += ["--quantizer", str(files / "quantizer.pt")]
    threads = torch.get_num_threads()
    try:
        encode([*common, "--out", str(tmp_path / "whole")])
        for part in ("1/2", "2/2"):
            encode([*common, "--shard", part, "--out", str(tmp_path / "parts")])
    finally:
        torch.set_num_threads(threads)
    join(["--parts", str(tmp_path / "parts"), "--out", str(tmp_path / "joined")])
    assert (tmp_path / "joined" / "streams.jsonl").read_bytes() == (tmp_path / "whole" / "streams.jsonl").read_bytes()
    assert "7 utterances, 2 without units" in capsys.readouterr().out
    assert set(json.loads((tmp_path / "whole" / "streams.jsonl").read_text().splitlines()[0])) == {"id", "hubert"}
    with pytest.raises(UserError, match="--f0 without --pitch"):
        encode([*common, "--f0", str(tmp_path), "--out", str(tmp_path / "x")])
    write_f0(tmp_path / "f0", [], "pyaapt")
    with pytest.raises(UserError, match="contours of pyaapt, not of fcpe"):
        encode([*common, "--pitch", str(files), "--f0", str(tmp_path / "f0"), "--out", str(tmp_path / "x")])


def test_digests_follow_the_content(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = digest(tmp_path / "a")
    assert digest(tmp_path / "a") == before and digest(tmp_path / "a" / "x") != before
    (tmp_path / "a" / "x").write_text("2")
    assert digest(tmp_path / "a") != before


def test_the_report_has_intervals_and_paired_differences(files, manifest, tmp_path):
    good = tmp_path / "good.jsonl"
    write_manifest(good, [u for u in read_manifest(manifest) if u.id not in ("u2", "u4")])
    report = runpy.run_path(str(SCRIPTS / "spiritlm_units_report.py"))["main"]
    threads = torch.get_num_threads()
    arguments = ["--manifest", str(good), "--hubert", str(files / "mhubert.pt"), "--report", str(tmp_path / "r.json")]
    quantizers = [f"kmeans={files / 'kmeans.pt'}", f"linear={files / 'quantizer.pt'}", f"same={files / 'kmeans.pt'}"]
    try:
        report([*arguments, "--quantizer", *quantizers, "--out", str(tmp_path / "measures")])
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["utterances"] == 5 and list(found["quantizers"]) == ["kmeans", "linear", "same"]
    assert found["quantizers"]["kmeans"] == found["quantizers"]["same"]
    assert found["differences"]["same - kmeans"]["noise"] == [0.0, 0.0, 0.0]
    for about in found["quantizers"].values():
        for value, low, high in (*about["unit_error"].values(), about["pnmi"]):
            assert low <= value <= high
        assert 0 < about["pnmi"][0] <= 1
    names = {measure.stem for measure in read_measures(tmp_path / "measures")}
    assert len(names) == 15 and {"units.linear_noise.s-s.unit_error", "units.kmeans_clean.s-s.pnmi"} <= names
