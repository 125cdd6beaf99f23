"""`Labeler` gives the published units for every form of input and checkpoint; paths of published corpora are mended."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")

from spire.audio import write_wav  # noqa: E402
from spire.dsus import Labeler  # noqa: E402
from spire.errors import UserError  # noqa: E402
from spire.units.kmeans import KMeans, save  # noqa: E402
from spire.units.text import from_pua  # noqa: E402
from spire.utils import fix_fleurs_path, fix_librispeech_path  # noqa: E402
from spire.waveforms import as_waveform  # noqa: E402

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
HUBERT, KMEANS = GOLDENS / "spirelm/hubert_tiny", GOLDENS / "spirelm/kmeans50_f32.joblib"


@pytest.fixture(scope="module")
def published():
    """{run: [(waveform, PUA string)]}"""
    labels = json.loads((GOLDENS / "spirelm/unit_labels.json").read_text())
    with np.load(GOLDENS / "spirelm/units.npz") as stored:
        return {
            run: [(stored[f"wav.{name}"], text) for name, text in zip(g["names"], g["dsus"], strict=True)]
            for run, g in labels.items()
        }


@pytest.fixture(scope="module")
def labeler():
    return Labeler(HUBERT, KMEANS, feature_layer=3)


def test_published_units(labeler, published):
    for run in ("one", "short"):
        for wav, text in published[run]:
            assert labeler.label(wav) == text
    kept = Labeler(str(HUBERT), str(KMEANS), 3, final_norm="keep")
    assert [kept.label(wav) for wav, _ in published["ln"]] == [text for _, text in published["ln"]]


def test_every_form_of_one_utterance(labeler, published, tmp_path):
    import torch

    wav, text = published["one"][0]
    wav = np.round(wav * 32768) / 32768
    text = labeler.label(wav)
    soundfile.write(tmp_path / "a.flac", wav, 16_000, subtype="PCM_16")
    soundfile.write(tmp_path / "a.wav", wav, 16_000, subtype="PCM_16")
    stereo = np.stack([wav, wav])
    forms = {
        "path": tmp_path / "a.wav",
        "text": str(tmp_path / "a.flac"),
        "bytes": (tmp_path / "a.flac").read_bytes(),
        "float64": wav.astype(np.float64),
        "list": wav.tolist(),
        "int16": (wav * 32768).astype(np.int16),
        "tensor": torch.from_numpy(wav.astype(np.float32)),
        "half the gradient": torch.from_numpy(wav.astype(np.float32)).requires_grad_(),
        "int tensor": torch.from_numpy((wav * 32768).astype(np.int32)) * 65536,
        "stereo": stereo,
        "stereo as sound files have it": stereo.T,
        "array of datasets": {"array": wav, "sampling_rate": 16_000, "path": "x"},
        "decoder of datasets": SimpleNamespace(
            get_all_samples=lambda: SimpleNamespace(
                data=torch.from_numpy(stereo.astype(np.float32)), sample_rate=16_000
            )
        ),
        "bytes of datasets": {"bytes": (tmp_path / "a.wav").read_bytes(), "path": None},
        "path of datasets": {"bytes": None, "path": str(tmp_path / "a.wav")},
    }
    for name, form in forms.items():
        assert labeler.label(form) == text, name
    ids = labeler.label(wav, indices_only=True)
    assert ids == from_pua(text)
    repeated = labeler.label(wav, indices_only=True, deduplicated=False)
    assert len(repeated) == 49 > len(ids)


def test_any_rate_is_resampled(tmp_path):
    t = np.arange(44_100) / 44_100
    tone = (0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    soundfile.write(tmp_path / "t.wav", np.stack([tone, tone], axis=1), 44_100, subtype="FLOAT")
    for wav in (as_waveform(tmp_path / "t.wav"), as_waveform(tone, 44_100)):
        assert len(wav) == 16_000
        assert np.abs(wav - 0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000))[200:-200].max() < 1e-3


@pytest.mark.parametrize("file", ["hubert_tiny_large_prenorm.pt", "hubert_tiny_large_prenorm_args.pt"])
def test_fairseq_checkpoints(file, tmp_path):
    """A k-means whose centroids are the published program's features of an utterance numbers its frames."""
    with np.load(GOLDENS / "fairseq/features.npz") as stored, np.load(GOLDENS / "fairseq/wavs.npz") as waves:
        features, wav = stored["large_prenorm.f3.layer3"], waves["f3"]
    save(tmp_path / "k.safetensors", KMeans(features, {}))
    labeler = Labeler(GOLDENS / "fairseq" / file, tmp_path / "k.safetensors", 3, eps=1e-5, cache_dir=tmp_path)
    assert labeler.label(wav, indices_only=True) == list(range(len(features)))


def test_label_many_streams_in_order(labeler, published, tmp_path):
    waves = [wav for wav, _ in published["short"] + published["one"]]
    for i, wav in enumerate(waves):
        soundfile.write(tmp_path / f"{i}.wav", wav, 16_000, subtype="FLOAT")
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    wavs = [tmp_path / "0.wav", tmp_path / "bad.wav", waves[1], str(tmp_path / "2.wav"), [[[0.0]]], waves[3]]
    expected = [labeler.label(waves[0]), "", *(labeler.label(w) for w in waves[1:3]), "", labeler.label(waves[3])]
    for workers in (0, 2):
        assert list(labeler.label_many(wavs, workers=workers)) == expected
        assert [p["item"] for p in labeler.problems] == [str(tmp_path / "bad.wav"), "4"]
    assert list(labeler.label_many([])) == [] and labeler.problems == []
    for one in (str(tmp_path / "0.wav"), tmp_path / "0.wav"):
        with pytest.raises(UserError, match="one utterance"):
            next(labeler.label_many(one))
    assert labeler.label(io.BytesIO((tmp_path / "0.wav").read_bytes())) == expected[0]


def test_too_short_is_empty(labeler):
    assert labeler.label(np.zeros(399)) == "" and labeler.label(np.zeros(0), indices_only=True) == []


def test_forms_of_units(published):
    wav, text = published["one"][0]
    ids = from_pua(text)
    assert Labeler(HUBERT, KMEANS, 3, dsu_format="indices").label(wav) == " ".join(map(str, ids))
    assert Labeler(HUBERT, KMEANS, 3, dsu_format="extra_id").label(wav).startswith(f"<extra_id_{ids[0]}><extra_id_")


def test_a_kmeans_says_what_it_belongs_to(labeler, tmp_path):
    save(tmp_path / "k", KMeans(labeler.kmeans.centroids, labeler.encoder.metadata()))
    assert Labeler(HUBERT, tmp_path / "k").encoder.layer == 3
    with pytest.raises(UserError, match="layer"):
        Labeler(HUBERT, tmp_path / "k", 2)
    with pytest.raises(UserError, match="made with final_norm drop, not keep"):
        Labeler(HUBERT, tmp_path / "k", final_norm="keep")
    with pytest.raises(UserError, match="dsu_format"):
        Labeler(HUBERT, KMEANS, 3, dsu_format="words")
    with pytest.raises(UserError, match="layer"):
        Labeler(HUBERT, KMEANS)  # this tiny model has four layers, the published one more than 22


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (np.zeros((2, 2, 2)), "no waveform"),
        (np.array(["a"]), "no waveform"),
        (np.zeros(500, complex), "no waveform"),
        ([np.zeros(3), np.zeros(4)], "not samples"),
        (np.full(500, np.nan), "not a finite"),
        ({"text": "x"}, "holds no audio"),
        ("nowhere.wav", "no such audio file"),
        (b"no audio", "cannot be read"),
        (io.BytesIO(b"no audio"), "cannot be read"),
        (io.StringIO("speech.wav"), "does not read bytes"),
    ],
)
def test_what_is_no_waveform(wav, message):
    with pytest.raises(UserError, match=message):
        as_waveform(wav)


@pytest.mark.parametrize("rate", [0, -1, 16_000.5, True, None, 10])
def test_rates(rate):
    with pytest.raises(UserError, match="sampling rate"):
        as_waveform(np.zeros(500), rate)


def test_fleurs_paths(tmp_path):
    row = {"path": str(tmp_path / "cache/123.wav")}
    assert fix_fleurs_path(row, "validation") == str(tmp_path / "cache/dev/123.wav")
    assert fix_fleurs_path(row, "test") == str(tmp_path / "cache/test/123.wav")
    write_wav(row["path"], np.zeros(10))
    assert fix_fleurs_path(row, "validation") == row["path"]


def test_librispeech_paths(tmp_path):
    row = {"file": str(tmp_path / "6930.flac"), "id": "6930-75918-0000", "speaker_id": 6930, "chapter_id": 75918}
    expected = tmp_path / "LibriSpeech/dev-other/6930/75918/6930-75918-0000.flac"
    assert fix_librispeech_path(row, "other", "validation") == str(expected)
    write_wav(row["file"], np.zeros(10))
    assert fix_librispeech_path(row, "other", "validation") == row["file"]


def test_importing_the_labeler_imports_no_torch():
    import subprocess

    code = "import sys, spire.dsus, spire.utils; print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
