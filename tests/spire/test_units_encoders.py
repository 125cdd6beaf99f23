"""w2v-BERT and Whisper encoders: transformers' numbers, exactness under batching, long and short audio, refusals."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from spire.errors import UserError  # noqa: E402
from spire.units import w2v_bert_encoder, whisper_encoder  # noqa: E402
from spire.units.encoders import encoder_for, open_encoder  # noqa: E402
from spire.units.kmeans import KMeans  # noqa: E402
from spire.units.logmel import stacked_fbank, whisper_logmel  # noqa: E402
from spire.units.placement import place  # noqa: E402

W2V = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "left_max_position_embeddings": 6,
    "right_max_position_embeddings": 3,
    "conv_depthwise_kernel_size": 5,
}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 8,
    "vocab_size": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "num_mel_bins": 80,
    "max_source_positions": 50,
}


def speech(samples, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / 16_000
    tone = np.sin(2 * np.pi * (200 + 300 * rng.random()) * t) * (0.6 + 0.4 * np.sin(12 * t))
    return (0.2 * tone + 0.02 * rng.standard_normal(samples)).astype(np.float32)


def strongly(model):
    """Random weights large enough that every part of the model shows in the result, norms included."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(1 + 0.3 * noise if name.endswith("norm.weight") else 0.25 * noise)
    return model.eval()


@pytest.fixture(scope="module")
def w2v(tmp_path_factory):
    folder = tmp_path_factory.mktemp("w2v")
    model = strongly(transformers.Wav2Vec2BertModel(transformers.Wav2Vec2BertConfig(**W2V)))
    model.save_pretrained(folder)
    return str(folder), model


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    model = strongly(transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**WHISPER)))
    model.save_pretrained(folder)
    return str(folder), model.model.encoder


def test_both_front_ends_are_those_of_transformers():
    kaldi = transformers.SeamlessM4TFeatureExtractor(padding_value=1.0)
    for samples in (560, 719, 720, 16_000, 33_333):
        theirs = kaldi(speech(samples), sampling_rate=16_000, return_tensors="np")
        valid = theirs["attention_mask"][0].astype(bool)
        assert np.abs(stacked_fbank(speech(samples)) - theirs["input_features"][0][valid]).max() < 1e-5
    for mels in (80, 128):
        extract = transformers.WhisperFeatureExtractor(feature_size=mels, chunk_length=2)
        for samples in (1, 150, 400, 8000, 32_000 - 399, 32_000 - 150, 32_000):
            theirs = extract(speech(samples), sampling_rate=16_000, return_tensors="np")["input_features"][0]
            assert np.abs(whisper_logmel(speech(samples), mels, 32_000) - theirs).max() < 1e-4, (mels, samples)


def test_digital_silence_has_finite_features(w2v, whisper):
    for folder, _ in (w2v, whisper):
        assert np.isfinite(open_encoder(folder, 3).features(np.zeros(4000, np.float32))).all()


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_w2v_bert_is_that_of_transformers(w2v, layer):
    folder, theirs = w2v
    for samples in (560, 16_000, 100_000):
        inputs = transformers.SeamlessM4TFeatureExtractor()(
            [speech(samples), speech(110_000, 1)], sampling_rate=16_000, return_tensors="pt"
        )
        with torch.no_grad():
            states = theirs(**inputs, output_hidden_states=True).hidden_states
        ours = open_encoder(folder, layer, final_norm="keep").features(speech(samples))
        assert len(ours) == inputs["attention_mask"][0].sum()
        assert np.abs(ours - states[layer][0, : len(ours)].numpy()).max() < 1e-4


def test_w2v_bert_without_final_norm_is_that_of_a_cut_model(w2v):
    folder, _ = w2v
    theirs = transformers.Wav2Vec2BertModel.from_pretrained(folder).eval()
    theirs.encoder.layers = theirs.encoder.layers[:2]
    theirs.encoder.layers[-1].final_layer_norm = torch.nn.Identity()
    inputs = transformers.SeamlessM4TFeatureExtractor()(speech(9000), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**inputs).last_hidden_state[0].numpy()
    assert np.abs(open_encoder(folder, 2).features(speech(9000)) - expected).max() < 1e-4


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_whisper_is_that_of_transformers(whisper, layer):
    folder, theirs = whisper
    extract = transformers.WhisperFeatureExtractor(chunk_length=1)
    for samples in (400, 9000, 16_000):
        inputs = extract(speech(samples), sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            cut = transformers.WhisperModel.from_pretrained(folder).encoder.eval()
            cut.layers = cut.layers[:layer]
            normed = cut(inputs["input_features"]).last_hidden_state[0].numpy()
            cut.layer_norm = torch.nn.Identity()
            raw = cut(inputs["input_features"]).last_hidden_state[0].numpy()
        frames = -(-samples // 320)
        dropped, kept = (open_encoder(folder, layer, final_norm=f).features(speech(samples)) for f in ("drop", "keep"))
        assert dropped.shape == kept.shape == (frames, 16)
        assert np.abs(dropped - raw[:frames]).max() < 1e-4
        assert np.abs(kept - normed[:frames]).max() < 1e-4


@pytest.fixture(scope="module", params=["hubert", "wav2vec2"])
def waveform_model(request, tmp_path_factory):
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
    sizes |= {"conv_dim": [12] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    sizes |= {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    kinds = {"hubert": ("HubertModel", "HubertConfig"), "wav2vec2": ("Wav2Vec2Model", "Wav2Vec2Config")}
    model, config = (getattr(transformers, name) for name in kinds[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    model = strongly(model(config(**sizes)))
    model.save_pretrained(folder)
    return request.param, str(folder), model


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


def test_whisper_frames_are_those_of_the_pooled_mask(whisper):
    folder, _ = whisper
    encoder = open_encoder(folder, 1)
    extract = transformers.WhisperFeatureExtractor(chunk_length=1)
    for samples in (400, 480, 481, 640, 641, 800, 15_999, 16_000):
        inputs = extract(speech(samples), sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
        mask = torch.nn.functional.max_pool1d(inputs["attention_mask"].float(), 2)
        assert len(encoder.features(speech(samples))) == int(mask.sum())


@pytest.fixture(scope="module")
def opened(w2v, whisper):
    """Encoders as on a CPU (one window at a time), and in batches as on a GPU."""
    encoders = {"wav2vec2-bert": open_encoder(w2v[0], 3), "whisper": open_encoder(whisper[0], 3)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(w2v_bert_encoder.BATCH_FRAMES, "cpu", 200)
        patch.setitem(whisper_encoder.ROWS, "cpu", 3)
        batched = {"wav2vec2-bert batched": open_encoder(w2v[0], 3), "whisper batched": open_encoder(whisper[0], 3)}
    return encoders | batched


def test_batches_give_nearly_the_same_as_one_at_a_time(opened):
    """Nearly, since products of another shape round differently: a device is part of what features depend on."""
    for name in ("wav2vec2-bert", "whisper"):
        alone, batched = (opened[key].features(speech(9000)) for key in (name, f"{name} batched"))
        assert np.abs(alone - batched).max() < 1e-5


@pytest.mark.parametrize("name", ["wav2vec2-bert", "wav2vec2-bert batched", "whisper", "whisper batched"])
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 20_000), max_size=8), st.randoms(use_true_random=False), st.integers(1, 10**6))
def test_features_do_not_depend_on_company_order_or_read_ahead(opened, name, lengths, random, read_ahead):
    encoder = opened[name]
    wavs = {i: speech(n, i) for i, n in enumerate(lengths)}
    alone = {i: encoder.features(wav) for i, wav in wavs.items()}
    order = list(wavs)
    random.shuffle(order)
    module = __import__(type(encoder).__module__, fromlist=["READ_AHEAD"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "READ_AHEAD", read_ahead)
        together = list(encoder.stream(wavs[i] for i in order))
    assert len(together) == len(order)
    for i, features in zip(order, together, strict=True):
        assert np.array_equal(features, alone[i]), f"{lengths[i]} samples differ in company"


def test_threads_change_no_bit(w2v, whisper, opened):
    wavs = [speech(n, n) for n in (9000, 0, 30_000, 700, 16_000, 33_000)]
    for name, folder in (("wav2vec2-bert", w2v[0]), ("whisper", whisper[0])):
        threaded = open_encoder(folder, 3, threads=3)
        assert threaded.name == name
        for one, many in zip(opened[name].stream(wavs), threaded.stream(wavs), strict=True):
            assert np.array_equal(one, many)


def test_an_error_in_a_thread_reaches_the_caller(w2v, monkeypatch):
    encoder = open_encoder(w2v[0], 1, threads=2)
    monkeypatch.setattr(encoder, "_batch", lambda bucket, values: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(encoder.stream([speech(9000)] * 5))


@pytest.mark.parametrize("name, shortest", [("wav2vec2-bert", 560), ("whisper", 400)])
def test_too_short_audio_gives_nothing_also_among_others(opened, name, shortest):
    encoder = opened[name]
    lengths = [0, 399, shortest - 1, shortest, 5000, 1]
    frames = [len(f) for f in encoder.stream(speech(n) for n in lengths)]
    assert frames[:3] == [0, 0, 0] and frames[5] == 0
    assert frames[3] > 0 and frames[4] > 0
    assert encoder.features(speech(10)).shape == (0, 16)


def test_long_audio_in_windows_keeps_every_frame(w2v, whisper, monkeypatch):
    wav = speech(70_000)
    encoder = open_encoder(w2v[0], 3)
    whole = encoder.features(wav)
    monkeypatch.setattr(w2v_bert_encoder, "WINDOW_FRAMES", 60)
    parts = encoder.features(wav)
    assert parts.shape == whole.shape == (218, 16)
    assert not np.array_equal(parts, whole)
    encoder = open_encoder(whisper[0], 3)
    features = encoder.features(wav)
    assert features.shape == (-(-70_000 // 320), 16)
    assert np.array_equal(features[:50], encoder.features(wav[:16_000])), "the first window stands alone"
    start = 219 - 50
    assert np.array_equal(features[200:], encoder.features(wav[start * 320 :])[200 - start :]), "the last one is full"


def test_memory_of_finished_utterances_behind_a_waiting_one_is_bounded(opened, monkeypatch):
    """One utterance of a rare length must not keep the results of all later ones."""
    monkeypatch.setattr(w2v_bert_encoder, "READ_AHEAD", 200_000)
    read = 0

    def wavs():
        nonlocal read
        for n in [30_000] + [8000] * 300:
            read += 1
            yield speech(n)

    first = next(iter(opened["wav2vec2-bert batched"].stream(wavs())))
    assert len(first) == 93 and read < 80


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


def test_bfloat16_is_near_float32(w2v, whisper):
    for folder, _ in (w2v, whisper):
        exact, rounded = (open_encoder(folder, 2, dtype=d).features(speech(9000)) for d in ("float32", "bfloat16"))
        assert rounded.dtype == np.float32
        difference = np.linalg.norm(exact - rounded) / np.linalg.norm(exact)
        assert 0 < difference < 0.05


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


def test_labels_stream_in_order(opened):
    encoder = opened["whisper"]
    wavs = [speech(n, n) for n in (3000, 0, 20_000)]
    frames = encoder.features(wavs[2])
    kmeans = KMeans(frames[::5].copy(), {})
    labels = list(encoder.label_stream(wavs, kmeans))
    assert [len(ids) for ids in labels] == [10, 0, 63]
    assert labels[2].tolist() == kmeans.label(frames).tolist()


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


def broken_copy(source, target, **changes):
    config = json.loads((source / "config.json").read_text()) | changes
    target.mkdir()
    (target / "config.json").write_text(json.dumps(config))
    (target / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    return str(target)


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
