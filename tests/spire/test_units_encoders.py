"""open_encoder: which encoder a folder holds, final norm, pooling, eps, what a k-means brings along, refusals."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tiny_encoders import broken_copy, save_w2v_bert, save_waveform_model, save_whisper, speech  # noqa: E402

from spire.errors import UserError  # noqa: E402
from spire.units.encoders import encoder_for, open_encoder  # noqa: E402
from spire.units.kmeans import KMeans  # noqa: E402
from spire.units.placement import place  # noqa: E402


@pytest.fixture(scope="module")
def w2v(tmp_path_factory):
    return save_w2v_bert(tmp_path_factory.mktemp("w2v"))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return save_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module", params=["hubert", "wav2vec2"])
def waveform_model(request, tmp_path_factory):
    return request.param, *save_waveform_model(request.param, tmp_path_factory.mktemp(request.param))


def test_hubert_and_wav2vec2_are_those_of_transformers(waveform_model, tmp_path):
    name, folder, theirs = waveform_model
    inputs = transformers.Wav2Vec2FeatureExtractor()(speech(9000), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        outputs = theirs(inputs["input_values"], output_hidden_states=True)
        states = outputs.hidden_states
        normed = theirs.encoder.layer_norm(states[2])[0].numpy()
    dropped, kept = (open_encoder(folder, 2, final_norm=f) for f in ("drop", "keep"))
    assert dropped.name == name and dropped.plain and not kept.plain
    assert np.abs(dropped.features(speech(9000)) - states[2][0].numpy()).max() < 1e-4
    assert np.abs(kept.features(speech(9000)) - normed).max() < 1e-4
    last = open_encoder(folder, 3, final_norm="keep").features(speech(9000))
    assert np.abs(last - outputs.last_hidden_state[0].numpy()).max() < 1e-4
    post_norm = broken_copy(Path(folder), tmp_path / "post", do_stable_layer_norm=False)
    assert open_encoder(post_norm, 2).features(speech(9000)).shape == (27, 32)
    with pytest.raises(UserError, match=f"{name} has no final norm"):
        open_encoder(post_norm, 2, final_norm="keep")


def test_cepstra_need_no_torch():
    code = """
import sys
import numpy as np
from spire.units.encoders import open_encoder
encoder = open_encoder("mfcc", pooling="mean", pooling_width=2)
assert encoder.features(np.ones(8000, np.float32)).shape == (12, 39)
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pooling_is_that_of_torch_and_leaves_out_the_rest(whisper):
    plain = open_encoder(whisper[0], 2).features(speech(9000))
    assert len(plain) == 29
    series = torch.from_numpy(plain.T.copy())[None]
    for kind, layer in (("mean", torch.nn.AvgPool1d(3, 3)), ("max", torch.nn.MaxPool1d(3, 3))):
        encoder = open_encoder(whisper[0], 2, pooling=kind, pooling_width=3)
        pooled = encoder.features(speech(9000))
        assert pooled.shape == (9, 16)
        assert np.abs(pooled - layer(series)[0].T.numpy()).max() < 1e-6
        assert encoder.features(speech(500)).shape == (0, 16), "shorter than the window"
        assert encoder.rate_hz == pytest.approx(50 / 3)


def test_detected_placement_is_that_of_the_machine():
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    model, where, numbers = place(torch.nn.Linear(2, 2), "auto", "auto")
    assert (where.type, numbers, model.weight.dtype) == (device, dtype, dtype)


def test_eps_counts_for_quiet_audio(w2v):
    near_silence = 1e-7 * speech(9000)
    assert open_encoder(w2v[0], 1).metadata()["eps"] == "1e-07"
    published, larger = (open_encoder(w2v[0], 1, eps=e).features(near_silence) for e in (None, 0.1))
    assert not np.allclose(published, larger)


def test_preprocessor_decides_whether_waveforms_are_normalized(waveform_model, w2v, whisper, tmp_path):
    _, folder, theirs = waveform_model
    copy = broken_copy(Path(folder), tmp_path / "copy")
    extract = transformers.Wav2Vec2FeatureExtractor(do_normalize=False)
    extract.save_pretrained(copy)
    with torch.no_grad():
        inputs = extract(speech(9000), sampling_rate=16_000, return_tensors="pt")
        states = theirs(inputs["input_values"], output_hidden_states=True).hidden_states
    encoder = open_encoder(copy, 2)
    assert np.abs(encoder.features(speech(9000)) - states[2][0].numpy()).max() < 1e-4
    assert "eps" not in encoder.metadata() and "eps" in open_encoder(folder, 2).metadata()
    with pytest.raises(UserError, match="does not normalize its input"):
        open_encoder(copy, 2, eps=1e-5)
    cases = (folder, {"sampling_rate": 8000}), (w2v[0], {"stride": 1}), (whisper[0], {"hop_length": 128})
    for number, (source, changes) in enumerate(cases):
        other = Path(broken_copy(Path(source), tmp_path / str(number)))
        (other / "preprocessor_config.json").write_text(json.dumps(changes))
        with pytest.raises(UserError, match=f"preprocessor_config.json: {next(iter(changes))}"):
            open_encoder(str(other), 1)


def test_a_kmeans_brings_its_settings_along(w2v):
    folder, _ = w2v
    made = open_encoder(folder, 2, "mean", 1, final_norm="keep", pooling="max", pooling_width=2, eps=1e-5)
    kmeans = KMeans(np.zeros((3, 16), np.float32), made.metadata())
    encoder = encoder_for(kmeans, "k", folder)
    assert encoder.metadata() == made.metadata()
    assert np.array_equal(encoder.features(speech(9000)), made.features(speech(9000)))
    assert not encoder.plain and open_encoder(folder, 2).plain
    with pytest.raises(UserError, match="layer is '3', the k-means was trained on '2'"):
        encoder_for(kmeans, "k", folder, 3)
    for key, value in (("eps", "tiny"), ("pooling_width", "-1"), ("pooling", "median"), ("final_norm", "maybe")):
        with pytest.raises(UserError, match=key.split("_")[0]):
            encoder_for(KMeans(kmeans.centroids, made.metadata() | {key: value}), "k", folder, 2)


def test_keywords_speak_for_a_kmeans_that_does_not_and_contradict_none_that_does(w2v):
    folder, _ = w2v
    keywords = {"final_norm": "keep", "pooling": "mean", "pooling_width": 2, "eps": 1e-5}
    made = open_encoder(folder, 2, **keywords)
    assert encoder_for(KMeans(np.zeros((3, 16), np.float32), {}), "k", folder, 2, **keywords).metadata() == (
        made.metadata()
    )
    kmeans = KMeans(np.zeros((3, 16), np.float32), made.metadata())
    for contradiction in ({"final_norm": "drop"}, {"pooling": "max"}, {"pooling_width": 3}, {"eps": 1e-7}):
        with pytest.raises(UserError, match=f"{next(iter(contradiction))} is .*, the k-means was trained on"):
            encoder_for(kmeans, "k", folder, 2, **contradiction)


def test_shards_give_the_same_and_may_not_lead_outside(w2v, tmp_path):
    folder, model = w2v
    model.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    sharded = open_encoder(str(tmp_path / "shards"), 2)
    assert np.array_equal(sharded.features(speech(9000)), open_encoder(folder, 2).features(speech(9000)))
    index = tmp_path / "shards" / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"model-00001', '"../model-00001'))
    with pytest.raises(UserError, match="outside the folder"):
        open_encoder(str(tmp_path / "shards"), 2)


def test_refusals(w2v, whisper, tmp_path):
    for folder, _ in (w2v, whisper):
        with pytest.raises(UserError, match="layer 4 of 3"):
            open_encoder(folder, 4)
        with pytest.raises(UserError, match="layer 0 is not a layer"):
            open_encoder(folder)
        with pytest.raises(UserError, match="unknown dtype"):
            open_encoder(folder, 1, dtype="float8")
        with pytest.raises(UserError, match="unknown device"):
            open_encoder(folder, 1, device="abacus")
        with pytest.raises(UserError, match="mps is not supported"):
            open_encoder(folder, 1, device="mps")
        if not torch.cuda.is_available():
            with pytest.raises(UserError, match="0 GPUs"):
                open_encoder(folder, 1, device="cuda")
    with pytest.raises(UserError, match="whisper does not normalize"):
        open_encoder(whisper[0], 1, eps=1e-5)
    with pytest.raises(UserError, match="mfcc has no final norm"):
        open_encoder("mfcc", final_norm="keep")
    with pytest.raises(UserError, match="without a pooling"):
        open_encoder("mfcc", pooling_width=2)
    with pytest.raises(UserError, match="not positive"):
        open_encoder("mfcc", pooling="max", pooling_width=0)
    source = Path(w2v[0])
    for i, (changes, message) in enumerate(
        (
            ({"model_type": "bert"}, "model_type is 'bert'"),
            ({"position_embeddings_type": "rotary"}, "position_embeddings_type is 'rotary'"),
            ({"hidden_size": 18}, "another shape"),
            ({"hidden_size": "many"}, "not a positive integer"),
            ({"num_attention_heads": 3}, "must divide"),
            ({"layer_norm_eps": "small"}, "layer_norm_eps is 'small'"),
        )
    ):
        with pytest.raises(UserError, match=message):
            open_encoder(broken_copy(source, tmp_path / f"{i}", **changes), 1)
    cut = Path(broken_copy(source, tmp_path / "cut"))
    (cut / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read"):
        open_encoder(str(cut), 1)
    (cut / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        open_encoder(str(cut), 1)
    (cut / "config.json").write_text("[]")
    with pytest.raises(UserError, match="not a JSON object"):
        open_encoder(str(cut), 1)
