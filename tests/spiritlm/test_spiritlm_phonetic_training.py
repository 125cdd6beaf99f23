"""Training of the phonetic tokenizer: the same again and after a stop; augmentation moves quantized units less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spire.audio import load_utterance, write_wav
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest, write_manifest
from spire.training.snapshots import Checkpoints, Interval
from spire.units.hubert import Hubert, HubertShape
from spiritlm.phonetic import measures
from spiritlm.phonetic.augmentation import KINDS, augment, stretch
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.phonetic.hubert_files import write_hubert25, write_kmeans, write_linear
from spiritlm.phonetic.hubert_training import HubertTraining, train_hubert
from spiritlm.phonetic.kmeans_training import learn_centroids, sampled_features
from spiritlm.phonetic.labelled_audio import Labels, cepstra_of, label_audio, pooled_cepstra
from spiritlm.phonetic.quantizer import open_quantizer
from spiritlm.phonetic.quantizer_training import QuantizerTraining, train_quantizer

SHAPE = HubertShape(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    conv_dim=(8, 8, 8, 8, 16, 16, 16, 16),
    conv_kernel=(10, 3, 3, 3, 3, 2, 2, 2),
    conv_stride=(5, 2, 2, 2, 2, 2, 2, 2),
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
)
CLUSTERS = 12
VOWELS = 6
SHORT = HubertTraining(steps=4, batch=2, frames=20, noisy=0.5)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """96 recordings of two to four of six "vowels": harmonics of 120 Hz through two resonances, 0.2 s each."""
    folder = tmp_path_factory.mktemp("vowels")
    rng = np.random.default_rng(1)
    t = np.arange(3200) / 16_000
    utterances = []
    for i in range(96):
        parts = []
        for vowel in rng.integers(0, 6, rng.integers(2, 5)):
            peaks = ((300, 2300), (500, 1800), (700, 1200), (400, 900), (600, 1500), (350, 700))[vowel]
            weights = [sum(np.exp(-(((120 * h - p) / 150) ** 2)) for p in peaks) for h in range(1, 30)]
            parts.append(sum(w * np.sin(2 * np.pi * 120 * h * t) for h, w in enumerate(weights, 1)))
        wav = np.concatenate(parts).astype(np.float32)
        write_wav(folder / f"{i}.wav", 0.2 * wav / np.abs(wav).max() + 0.001 * rng.standard_normal(len(wav)))
        utterances.append(Utterance(id=str(i), audio=f"{i}.wav", duration=len(wav) / 16_000, lang="en", text="a"))
    write_manifest(folder / "manifest.jsonl", utterances)
    return folder / "manifest.jsonl"


@pytest.fixture(scope="module")
def audio(manifest, tmp_path_factory):
    labels = Labels(CLUSTERS, frames=300)
    return label_audio([manifest], tmp_path_factory.mktemp("audio"), labels, cepstra_of, True, {})


@pytest.fixture(scope="module")
def trained(audio, tmp_path_factory):
    model, curve = train_hubert(audio, CLUSTERS, SHAPE, replace(SHORT, steps=40, batch=4, noisy=0.0))
    path = tmp_path_factory.mktemp("hubert") / "mhubert.pt"
    write_hubert25(path, model, 1, normalize=True)
    return path, model, curve


def test_labels_stand_beside_the_frames_of_their_recording(manifest, audio):
    order = np.random.default_rng(1).permutation(96)
    utterances = read_manifest(manifest)
    at = 0
    for i in order:
        wav = load_utterance(utterances[i])
        frames = len(wav) // 640
        piece = np.asarray(audio.wav[at * 640 : (at + frames) * 640], np.float32)
        assert np.corrcoef(piece, wav[: len(piece)])[0, 1] > 0.999
        assert (audio.labels[at : at + (len(wav) - 80) // 640] >= 0).all()
        at += frames
    assert at == len(audio.labels) and len(audio.wav) == 640 * at + 80
    assert len(pooled_cepstra(wav)) == SHAPE.frames(len(wav))


def test_what_cannot_be_read_is_left_out_whoever_decodes(manifest, audio, tmp_path, capsys):
    some = read_manifest(manifest)[:40]
    lost = Utterance(id="lost", audio="lost.wav", duration=1.0, lang="en", text="a")
    (tmp_path / "lost.wav").write_text("no audio")
    write_manifest(tmp_path / "some.jsonl", [*some, lost])
    labels = Labels(CLUSTERS, frames=200)
    made = [
        label_audio([tmp_path / "some.jsonl"], tmp_path / f"w{workers}", labels, cepstra_of, True, {}, workers=workers)
        for workers in (0, 2)
    ]
    assert capsys.readouterr().out.count("1 of 41 recordings cannot be read") == 2
    assert len(made[0].labels) == sum(int(u.duration * 16_000) // 640 for u in some)
    assert np.array_equal(made[0].wav, made[1].wav) and np.array_equal(made[0].labels, made[1].labels)
    features = [sampled_features(Cepstra(), [tmp_path / "some.jsonl"], 300, 1, workers) for workers in (0, 2)]
    assert np.array_equal(*features)


def test_labelled_audio_of_an_earlier_attempt_is_used(manifest, audio, tmp_path):
    earlier = Path(audio.wav.filename).parent
    same = label_audio([manifest], tmp_path / "a", Labels(CLUSTERS, frames=300), cepstra_of, True, {}, [earlier])
    assert Path(same.wav.filename).parent == earlier and not (tmp_path / "a").exists()
    other = label_audio([manifest], tmp_path / "a", Labels(CLUSTERS, frames=200), cepstra_of, True, {}, [earlier])
    assert Path(other.wav.filename).parent == tmp_path / "a" and np.array_equal(other.wav, audio.wav)


def test_training_is_the_same_again_and_after_a_stop(audio, tmp_path):
    def bytes_of(name, checkpoints=None, settings=SHORT):
        model, _ = train_hubert(audio, CLUSTERS, SHAPE, settings, checkpoints)
        write_hubert25(tmp_path / name, model, 2, True)
        return (tmp_path / name).read_bytes()

    straight = bytes_of("straight.pt")
    assert bytes_of("other.pt", settings=replace(SHORT, seed=2, steps=1)) != straight
    kept = Checkpoints(tmp_path / "kept", lambda: {"run": 1}, Interval(steps=3))
    assert bytes_of("again.pt", kept) == straight
    assert sorted(path.name[:13] for path in (tmp_path / "kept").iterdir()) == ["step-00000003"]
    assert bytes_of("resumed.pt", Checkpoints(tmp_path / "kept", lambda: {"run": 1}, Interval())) == straight


def test_the_loss_falls_and_the_file_gives_the_features_of_its_layer(trained, manifest):
    path, model, curve = trained
    assert curve[-1]["loss"] < np.log(CLUSTERS) - 0.3
    wav = load_utterance(read_manifest(manifest)[0])
    normalized = torch.from_numpy((wav - wav.mean()) / np.sqrt(wav.var() + 1e-5))[None]
    hubert = Hubert25(path)
    with torch.inference_mode():
        expected = model.eval().layer(model.frames(normalized), 1)[0].numpy()
    np.testing.assert_allclose(hubert.features([wav])[0], expected, rtol=0, atol=1e-4)
    assert hubert.shape.num_hidden_layers == 1 and hubert.normalize and hubert.hop == 640
    assert Hubert25(path, 2).shape.num_hidden_layers == 2


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_every_kind_of_hubert_is_written_so_that_it_is_read(tmp_path, norm):
    shape = replace(SHAPE, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer", conv_bias=norm == "layer")
    model = Hubert(shape).eval()
    write_hubert25(tmp_path / "a.pt", model, 2, normalize=False)
    wav = np.random.default_rng(1).standard_normal(8000).astype(np.float32)
    with torch.inference_mode():
        expected = model.layer(model.frames(torch.from_numpy(wav)[None]), 2)[0].numpy()
    np.testing.assert_allclose(Hubert25(tmp_path / "a.pt").features([wav])[0], expected, rtol=0, atol=1e-4)


def test_wrong_settings_are_refused(audio, tmp_path):
    with pytest.raises(UserError, match="at least two masks"):
        train_hubert(audio, CLUSTERS, SHAPE, replace(SHORT, frames=8))
    with pytest.raises(UserError, match="320 samples a frame"):
        train_hubert(audio, CLUSTERS, HubertShape(), SHORT)
    with pytest.raises(UserError, match="less audio than one crop"):
        train_hubert(audio, CLUSTERS, SHAPE, replace(SHORT, frames=100_000))


class Cepstra:
    """Pooled cepstra in place of a trained encoder."""

    dim = 13

    def features(self, wavs):
        return cepstra_of(wavs)


def test_units_change_less_under_augmentation_after_the_quantizer_is_trained(manifest, tmp_path):
    encoder, utterances = Cepstra(), read_manifest(manifest)
    write_kmeans(tmp_path / "kmeans.pt", learn_centroids(sampled_features(encoder, [manifest], 1000, 1), VOWELS, 1, 20))
    kmeans = open_quantizer(tmp_path / "kmeans.pt")
    assert kmeans.vocabulary == VOWELS
    settings = QuantizerTraining(rounds=6, pool=80, updates=50, batch=16, peak_rate=1e-2)
    layers, curve = train_quantizer(utterances[:80], encoder, kmeans, VOWELS, settings)
    assert curve[-1]["loss"] < 0.5 * curve[0]["loss"]
    write_linear(tmp_path / "quantizer.pt", layers, VOWELS, encoder.dim)
    quantizer = open_quantizer(tmp_path / "quantizer.pt")
    assert quantizer.vocabulary == VOWELS and quantizer.dim == 13

    errors = {"kmeans": [], "quantizer": []}
    for i, utterance in enumerate(utterances[80:]):
        wav = load_utterance(utterance)
        clean, *changed = encoder.features([wav, *(augment(wav, k, np.random.default_rng([i, 9])) for k in KINDS)])
        for name, made in (("kmeans", kmeans), ("quantizer", quantizer)):
            errors[name] += [measures.unit_errors(made.units(clean), made.units(other)) for other in changed]
    rates = {name: sum(wrong for wrong, _ in pairs) / sum(n for _, n in pairs) for name, pairs in errors.items()}
    assert rates["quantizer"] < 0.9 * rates["kmeans"], rates


def test_the_quantizer_goes_on_from_its_last_round(trained, manifest, tmp_path):
    hubert = Hubert25(trained[0])
    write_kmeans(tmp_path / "kmeans.pt", np.random.default_rng(1).standard_normal((4, hubert.dim)).astype(np.float32))
    kmeans = open_quantizer(tmp_path / "kmeans.pt")
    settings = QuantizerTraining(rounds=3, pool=6, updates=3, batch=4)

    def layers(checkpoints=None, rounds=3):
        made = train_quantizer(
            read_manifest(manifest), hubert, kmeans, 4, replace(settings, rounds=rounds), checkpoints
        )
        return [p.detach().numpy().tobytes() for p in made[0].parameters()]

    straight = layers()
    layers(Checkpoints(tmp_path / "kept", lambda: {"run": 1}, Interval(steps=2)))
    assert [path.name[:13] for path in (tmp_path / "kept").iterdir()] == ["step-00000002"]
    assert layers(Checkpoints(tmp_path / "kept", lambda: {"run": 1}, Interval())) == straight
    assert layers(rounds=2) != straight


@pytest.mark.parametrize("kind", KINDS)
def test_augmentations_keep_level_and_follow_from_their_seed(kind):
    wav = np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000).astype(np.float32) * 0.3
    changed = augment(wav, kind, np.random.default_rng(1))
    assert np.array_equal(changed, augment(wav, kind, np.random.default_rng(1)))
    assert changed.dtype == np.float32 and np.isfinite(changed).all() and 0.75 < len(changed) / len(wav) < 1.3
    assert not np.array_equal(changed[:8000], wav[:8000])
    assert 0.5 < np.sqrt((changed**2).mean() / (wav**2).mean()) < 1.5
    assert np.array_equal(augment(wav[:100], kind, np.random.default_rng(1)), wav[:100])


def test_stretching_keeps_the_pitch():
    wav = np.sin(2 * np.pi * 400 * np.arange(16_000) / 16_000).astype(np.float32)
    for ratio in (0.8, 1.0, 1.25):
        out = stretch(wav, ratio)
        assert len(out) == round(16_000 * ratio)
        spectrum = np.abs(np.fft.rfft(out[2000:10_000] * np.hanning(8000)))
        assert abs(spectrum.argmax() * 2 - 400) <= 2
        assert 0.9 < np.abs(out[2000:-2000]).max() < 1.1


def test_unit_errors_are_edits_between_deduplicated_units():
    assert measures.unit_errors(np.array([1, 1, 2, 3, 3]), np.array([1, 2, 2, 3])) == (0, 3)
    assert measures.unit_errors(np.array([1, 2, 3, 4]), np.array([1, 9, 4, 4, 5])) == (3, 4)
    assert measures.unit_errors(np.array([], int), np.array([1, 2])) == (2, 0)
    assert measures.unit_errors(np.array([5, 6, 7]), np.array([], int)) == (3, 3)


def test_phonetic_information_is_one_for_units_that_are_phones():
    utterance = Utterance(
        id="a", audio="a.wav", duration=1.0, lang="en", text="a", phones=(("x", 0.0, 0.5), ("y", 0.5, 1.0))
    )
    phones = measures.frame_phones(24, utterance, {"x": 0, "y": 1})
    assert phones[:12].tolist() == [0] * 12 and phones[13:].tolist() == [1] * 11
    counts = measures.phone_counts([phones], [utterance], 3)
    assert measures.pnmi(counts.sum(axis=0)) == pytest.approx(1.0)
    assert measures.pnmi(measures.phone_counts([np.zeros(24, int)], [utterance], 3).sum(axis=0)) == 0.0
