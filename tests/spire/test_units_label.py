"""Labelling, k-means and report scripts on small made audio, with cepstra (no torch)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import units_kmeans
import units_label
import units_report

from spire.audio import load_utterance, write_wav
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest, write_manifest
from spire.units.encoders import open_encoder
from spire.units.kmeans import load
from spire.units.label import read_frames
from spire.units.report import entropy_bits, phone_measures
from spire.units.text import deduplicate, from_pua

RATE = 16_000


def speech(seed, seconds):
    """Alternating tones with noise, and the phones that name them."""
    rng = np.random.default_rng(seed)
    wav, phones, t = [], [], 0.0
    while t < seconds:
        kind = int(rng.integers(3))
        n = int(RATE * rng.uniform(0.08, 0.2))
        tone = np.sin(2 * np.pi * (300, 900, 2500)[kind] * np.arange(n) / RATE)
        wav.append(0.3 * tone + 0.02 * rng.standard_normal(n))
        phones.append(("abc"[kind], t, t + n / RATE))
        t += n / RATE
    return np.concatenate(wav), tuple(phones)


@pytest.fixture
def corpus(tmp_path):
    utterances = []
    for i in range(8):
        wav, phones = speech(i, 1.0)
        write_wav(tmp_path / f"{i}.wav", wav)
        utterances.append(Utterance(f"u{i}", f"{i}.wav", len(wav) / RATE, "en", "x", phones=phones))
    write_wav(tmp_path / "short.wav", np.zeros(399))
    (tmp_path / "broken.wav").write_bytes(b"RIFF nothing")
    odd = [
        Utterance("short", "short.wav", 399 / RATE, "en", "x"),
        Utterance("broken", "broken.wav", 1.0, "en", "x"),
        Utterance("gone", "gone.wav", 1.0, "en", "x"),
    ]
    write_manifest(tmp_path / "all.jsonl", utterances[:3] + odd + utterances[3:])
    write_manifest(tmp_path / "good.jsonl", utterances[::-1])
    write_manifest(tmp_path / "odd.jsonl", odd)
    return tmp_path


def make_kmeans(corpus, encoder="mfcc", out="k.safetensors"):
    args = ["--encoder", encoder, "--clusters", "6", "--manifest", f"{corpus}/good.jsonl", "--frames", "300"]
    assert units_kmeans.main([*args, "--out", f"{corpus}/{out}"]) == 0
    return f"{corpus}/{out}"


def run_label(corpus, kmeans, *manifests, encoder="mfcc"):
    named = [f"{name}={corpus}/{name}.jsonl" for name in manifests]
    out = corpus / "units"
    assert units_label.main(["--encoder", encoder, "--kmeans", kmeans, "--manifest", *named, "--out", str(out)]) == 0
    return out


def test_lines_follow_the_manifest_and_bad_audio_is_listed(corpus):
    out = run_label(corpus, make_kmeans(corpus), "all", "good")
    lines = (out / "all.units").read_text().split("\n")
    assert len(lines) == 12 and lines[-1] == "", "one line an utterance"
    assert lines[3:6] == ["", "", ""] and all(lines[:3] + lines[6:11])
    frames = read_frames(out / "all.frames.npz")
    assert [from_pua(line) for line in lines[:-1]] == [deduplicate(f) for f in frames]
    unreadable = json.loads((out / "unreadable.json").read_text())
    assert [(u["manifest"], u["id"]) for u in unreadable] == [("all", "short"), ("all", "broken"), ("all", "gone")]
    assert "too short" in unreadable[0]["reason"]
    assert (out / "good.units").read_text().split("\n")[:-1] == [lines[i] for i in (10, 9, 8, 7, 6, 2, 1, 0)]


def test_same_input_same_bytes(corpus):
    first = run_label(corpus, make_kmeans(corpus), "good")
    before = {p.name: p.read_bytes() for p in first.iterdir()}
    kmeans = make_kmeans(corpus, out="again.safetensors")
    assert Path(kmeans).read_bytes() == (corpus / "k.safetensors").read_bytes()
    assert {p.name: p.read_bytes() for p in run_label(corpus, kmeans, "good").iterdir()} == before


def test_a_foreign_kmeans_is_refused(corpus):
    with pytest.raises(UserError, match="'mfccctx'.*trained on 'mfcc'.*91 dimensions, centroids 39"):
        run_label(corpus, make_kmeans(corpus), "good", encoder="mfccctx")
    assert not (corpus / "units").exists()


def test_smoothing_and_normalization_follow_the_kmeans(corpus):
    args = ["--encoder", "mfcc", "--clusters", "6", "--manifest", f"{corpus}/good.jsonl", "--normalize", "mean"]
    assert units_kmeans.main([*args, "--smooth", "2", "--out", f"{corpus}/s"]) == 0
    smooth, plain = (
        read_frames(run_label(corpus, k, "good") / "good.frames.npz") for k in (f"{corpus}/s", make_kmeans(corpus))
    )
    wav = load_utterance(read_manifest(corpus / "good.jsonl")[0])
    features = open_encoder("mfcc").features(wav)
    for _ in range(2):
        padded = np.concatenate((features[:1], features, features[-1:]))
        features = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    assert np.array_equal(load(f"{corpus}/s").label(features - features.mean(axis=0)), smooth[0])
    assert sum(len(deduplicate(f)) for f in smooth) < sum(len(deduplicate(f)) for f in plain)


def test_all_unreadable_is_an_error(corpus):
    with pytest.raises(UserError, match="none of the 3"):
        run_label(corpus, make_kmeans(corpus), "odd")
    assert not (corpus / "units").exists(), "no partial output"


@pytest.mark.parametrize("manifest", ["plain.jsonl", "a/b=x.jsonl", "=x"])
def test_manifest_arguments(corpus, manifest):
    with pytest.raises(UserError, match="NAME=PATH"):
        units_label.main(["--encoder", "mfcc", "--kmeans", "k", "--manifest", manifest, "--out", "o"])


def test_report(corpus):
    kmeans = make_kmeans(corpus)
    out = run_label(corpus, kmeans, "good", "all")
    args = ["--units", str(out), "--kmeans", kmeans, "--out", f"{corpus}/report.json"]
    named = [f"{name}={corpus}/{name}.jsonl" for name in ("good", "all")]
    assert units_report.main([*args, "--manifest", *named]) == 0
    result = json.loads((corpus / "report.json").read_text())
    good, everything = result["splits"]["good"], result["splits"]["all"]
    assert good["pnmi"] > 0.6 and good["phone_purity"] > 0.8, "three tones are easy"
    assert 0 < good["removed_by_deduplication"] < 1 and good["units_in_use"] <= 6
    assert good["bits_per_second"] == pytest.approx(good["units_per_second"] * good["unit_entropy_bits"])
    assert everything["empty"] == 3 and everything["pnmi"] == pytest.approx(good["pnmi"])
    assert result["kmeans"]["encoder"] == "mfcc"


def test_report_refuses_files_of_two_runs(corpus):
    kmeans = make_kmeans(corpus)
    out = run_label(corpus, kmeans, "good")
    lines = (out / "good.units").read_text().split("\n")
    (out / "good.units").write_text("\n".join(lines[1:2] + lines[1:]))
    with pytest.raises(UserError, match="good.units:1"):
        units_report.main(
            ["--units", str(out), "--kmeans", kmeans, "--out", f"{corpus}/r", "--manifest", f"good={corpus}/good.jsonl"]
        )


def test_measures_of_perfect_and_useless_units():
    utterance = Utterance("u", "a", 1.0, "en", "", phones=(("a", 0.0, 0.5), ("b", 0.5, 2.0)))
    middles = (np.arange(49) * 320 + 200) / RATE
    perfect = (middles >= 0.5).astype(np.int32)
    measures = phone_measures([perfect], [utterance], 2)
    assert measures["pnmi"] == pytest.approx(1) and measures["phone_purity"] == measures["cluster_purity"] == 1
    assert phone_measures([perfect * 0], [utterance], 2)["pnmi"] == pytest.approx(0)
    assert phone_measures([perfect], [Utterance("u", "a", 1.0, "en", "")], 2) == {}
    assert entropy_bits(np.array([1, 1, 2])) == 1.5 and entropy_bits(np.zeros(3, int)) == 0
