"""The quality report: each measure against its plain definition, on labels and frames made for it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import units_label
import units_report

from spire.audio import write_wav
from spire.errors import UserError
from spire.manifest import Utterance, write_manifest
from spire.units.corpora import ArrayFrames
from spire.units.feature_shards import FeatureFolder
from spire.units.kmeans import KMeans, nearest, save
from spire.units.quality import feature_measures, fit_measures
from spire.units.report import conditional_bits, entropy_bits, report
from spire.units.text import deduplicate, to_pua

LABELS = [np.array([0, 0, 1, 1, 1, 2, 2, 0]), np.array([3, 3, 3]), np.zeros(0, np.int64)]


def write_labels(folder, labels, name="all"):
    folder.mkdir(parents=True, exist_ok=True)
    lengths = np.array([len(ids) for ids in labels], np.int32)
    np.savez(folder / f"{name}.frames.npz", ids=np.concatenate(labels).astype(np.int32), lengths=lengths)
    (folder / f"{name}.units").write_text("".join(to_pua(deduplicate(ids)) + "\n" for ids in labels), "utf-8")


@pytest.fixture
def corpus(tmp_path):
    """Three utterances with phones: a for 4 frames, b for 4; the second all b; the third empty."""
    phones = [(("a", 0.0, 0.08), ("b", 0.08, 0.2)), (("b", 0.0, 0.1),), ()]
    utterances = [
        Utterance(f"u{i}", f"u{i}.wav", 0.02 * max(len(ids), 1), "en", "x", phones=p)
        for i, (ids, p) in enumerate(zip(LABELS, phones, strict=True))
    ]
    write_manifest(tmp_path / "m.jsonl", utterances)
    write_labels(tmp_path / "units", LABELS)
    save(tmp_path / "k", KMeans(np.eye(6, 4, dtype=np.float32), {"encoder": "mfcc", "layer": "0"}))
    return tmp_path


def measured(corpus, **kwargs):
    kmeans = KMeans(np.eye(6, 4, dtype=np.float32), {})
    return report(corpus / "units", kmeans, {"all": corpus / "m.jsonl"}, **kwargs)["splits"]["all"]


def test_use_and_rates(corpus):
    m = measured(corpus)
    assert (m["utterances"], m["empty"], m["frames"], m["units"]) == (3, 1, 11, 5)
    assert m["removed_by_deduplication"] == pytest.approx(1 - 5 / 11)
    assert m["units_in_use"] == 4 and m["usage"] == pytest.approx(4 / 6) and m["most_used"] == pytest.approx(3 / 11)
    seconds = 0.02 * 12
    assert m["units_per_second"] == pytest.approx(5 / seconds)
    counts = np.array([2, 1, 1, 1]) / 5  # units 0 1 2 0 | 3
    assert m["unit_entropy_bits"] == pytest.approx(-(counts * np.log2(counts)).sum())
    assert m["bits_per_second"] == pytest.approx(5 / seconds * m["unit_entropy_bits"])
    assert m["bits_per_second_fixed"] == pytest.approx(5 / seconds * np.log2(6))
    # Starts (two of five): 0 or 3, one bit. After 0 and after 1 and after 2: certain.
    assert m["bits_per_second_given_previous"] == pytest.approx(5 / seconds * 2 / 5)


def test_phonetic_measures(corpus):
    m = measured(corpus)
    # frames of phone a: 0 0 1 1; of b: 1 2 2 0 3 3 3
    joint = np.array([[2, 2, 0, 0], [1, 1, 2, 3]]) / 11
    p, q = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    some = joint > 0
    information = (joint[some] * np.log2((joint / (p * q))[some])).sum()
    assert m["pnmi"] == pytest.approx(information / -(p * np.log2(p)).sum())
    assert m["phone_purity"] == pytest.approx((2 + 2 + 2 + 3) / 11)
    assert m["cluster_purity"] == pytest.approx((2 + 3) / 11)


def test_agreement_with_other_labels(corpus):
    other = [ids.copy() for ids in LABELS]
    other[0][2] = 5
    write_labels(corpus / "other", other)
    m = measured(corpus, compare=corpus / "other")["agreement"]
    assert m["frames_equal"] == 10 and m["frame_agreement"] == pytest.approx(10 / 11) and m["units_equal"] == 1.0
    write_labels(corpus / "other", LABELS[:2])
    with pytest.raises(UserError, match="2 utterances"):
        measured(corpus, compare=corpus / "other")
    write_labels(corpus / "other", [LABELS[0][:-1], *LABELS[1:]])
    with pytest.raises(UserError, match="8 and 7 frames"):
        measured(corpus, compare=corpus / "other")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), max_size=12), max_size=5))
def test_knowing_the_previous_unit_never_costs_bits(sequences):
    flat = [i for ids in sequences for i in ids]
    bits = conditional_bits(sequences, 5)
    assert -1e-12 <= bits <= entropy_bits(np.bincount(flat, minlength=5)) + 1e-9
    pairs = {}
    for ids in sequences:
        for before, after in zip([None, *ids], ids, strict=False):
            pairs.setdefault(before, []).append(after)
    exact = sum(len(v) / len(flat) * entropy_bits(np.bincount(v)) for v in pairs.values())
    assert bits == pytest.approx(exact, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 200), max_size=4), offset=st.sampled_from([0.0, 1000.0]))
def test_fit_follows_its_definition_however_frames_come(cuts, offset):
    rng = np.random.default_rng(0)
    frames = (rng.standard_normal((200, 5)) + offset).astype(np.float32)
    kmeans = KMeans(frames[:9] + np.float32(0.1), {})
    m = fit_measures(np.split(frames, sorted(cuts)), kmeans)
    exact = frames.astype(np.float64)
    labels = nearest(frames, kmeans.centroids)
    assert m["frames"] == 200
    assert m["inertia"] == pytest.approx(((exact - kmeans.centroids[labels]) ** 2).sum(axis=1).mean(), rel=1e-4)
    assert m["variance"] == pytest.approx(((exact - exact.mean(axis=0)) ** 2).sum(axis=1).mean(), rel=1e-6)
    assert m["explained"] == pytest.approx(1 - m["inertia"] / m["variance"])
    assert m["empty_clusters"] == 9 - len(set(labels.tolist()))
    assert m["perplexity"] == pytest.approx(2 ** m["frame_entropy_bits"])


def test_fit_of_no_frames_is_empty():
    assert fit_measures([], KMeans(np.eye(3, dtype=np.float32), {})) == {}


def test_a_part_of_the_frames_is_spread_over_the_whole():
    frames = np.repeat(np.arange(40, dtype=np.float32)[:, None], 8192, axis=0)
    kmeans = KMeans(np.array([[0.0], [39.0]], np.float32), {})
    m = feature_measures(ArrayFrames(frames), kmeans, "f", most=20 * 8192)
    assert m["frames"] == 20 * 8192 and m["frame_entropy_bits"] == pytest.approx(1, abs=0.1)


def test_features_of_another_encoder_are_refused(tmp_path):
    np.save(tmp_path / "shard_0.npy", np.ones((5, 4), np.float32))
    folder = FeatureFolder(tmp_path)
    with pytest.raises(UserError, match="4 dimensions"):
        feature_measures(folder, KMeans(np.eye(3, dtype=np.float32), {}), "f")
    folder.metadata = {"layer": "2"}
    with pytest.raises(UserError, match="layer is '2'"):
        feature_measures(folder, KMeans(np.eye(4, dtype=np.float32), {"layer": "3"}), "f")


def test_the_command_writes_all_of_it(corpus, capsys):
    write_labels(corpus / "other", LABELS)
    (corpus / "f").mkdir()
    np.save(corpus / "f" / "shard_0.npy", np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32))
    args = ["--kmeans", str(corpus / "k"), "--out", str(corpus / "r.json")]
    labels = ["--units", str(corpus / "units"), "--manifest", f"all={corpus}/m.jsonl"]
    features = ["--features", f"dev={corpus}/f"]
    assert units_report.main([*args, *labels, *features, "--compare", str(corpus / "other")]) == 0
    result = json.loads((corpus / "r.json").read_text())
    assert set(result) == {"clusters", "kmeans", "splits", "features"}
    assert result["splits"]["all"]["agreement"]["frame_agreement"] == 1
    assert result["features"]["dev"]["frames"] == 50
    printed = capsys.readouterr().out
    assert "100.00% of frames agree" in printed and "of the variance" in printed
    for given_ in (labels, features):
        assert units_report.main([*args, *given_]) == 0
    (corpus / "r.json").unlink()
    without = [
        ([], "nothing to measure"),
        (labels[2:], "nothing to measure"),
        ([*features, *labels[2:]], "about labels"),
        (labels[:2], "no labels in it"),
    ]
    for given_, message in without:
        with pytest.raises(UserError, match=message):
            units_report.main([*args, *given_])
    assert not (corpus / "r.json").exists()


def test_labels_without_a_manifest_are_measured_whole_and_in_parts(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        write_wav(tmp_path / f"audio/{i}.wav", 0.1 * rng.standard_normal(8000 + 1600 * i))
    (tmp_path / "audio/bad.wav").write_bytes(b"no audio")
    save(tmp_path / "k", KMeans(rng.standard_normal((20, 39)).astype(np.float32), {}))
    label = ["--encoder", "mfcc", "--kmeans", str(tmp_path / "k"), "--corpus", f"speech={tmp_path}/audio"]
    measure = ["--kmeans", str(tmp_path / "k"), "--out", str(tmp_path / "r.json"), "--units"]

    def splits(folder):
        assert units_report.main([*measure, str(tmp_path / folder)]) == 0
        return json.loads((tmp_path / "r.json").read_text())["splits"]

    units_label.main([*label, "--out", str(tmp_path / "whole")])
    whole = splits("whole")["speech"]
    assert whole["utterances"] == 7 and whole["empty"] == 1
    assert whole["seconds"] == pytest.approx(sum(0.5 + 0.1 * i for i in range(6)))
    units_label.main([*label, "--form", "indices", "--no-dedup", "--out", str(tmp_path / "other")])
    assert splits("other")["speech"] == whole
    for part in (1, 2):
        units_label.main([*label, "--shard", f"{part}/2", "--out", str(tmp_path / "parts")])
    parts = splits("parts")
    assert list(parts) == ["speech.00001-of-00002", "speech.00002-of-00002"]
    for key in ("utterances", "empty", "frames", "units"):
        assert sum(part[key] for part in parts.values()) == whole[key]
    lines = (tmp_path / "other/speech.units").read_text()
    (tmp_path / "other/speech.units").write_text(lines.replace(" ", "  ", 1))
    with pytest.raises(UserError, match="differs from the frames file"):
        splits("other")
