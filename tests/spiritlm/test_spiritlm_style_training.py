"""The style classifier learns what is said about it, opens as a tokenizer, and its tokens are clusters of styles."""

import json

import numpy as np
import pytest
import torch

from spire.audio import write_wav
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest, write_manifest
from spire.training.snapshots import Checkpoints, Interval
from spire.units.hubert import HubertShape
from spiritlm.pitch.f0_files import F0Folder, TrackedF0, write_f0
from spiritlm.prosody_report import pitch_report, style_report, styles_of_tokens
from spiritlm.style import StyleTokenizer
from spiritlm.style_clusters import described, prosody_labels
from spiritlm.style_training import StyleCrops, StyleNetwork, Training, fresh, shared_out, style_labels, train

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "do_stable_layer_norm": False,
    "model_type": "wav2vec2",
}
QUICK = Training(steps=24, batch=4, seconds=1, rate=1e-2, projection=8, tokens=5, cluster_seconds=60.0)
RATE = 16_000


def encoder():
    return fresh(HubertShape(**SIZES))


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    """Two styles: a low tone, and noise."""
    folder, made = tmp_path_factory.mktemp("speech"), []
    rng = np.random.default_rng(0)
    for i in range(12):
        n = int(RATE * rng.uniform(1.1, 2.5))
        low = np.sin(2 * np.pi * rng.uniform(100, 140) * np.arange(n) / RATE)
        wav = (low if i % 2 else rng.standard_normal(n)) * 0.1
        write_wav(folder / f"{i}.wav", wav.astype(np.float32))
        extra = {"style": ("hiss", "hum")[i % 2]}
        made.append(Utterance(f"u{i}", f"{i}.wav", n / RATE, "en", "a", speaker="ab"[i // 6], extra=extra))
    write_manifest(folder / "manifest.jsonl", made)
    return read_manifest(folder / "manifest.jsonl")


@pytest.fixture(scope="module")
def trained(utterances, tmp_path_factory):
    folder = tmp_path_factory.mktemp("style") / "style"
    names, labels = style_labels(utterances)
    return folder, train(utterances, names, labels, encoder, QUICK, folder)


def test_tokens_carry_the_style(utterances, trained):
    folder, curve = trained
    assert (
        curve[-1]["step"] == 24 and styles_of_tokens(folder) == ["hiss"] * 2 + ["hum"] * 3 or ["hiss"] * 3 + ["hum"] * 2
    )
    report, measures = style_report(utterances, folder, seed=1)
    assert report["accuracy_of_utterances"] > 90 and report["tokens"] == 5
    assert {m.test_set for m in measures} == {"style", "style_utterances"}
    tokenizer = StyleTokenizer(folder)
    wav = np.sin(2 * np.pi * 120 * np.arange(36_000) / RATE).astype(np.float32)
    assert len(tokenizer.units(wav)) == 3 and tokenizer.labels == 5


def test_the_files_are_those_of_transformers(trained):
    from safetensors.torch import load_file

    config = json.loads((trained[0] / "config.json").read_text())
    assert config["architectures"] == ["Wav2Vec2ForSequenceClassification"] and config["num_labels"] == 5
    names = set(load_file(trained[0] / "model.safetensors"))
    assert {"projector.weight", "classifier.bias", "wav2vec2.masked_spec_embed"} <= names


def test_a_stopped_run_goes_on_bit_for_bit(utterances, trained, tmp_path):
    class Stopped(Exception):
        pass

    def checkpoints():
        return Checkpoints(tmp_path / "c", lambda: {"a": 1}, Interval(steps=8))

    stopping, (names, labels) = checkpoints(), style_labels(utterances)
    save = stopping.save

    def save_and_stop(learner, step, state):
        save(learner, step, state)
        raise Stopped

    stopping.save = save_and_stop
    with pytest.raises(Stopped):
        train(utterances, names, labels, encoder, QUICK, tmp_path / "style", checkpoints=stopping)
    train(utterances, names, labels, encoder, QUICK, tmp_path / "style", checkpoints=checkpoints())
    for name in ("config.json", "model.safetensors", "training.json"):
        assert (tmp_path / "style" / name).read_bytes() == (trained[0] / name).read_bytes()


def test_the_classifier_finds_the_nearest_centroid(trained):
    from safetensors.torch import load_file

    tensors = load_file(trained[0] / "model.safetensors")
    weight, bias = tensors["classifier.weight"], tensors["classifier.bias"]
    x = torch.randn(50, 8)
    nearest = torch.cdist(x, weight / 2).argmin(dim=1)
    assert torch.equal((x @ weight.t() + bias).argmax(dim=1), nearest)


def test_training_hears_what_the_tokenizer_hears(trained):
    """Whole utterances through both give the same tokens."""
    from safetensors.torch import load_file

    network = StyleNetwork(encoder(), 8, 5)
    network.load_state_dict(load_file(trained[0] / "model.safetensors"))
    rng = np.random.default_rng(3)
    wav = rng.standard_normal(40_000).astype(np.float32)
    wav = (wav - wav.mean()) / wav.std()
    with torch.inference_mode():
        ours = network.classifier(network.pooled(torch.from_numpy(wav)[None]))[0].argmax(dim=1)
    assert ours.tolist() == StyleTokenizer(trained[0]).units(wav).tolist()


def test_crops_are_balanced_and_drawn_alike(utterances):
    _, labels = style_labels(utterances)
    crops = StyleCrops(utterances, labels, 16_080, 320)
    (wavs, found), (again, _) = (crops.batch(np.random.default_rng(1), 40) for _ in range(2))
    assert wavs.shape == (40, 16_080) and np.array_equal(wavs, again) and 8 < found.sum() < 32
    seconds = [np.array([0, 1, 2])] * len(utterances)
    _, found = StyleCrops(utterances, seconds, 32_080, 320).batch(np.random.default_rng(1), 9)
    assert found.shape == (9, 2) and (np.diff(found, axis=1) <= 1).all()


def test_labels_where_there_are_none(utterances, tmp_path):
    """A loud, high second and a quiet, low one are told apart, whichever voice has them."""
    made, tracked = [], []
    for i, u in enumerate(utterances[:8]):
        n = 2 * RATE
        loud, high = (np.arange(n) < RATE) == bool(i % 2), 1.5 if i < 4 else 0.75
        wav = np.random.default_rng(i).standard_normal(n) * np.where(loud, 0.3, 0.01)
        write_wav(tmp_path / f"{u.id}.wav", wav.astype(np.float32))
        made.append(Utterance(u.id, f"{u.id}.wav", 2.0, "en", "a", speaker="a" if i < 4 else "b"))
        f0 = np.repeat(np.where(loud[::RATE], 200, 120), 200) * high + np.random.default_rng(i).uniform(-1, 1, 400)
        tracked.append(TrackedF0(u.id, "", f0.astype(np.float32), np.ones(400, np.float32)))
    write_manifest(tmp_path / "manifest.jsonl", made)
    write_f0(tmp_path / "f0", tracked, "pyaapt")
    names, labels = prosody_labels(read_manifest(tmp_path / "manifest.jsonl"), F0Folder(tmp_path / "f0"), 2, 1)
    assert names == ["0", "1"]
    first = labels[0].tolist()
    assert sorted(first) == [0, 1] and all(
        row.tolist() == (first if i % 2 == 0 else first[::-1]) for i, row in enumerate(labels)
    )
    assert np.isnan(described(np.zeros(RATE, np.float32), np.zeros(200), np.zeros(200))[0, :3]).all()


def test_tokens_are_shared_out():
    assert shared_out(12, [5, 5, 5, 5]) == [3, 3, 3, 3] and shared_out(4, [100, 1, 1, 1]) == [1, 1, 1, 1]
    for tokens, sizes in ((100, [3, 50, 1, 7]), (7, [9, 1, 1])):
        shares = shared_out(tokens, sizes)
        assert sum(shares) == tokens and min(shares) >= 1


def test_what_is_missing_is_said(utterances, tmp_path):
    plain = [Utterance("x", "x.wav", 1.0, "en", "a")]
    with pytest.raises(UserError, match="no 'style'"):
        style_labels(plain)
    with pytest.raises(UserError, match="one style only"):
        style_labels(utterances[::2])
    names, labels = style_labels(utterances)
    with pytest.raises(UserError, match="1 tokens for 2"):
        train(utterances, names, labels, encoder, Training(tokens=1), tmp_path / "x")
    with pytest.raises(UserError, match="no utterance has a style"):
        style_report(plain, tmp_path, 1)
    write_f0(tmp_path / "f0", [TrackedF0("x", "", np.zeros(3, np.float32), np.zeros(3, np.float32))], "fcpe")
    with pytest.raises(UserError, match="no contour"):
        prosody_labels(utterances, F0Folder(tmp_path / "f0"), 2, 1)


def test_the_report_of_pitch(tmp_path):
    from spiritlm.pitch.vqvae_training import Training as PitchTraining
    from spiritlm.pitch.vqvae_training import published_sizes
    from spiritlm.pitch.vqvae_training import train as train_pitch

    f0 = np.linspace(90, 180, 160, dtype=np.float32)
    write_f0(
        tmp_path / "f0", [TrackedF0(f"u{i}", "a", f0 * (1 + i / 9), np.ones(160, np.float32)) for i in range(4)], "fcpe"
    )
    contours = F0Folder(tmp_path / "f0")
    settings = PitchTraining(steps=40, batch=4, values=64, rate=1e-2, mu=0.8, threshold=0.5)
    train_pitch(contours, published_sizes(8, 8, 1, 8), settings, tmp_path / "pitch")
    report, (measure,) = pitch_report(contours, tmp_path / "pitch", seed=1)
    assert report["utterances"] == 4 and 2 <= report["codes_used"] <= 8 and report["gross_error"] < 0.5
    assert measure.value == pytest.approx(100 * report["f0_frame_error"]) and measure.metric == "f0_error"
