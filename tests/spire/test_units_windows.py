"""w2v-BERT and Whisper: transformers' numbers, exactness under batching, long and short audio."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from tiny_encoders import save_w2v_bert, save_whisper, speech  # noqa: E402

from spire.units import w2v_bert_encoder, whisper_encoder  # noqa: E402
from spire.units.encoders import open_encoder  # noqa: E402
from spire.units.kmeans import KMeans  # noqa: E402
from spire.units.logmel import stacked_fbank, whisper_logmel  # noqa: E402


@pytest.fixture(scope="module")
def w2v(tmp_path_factory):
    return save_w2v_bert(tmp_path_factory.mktemp("w2v"))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return save_whisper(tmp_path_factory.mktemp("whisper"))


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
@settings(max_examples=8, deadline=None)
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
    monkeypatch.setattr(w2v_bert_encoder, "READ_AHEAD", 40_000)
    read = 0

    def wavs():
        nonlocal read
        for n in [30_000] + [8000] * 100:
            read += 1
            yield speech(n)

    first = next(iter(opened["wav2vec2-bert batched"].stream(wavs())))
    assert len(first) == 93 and read < 30


def test_labels_stream_in_order(opened):
    encoder = opened["whisper"]
    wavs = [speech(n, n) for n in (3000, 0, 20_000)]
    frames = encoder.features(wavs[2])
    kmeans = KMeans(frames[::5].copy(), {})
    labels = list(encoder.label_stream(wavs, kmeans))
    assert [len(ids) for ids in labels] == [10, 0, 63]
    assert labels[2].tolist() == kmeans.label(frames).tolist()


def test_bfloat16_is_near_float32(w2v, whisper):
    for folder, _ in (w2v, whisper):
        exact, rounded = (open_encoder(folder, 2, dtype=d).features(speech(9000)) for d in ("float32", "bfloat16"))
        assert rounded.dtype == np.float32
        difference = np.linalg.norm(exact - rounded) / np.linalg.norm(exact)
        assert 0 < difference < 0.05
