"""HuBERT: published numbers, exactness under batching, transformers reads what we write, pretraining learns."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from spire.audio import write_wav  # noqa: E402
from spire.errors import UserError  # noqa: E402
from spire.manifest import Utterance, write_manifest  # noqa: E402
from spire.units.hubert import Hubert, HubertShape, load_hubert, save_hubert  # noqa: E402
from spire.units.hubert_encoder import HubertEncoder, normalize_wav  # noqa: E402
from spire.units.kmeans import nearest  # noqa: E402
from spire.units.pretrain import Pretraining, pretrain, read_stream  # noqa: E402
from spire.units.products import Linear, set_product_dtype  # noqa: E402
from spire.units.text import deduplicate, to_pua  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
GOLDENS = Path(__file__).resolve().parents[1] / "goldens" / "spirelm"
SMALL = HubertShape(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    conv_dim=(4, 4, 4, 8, 8, 8, 8),
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
)


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDENS / "units.npz")


@pytest.fixture(scope="module")
def encoder():
    return HubertEncoder(GOLDENS / "hubert_tiny", 3)


@pytest.mark.parametrize("run", ["one", "short"])
def test_features_and_labels_of_the_published_program(run, golden, encoder):
    expected = json.loads((GOLDENS / "unit_labels.json").read_text())[run]
    streamed = list(encoder.stream(golden[f"wav.{name}"] for name in expected["names"]))
    for row, features in enumerate(streamed):
        valid = golden[f"{run}.mask"][row]
        assert len(features) == valid.sum()
        assert np.abs(features - golden[f"{run}.feats"][row, valid]).max() < 1e-4
        labels = nearest(features, golden["centroids"])
        assert labels.tolist() == expected["indices_no_dedup"][row]
        assert to_pua(deduplicate(labels)) == expected["dsus"][row]


def test_below_one_frame_there_is_nothing(encoder):
    assert encoder.features(np.ones(399, np.float32)).shape == (0, 32)
    assert encoder.features(np.zeros(0, np.float32)).shape == (0, 32)
    assert encoder.features(np.ones(400, np.float32)).shape == (1, 32)


def test_features_do_not_depend_on_company_or_order(encoder):
    rng = np.random.default_rng(0)
    wavs = [rng.standard_normal(int(n)).astype(np.float32) for n in rng.integers(300, 40_000, 24)]
    together = list(encoder.stream(wavs))
    backwards = list(encoder.stream(wavs[::-1]))[::-1]
    for i, wav in enumerate(wavs):
        assert np.array_equal(together[i], backwards[i]), f"utterance {i} differs in another order"
        if i < 4:
            assert np.array_equal(together[i], encoder.features(wav)), f"utterance {i} differs alone"


def test_normalization_eps_matters_for_quiet_audio():
    quiet = 0.01 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    ratio = normalize_wav(quiet, 1e-7).std() / normalize_wav(quiet, 1e-5).std()
    assert ratio == pytest.approx(1.05, abs=0.005)


@pytest.mark.parametrize("norm, stable", [("layer", True), ("group", False)])
def test_transformers_computes_the_same(tmp_path, norm, stable):
    from transformers import HubertModel

    torch.manual_seed(0)
    shape = HubertShape(**{**SMALL.__dict__, "feat_extract_norm": norm, "do_stable_layer_norm": stable})
    save_hubert(Hubert(shape), tmp_path / "h")
    theirs = HubertModel.from_pretrained(tmp_path / "h").eval()
    wav = np.random.default_rng(0).standard_normal(9000).astype(np.float32)
    with torch.no_grad():
        states = theirs(torch.from_numpy(normalize_wav(wav))[None], output_hidden_states=True).hidden_states
    features = HubertEncoder(tmp_path / "h", 1).features(wav)
    assert np.abs(features - states[1][0].numpy()).max() < 1e-4


def test_group_norm_models_are_exact_too(tmp_path):
    torch.manual_seed(0)
    shape = HubertShape(**{**SMALL.__dict__, "feat_extract_norm": "group", "do_stable_layer_norm": False})
    save_hubert(Hubert(shape), tmp_path / "h")
    encoder = HubertEncoder(tmp_path / "h", 2)
    wavs = [np.random.default_rng(i).standard_normal(4000 + 900 * i).astype(np.float32) for i in range(3)]
    together = list(encoder.stream(wavs))
    assert all(np.array_equal(a, encoder.features(wav)) for a, wav in zip(together, wavs, strict=True))


def test_refusals(tmp_path):
    torch.manual_seed(0)
    with pytest.raises(UserError, match="cannot be read"):
        load_hubert(tmp_path)
    save_hubert(Hubert(SMALL), tmp_path / "h")
    with pytest.raises(UserError, match="layer 3 of 2"):
        load_hubert(tmp_path / "h", 3)
    with pytest.raises(UserError, match="counts from 1|not a layer"):
        HubertEncoder(tmp_path / "h", 0)
    with pytest.raises(UserError, match="already exists"):
        save_hubert(Hubert(SMALL), tmp_path / "h")
    config = json.loads((tmp_path / "h" / "config.json").read_text())
    (tmp_path / "h" / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    with pytest.raises(UserError, match="hidden_act is 'relu'"):
        load_hubert(tmp_path / "h")
    (tmp_path / "h" / "config.json").write_text(json.dumps(config | {"intermediate_size": 33}))
    with pytest.raises(UserError, match="another shape"):
        load_hubert(tmp_path / "h")


def test_bfloat16_products_round_only_operands():
    torch.manual_seed(0)
    layer, exact = Linear(24, 40), Linear(24, 40)
    exact.load_state_dict(layer.state_dict())
    set_product_dtype(layer, torch.bfloat16)
    x = torch.randn(3, 5, 24)
    grads = []
    for each in (layer, exact):
        leaf = x.clone().requires_grad_()
        y = each(leaf)
        assert y.dtype == torch.float32 and y.shape == (3, 5, 40)
        (y * torch.linspace(-1, 1, 40)).sum().backward()
        grads.append([y.detach(), leaf.grad, each.weight.grad, each.bias.grad])
    for rounded, plain in zip(*grads, strict=True):
        assert (rounded - plain).norm() < 0.01 * plain.norm()
    assert torch.equal(grads[0][3], grads[1][3]), "the bias gradient is summed in float32"


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(0)
    utterances = []
    for i in range(6):
        parts = [np.sin(2 * np.pi * rng.choice([300, 800, 2000]) * np.arange(2400) / 16_000) for _ in range(14)]
        wav = 0.3 * np.concatenate(parts) + 0.01 * rng.standard_normal(14 * 2400)
        write_wav(tmp_path / f"{i}.wav", wav[: len(wav) - 100 * i])
        utterances.append(Utterance(f"u{i}", f"{i}.wav", len(wav) / 16_000 - i / 160, "en", ""))
    write_manifest(tmp_path / "m.jsonl", utterances)
    return tmp_path


def test_stream_labels_are_those_of_the_utterances(corpus):
    stream = read_stream(corpus / "m.jsonl", Pretraining(label_clusters=(4, 6), label_pca=8))
    frames = stream.labels.shape[1]
    assert len(stream.wav) == 320 * frames + 80 and stream.labels.shape[0] == 2
    tails = [(14 * 2400 - 100 * i) % 320 for i in range(6)]
    assert (stream.labels[0] == -1).sum() == sum(t < 80 for t in tails), "a last frame without a window has no label"
    assert stream.labels[0].max() == 3 and stream.labels[1].max() == 5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pretraining_learns_and_repeats_itself(corpus, precision):
    settings = Pretraining(
        steps=40, batch=4, frames=40, label_clusters=(4,), label_pca=8, peak_rate=5e-3, precision=precision
    )
    curve = pretrain(corpus / "m.jsonl", SMALL, settings, corpus / "a")
    assert curve[-1]["loss"] < 1.2, f"ln 4 is chance: {curve}"
    assert pretrain(corpus / "m.jsonl", SMALL, settings, corpus / "b") == curve
    assert (corpus / "a" / "model.safetensors").read_bytes() == (corpus / "b" / "model.safetensors").read_bytes()
    assert HubertEncoder(corpus / "a", 2, "meanvar").features(np.ones(8000, np.float32)).shape == (24, 16)


def test_script_and_labels_of_a_pretrained_model(corpus):
    import units_kmeans
    import units_label
    import units_pretrain

    (corpus / "tiny.json").write_text(
        json.dumps(
            {
                key: SMALL.__dict__[key]
                for key in (
                    "hidden_size",
                    "intermediate_size",
                    "num_hidden_layers",
                    "conv_dim",
                    "num_conv_pos_embeddings",
                    "num_conv_pos_embedding_groups",
                )
            }
        )
    )
    manifest, hubert, kmeans = f"{corpus}/m.jsonl", f"{corpus}/h", f"{corpus}/k"
    assert (
        units_pretrain.main(
            [
                "--manifest",
                manifest,
                "--config",
                f"{corpus}/tiny.json",
                "--steps",
                "2",
                "--batch",
                "2",
                "--label-clusters",
                "4",
                "--out",
                hubert,
            ]
        )
        == 0
    )
    assert (
        units_kmeans.main(
            [
                "--encoder",
                hubert,
                "--layer",
                "1",
                "--normalize",
                "meanvar",
                "--clusters",
                "5",
                "--manifest",
                manifest,
                "--frames",
                "400",
                "--out",
                kmeans,
            ]
        )
        == 0
    )
    label = ["--encoder", hubert, "--kmeans", kmeans, "--manifest", f"m={manifest}", "--out", f"{corpus}/u"]
    assert units_label.main([*label, "--layer", "1"]) == 0
    assert len((corpus / "u" / "m.units").read_text().splitlines()) == 6
    with pytest.raises(UserError, match="layer is '2', the k-means was trained on '1'"):
        units_label.main([*label, "--layer", "2"])


def test_pretraining_refuses_an_occupied_folder_before_working(corpus):
    (corpus / "a").mkdir()
    (corpus / "a" / "precious").write_text("x")
    with pytest.raises(UserError, match="already exists"):
        pretrain(corpus / "missing.jsonl", SMALL, Pretraining(), corpus / "a")
