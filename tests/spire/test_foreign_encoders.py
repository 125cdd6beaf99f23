"""Importing encoders: goldens of fairseq, both config styles, fine-tuned files, torch's two forms, folders, hub ids."""

import argparse
import json
import os
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from spire.errors import UserError  # noqa: E402
from spire.foreign.convert import convert_encoder, sha256_of  # noqa: E402
from spire.foreign.fairseq import VOCABULARY, parse_convolutions, read_fairseq  # noqa: E402
from spire.foreign.importing import import_encoder  # noqa: E402
from spire.foreign.open import encoder_directory  # noqa: E402
from spire.foreign.provenance import encoder_facts  # noqa: E402
from spire.foreign.settings import plain  # noqa: E402
from spire.foreign.torch_file import TorchFile  # noqa: E402
from spire.units.hubert_encoder import HubertEncoder  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
CHECKPOINTS = {
    "cfg": GOLDENS / "fairseq" / "hubert_tiny_large_prenorm.pt",
    "args": GOLDENS / "fairseq" / "hubert_tiny_large_prenorm_args.pt",
}
JOBLIB = GOLDENS / "spirelm" / "kmeans50_f32.joblib"


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "hubert"
    convert_encoder(CHECKPOINTS["cfg"], folder)
    return folder


def raw_state():
    """The golden's tensors under their fairseq names, as torch tensors."""
    with TorchFile(CHECKPOINTS["cfg"], VOCABULARY) as file:
        return {key: torch.from_numpy(file.array(value).copy()) for key, value in file.root["model"].items()}


def settings():
    with TorchFile(CHECKPOINTS["cfg"], VOCABULARY) as file:
        return plain(file.root["cfg"], "test")


# Encoders.


@pytest.mark.parametrize("style", CHECKPOINTS)
def test_converted_checkpoint_gives_the_features_of_fairseq(style, tmp_path):
    folder = encoder_directory(CHECKPOINTS[style], cache_dir=tmp_path)
    features = np.load(GOLDENS / "fairseq" / "features.npz")
    wavs = np.load(GOLDENS / "fairseq" / "wavs.npz")
    for layer in (1, 3, 4):
        encoder = HubertEncoder(folder, layer, eps=1e-5)
        for name in ("f2", "f3"):
            expected = features[f"large_prenorm.{name}.layer{layer}"]
            found = encoder.features(wavs[name])
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() < 1e-4


def test_both_config_styles_hold_the_same_model(converted, tmp_path):
    other = tmp_path / "other"
    convert_encoder(CHECKPOINTS["args"], other)
    ours, theirs = (json.loads((folder / "config.json").read_text()) for folder in (converted, other))
    assert ours.pop("spire_source") != theirs.pop("spire_source")
    assert ours == theirs
    assert (ours["model_type"], ours["do_stable_layer_norm"], ours["conv_bias"]) == ("hubert", True, False)
    assert json.loads((converted / "preprocessor_config.json").read_text())["do_normalize"] is True


def test_transformers_reads_the_folder_without_missing_keys(converted):
    transformers = pytest.importorskip("transformers")
    model, info = transformers.HubertModel.from_pretrained(converted, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert model.config.num_hidden_layers == 4


def test_conversion_is_reproducible_and_takes_no_occupied_folder(converted, tmp_path):
    line = import_encoder(CHECKPOINTS["cfg"], tmp_path / "again", sha256_of(CHECKPOINTS["cfg"]).upper())
    assert "hubert, 4 layers of 32 dimensions" in line
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (converted / name).read_bytes()
    with pytest.raises(UserError, match="exists"):
        import_encoder(CHECKPOINTS["cfg"], tmp_path / "again")
    with pytest.raises(UserError, match="its sha256 is"):
        import_encoder(CHECKPOINTS["cfg"], tmp_path / "new", "00")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again"]


def test_fine_tuned_checkpoints_give_their_encoder(converted, tmp_path):
    state = {"w2v_encoder.w2v_model." + key: value for key, value in raw_state().items() if "final_proj" not in key}
    del state["w2v_encoder.w2v_model.label_embs_concat"]
    state |= {"w2v_encoder.proj.weight": torch.zeros(5, 32), "w2v_encoder.proj.bias": torch.zeros(5)}
    cfg = settings()
    new = {"cfg": {"model": {"_name": "hubert_ctc", "w2v_args": cfg}, "task": {"normalize": True}}, "args": None}
    inner = argparse.Namespace(**cfg["model"], normalize=True)
    old = {"cfg": None, "args": argparse.Namespace(arch="hubert_ctc", w2v_args=inner)}
    for style, head in {"new": new, "old": old}.items():
        torch.save(head | {"model": state}, tmp_path / f"{style}.pt")
        folder = encoder_directory(tmp_path / f"{style}.pt", cache_dir=tmp_path / "cache")
        ours, plain_model = (HubertEncoder(path, 3) for path in (folder, converted))
        wav = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
        assert np.array_equal(ours.features(wav), plain_model.features(wav))


def fairseq_names(state):
    """Tensors of a transformers model under fairseq's names, by plain replacement."""
    renamed = {}
    for key, value in state.items():
        for new, old in (
            ("feature_projection.layer_norm", "layer_norm"),
            ("feature_projection.projection", "post_extract_proj"),
            ("masked_spec_embed", "mask_emb"),
            ("pos_conv_embed.conv.parametrizations.weight.original0", "pos_conv.0.weight_g"),
            ("pos_conv_embed.conv.parametrizations.weight.original1", "pos_conv.0.weight_v"),
            ("pos_conv_embed.conv.bias", "pos_conv.0.bias"),
            ("feed_forward.intermediate_dense", "fc1"),
            ("feed_forward.output_dense", "fc2"),
        ):
            key = key.replace(new, old)
        if ".final_layer_norm" not in key and "encoder.layers." in key:
            key = key.replace("layer_norm", "self_attn_layer_norm").replace("attention.", "self_attn.")
        if "conv_layers" in key:
            key = key.replace(".conv.", ".0.").replace(".layer_norm.", ".2." if "group" in state else ".2.1.")
        renamed[key] = value
    return renamed


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_any_model_of_the_family_comes_back_unchanged(kind, norm, tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=(8,) * 7,
                 num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, feat_extract_norm=norm,
                 conv_bias=norm == "layer", do_stable_layer_norm=norm == "layer")  # fmt: skip
    torch.manual_seed(0)
    family = {"hubert": (transformers.HubertConfig, transformers.HubertModel),
              "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model)}[kind]  # fmt: skip
    model = family[1](family[0](**sizes)).eval()
    state = {key: value.detach() for key, value in model.state_dict().items()}
    renamed = fairseq_names(state | ({"group": None} if norm == "group" else {}))
    renamed.pop("group", None)
    if kind == "wav2vec2":
        renamed |= {"quantizer.vars": torch.ones(1, 4, 2), "project_q.weight": torch.ones(2, 2)}
    cfg = {
        "model": {
            "_name": kind, "encoder_layers": 2, "encoder_attention_heads": 2, "layer_norm_first": norm == "layer",
            "extractor_mode": "default" if norm == "group" else "layer_norm",
            "conv_feature_layers": "[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8,2,2)] + [(8,2,2)]",
        },
        "task": {"normalize": norm == "layer"},
    }  # fmt: skip
    torch.save({"cfg": cfg, "args": None, "model": renamed}, tmp_path / "model.pt")
    folder = encoder_directory(tmp_path / "model.pt", cache_dir=tmp_path)
    again, info = family[1].from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert all(torch.equal(state[key], value) for key, value in again.state_dict().items())
    wav = torch.randn(1, 3000)
    with torch.inference_mode():
        assert torch.equal(model(wav).last_hidden_state, again.eval()(wav).last_hidden_state)
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    assert preprocessor["do_normalize"] is (norm == "layer")


def test_settings_in_omegaconf_nodes_are_read(tmp_path, monkeypatch):
    cfg = settings()
    module = types.ModuleType("omegaconf.dictconfig")
    module.DictConfig = type("DictConfig", (), {"__module__": module.__name__})

    def wrapped(value):
        made = module.DictConfig()
        content = {k: wrapped(v) for k, v in value.items()} if isinstance(value, dict) else None
        made.__dict__.update({"_content": content} if content is not None else {"_val": value, "_flags": None})
        return made

    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    torch.save({"cfg": wrapped(cfg), "model": raw_state()}, tmp_path / "omega.pt")
    with TorchFile(tmp_path / "omega.pt", VOCABULARY) as file:
        assert read_fairseq(file).config["num_attention_heads"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_layers": 5}, "encoder_layers is 5"),
        ({"conv_feature_layers": "[(24,10,5)] * 7"}, "convolutions are not those"),
        ({"conv_feature_layers": "__import__('os').system('true')"}, "not a list of"),
        ({"encoder_attention_heads": 5}, "do not divide"),
        ({"encoder_attention_heads": "4"}, "not a size"),
        ({"activation_fn": "relu"}, "activation_fn is 'relu'"),
        ({"layer_type": "conformer"}, "layer_type is 'conformer'"),
        ({"extractor_mode": "default"}, "extractor_mode is 'default'"),
    ],
)
def test_settings_that_contradict_the_tensors_are_refused(change, message, tmp_path):
    cfg = settings()
    cfg["model"] |= change
    torch.save({"cfg": cfg, "model": raw_state()}, tmp_path / "bad.pt")
    with pytest.raises(UserError, match=message):
        encoder_directory(tmp_path / "bad.pt", cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists() or not any((tmp_path / "cache").rglob("*.partial"))


def test_tensors_without_a_place_and_values_that_are_not_finite_are_refused(tmp_path):
    state = raw_state()
    extra = state | {"encoder.layers.0.adapter.weight": torch.zeros(3)}
    broken = state | {"encoder.layer_norm.bias": torch.full((32,), float("nan"))}
    gap = {key: value for key, value in state.items() if "encoder.layers.1." not in key}
    for name, content, message in (
        ("extra", extra, "adapter"), ("broken", broken, "not finite"), ("gap", gap, "no unbroken list"),
    ):  # fmt: skip
        torch.save({"cfg": settings(), "model": content}, tmp_path / f"{name}.pt")
        with pytest.raises(UserError, match=message):
            convert_encoder(tmp_path / f"{name}.pt", tmp_path / name)
        assert not (tmp_path / name).exists()
    assert not list(tmp_path.glob(".*partial"))


def test_convolution_lists_of_published_models():
    large = parse_convolutions("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2", "x")
    assert large == [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2
    assert parse_convolutions("[(512, 10, 5), (256, 3, 2)]", "x") == [(512, 10, 5), (256, 3, 2)]
    for text in (
        "",
        "[]",
        "[(1,2,3)] * 99",
        "[(0,1,1)]",
        "(1,2,3)",
        None,
        "[(1,1,1)" + " " * 4000 + "x",
        "[(1,1,1)] ** 9",
    ):
        with pytest.raises(UserError):
            parse_convolutions(text, "x")


# torch files.


@pytest.mark.parametrize("new", [True, False], ids=["archive", "stream"])
def test_tensors_equal_those_of_torch(new, tmp_path):
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    saved = {
        "plain": base,
        "transposed": base.t(),
        "slice": base[2:4, ::2],
        "half": base.half(),
        "bf16": base.bfloat16(),
        "double": base.double(),
        "ints": torch.arange(5),
        "flags": torch.tensor([True, False]),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }
    path = tmp_path / "some.pt"
    torch.save({"tensors": saved, "size": base.shape, "dtype": torch.float32}, path, _use_new_zipfile_serialization=new)
    with TorchFile(path) as file:
        assert file.root["size"] == (6, 8)
        for name, expected in saved.items():
            found = file.array(file.root["tensors"][name])
            assert found.shape == tuple(expected.shape), name
            if name == "bf16":
                assert found.dtype == np.float32
            assert np.array_equal(
                found, expected.detach().float().numpy() if name == "bf16" else expected.detach().numpy()
            )


def test_pytorch_model_bin_is_converted_once(converted, tmp_path):
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "config.json").write_text((converted / "config.json").read_text())
    torch.save(load_file(converted / "model.safetensors"), repository / "pytorch_model.bin")
    folder = encoder_directory(repository, cache_dir=tmp_path / "cache")
    wav = np.random.default_rng(0).standard_normal(3000).astype(np.float32)
    assert np.array_equal(HubertEncoder(folder, 4).features(wav), HubertEncoder(converted, 4).features(wav))
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert encoder_directory(repository, cache_dir=tmp_path / "cache") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


# Opening encoders.


def test_the_cache_is_checked_and_a_folder_is_taken_as_it_is(converted, tmp_path):
    assert encoder_directory(converted, cache_dir=tmp_path) == converted
    folder = encoder_directory(CHECKPOINTS["cfg"], cache_dir=tmp_path)
    assert folder.is_relative_to(tmp_path)
    (folder / "model.safetensors").write_bytes((converted / "model.safetensors").read_bytes()[:-4] + b"abcd")
    other = encoder_directory(CHECKPOINTS["args"], cache_dir=tmp_path)
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="was converted from"):
        encoder_directory(CHECKPOINTS["cfg"], cache_dir=tmp_path)


def test_processes_that_convert_at_once_share_one_result(converted, tmp_path, monkeypatch):
    folder = encoder_directory(CHECKPOINTS["cfg"], cache_dir=tmp_path / "other")
    cached = tmp_path / "cache" / "encoders" / folder.name

    def beaten(path, out):
        shutil.copytree(folder, cached)
        convert_encoder(path, out)

    monkeypatch.setattr("spire.foreign.open.convert_encoder", beaten)
    assert encoder_directory(CHECKPOINTS["cfg"], cache_dir=tmp_path / "cache") == cached


def test_what_killed_runs_left_is_removed_after_a_day(tmp_path):
    old, young = (tmp_path / f".hubert.{name}.partial" for name in ("old", "young"))
    for leftover in (old, young):
        leftover.mkdir()
    os.utime(old, (0, 0))
    convert_encoder(CHECKPOINTS["cfg"], tmp_path / "hubert")
    assert young.exists() and not old.exists()


def test_folders_that_bring_code_or_nothing_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "hubert", "auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(UserError, match="auto_map"):
        encoder_directory(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(UserError, match="neither model.safetensors"):
        encoder_directory(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not JSON"):
        encoder_directory(tmp_path)
    with pytest.raises(UserError, match="no such encoder"):
        encoder_directory("nowhere/at/all.pt")
    with pytest.raises(UserError, match="no such encoder"):
        encoder_directory("missing/model.pt")


def test_a_hub_id_fetches_only_configuration_and_safetensors(monkeypatch, converted, tmp_path):
    calls = []

    def snapshot_download(repository, revision, cache_dir, allow_patterns):
        calls.append((repository, revision, allow_patterns))
        return str(converted)

    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert encoder_directory("facebook/hubert-large-ll60k", tmp_path, "abc") == converted
    assert calls[0][:2] == ("facebook/hubert-large-ll60k", "abc")
    assert not any(pattern.endswith((".py", ".bin", "*")) for pattern in calls[0][2])


def test_a_repository_with_pickled_weights_only_is_converted(monkeypatch, converted, tmp_path):
    snapshot = tmp_path / "snapshots" / ("0123456789" * 4)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text((converted / "config.json").read_text())
    calls = []

    def snapshot_download(repository, revision, cache_dir, allow_patterns):
        calls.append(allow_patterns)
        if len(calls) == 2:
            torch.save(load_file(converted / "model.safetensors"), snapshot / "pytorch_model.bin")
        return str(snapshot)

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    folder = encoder_directory("some/model", tmp_path)
    assert calls[1] == ["config.json", "preprocessor_config.json", "pytorch_model.bin"]
    assert encoder_facts(folder)["revision"] == "0123456789" * 4
    assert HubertEncoder(folder, 3).dim == 32


def test_a_hub_that_fails_is_a_user_error(monkeypatch, tmp_path):
    def snapshot_download(*_, **__):
        raise RuntimeError("404 Client Error\nlong explanation")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    with pytest.raises(UserError, match="cannot be fetched: 404 Client Error$"):
        encoder_directory("some/model", tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="not installed"):
        encoder_directory("some/model", tmp_path)
