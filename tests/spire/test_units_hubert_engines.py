"""The fast forms of HuBERT: the same numbers as the plain module, whatever the company, order, threads or tiles."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from spire.errors import UserError  # noqa: E402
from spire.units import hubert_cpu, hubert_parts  # noqa: E402
from spire.units.agreement import agreement, encoder_agreement  # noqa: E402
from spire.units.assign import Assigner  # noqa: E402
from spire.units.hubert import Hubert, HubertShape, load_hubert, save_hubert  # noqa: E402
from spire.units.hubert_cpu import CpuHubert  # noqa: E402
from spire.units.hubert_cuda import PackedHubert  # noqa: E402
from spire.units.hubert_encoder import HubertEncoder, normalize_wav  # noqa: E402
from spire.units.kmeans import KMeans, nearest  # noqa: E402

SIZES = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    conv_dim=(16,) * 7,
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
)
KINDS = {
    "layer": HubertShape(**SIZES),
    "group": HubertShape(**SIZES, feat_extract_norm="group", do_stable_layer_norm=False),
    "even": HubertShape(**{**SIZES, "num_conv_pos_embeddings": 7}, conv_bias=False, do_stable_layer_norm=False),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def speech(seed: int, samples: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def model_of(kind: str) -> Hubert:
    """Random weights far from their usual small start, so that every part shows in the result."""
    torch.manual_seed(0)
    model = Hubert(KINDS[kind]).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 or name.endswith("original0"):
            parameter.data += 0.3 * torch.randn_like(parameter)
        elif "layers" in name:
            parameter.data *= 2
    return model


def plain(model: Hubert, wav: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        frames = model.frames(torch.from_numpy(wav)[None])
        return model.layer(frames, model.shape.num_hidden_layers)[0].numpy()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {kind: tmp_path_factory.mktemp("hubert") / kind for kind in KINDS}
    for kind, folder in made.items():
        save_hubert(model_of(kind), folder)
    return made


@pytest.fixture(params=["whole", "tiles"])
def tiles(request, monkeypatch):
    """Sizes at which audio of seconds is cut into many tiles and heads are multiplied one by one."""
    if request.param == "tiles":
        monkeypatch.setattr(hubert_cpu, "TILE_ELEMENTS", 32 * 48)
        monkeypatch.setattr(hubert_cpu, "SCORE_ELEMENTS", 32 * 48)
        monkeypatch.setattr(hubert_cpu, "LONE_HEADS", 8 * 20 * 20)
        monkeypatch.setattr(hubert_parts, "FRONT_ELEMENTS", 16 * 64 * 32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_engine_computes_the_plain_module(kind, tiles):
    model = model_of(kind)
    wavs = [normalize_wav(speech(i, n)) for i, n in enumerate((400, 5000, 17_000, 41_111))]
    cpu = CpuHubert(model).features(wavs)
    packed = PackedHubert(model, torch.device("cpu"), torch.float32, rows=256).features(wavs)
    for wav, ours, theirs in zip(wavs, cpu, packed, strict=True):
        expected = plain(model, wav)
        assert ours.shape == theirs.shape == expected.shape
        assert np.abs(ours - expected).max() < 2e-5 * np.abs(expected).max()
        assert np.abs(theirs - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("matrix_units", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_near(kind, matrix_units, tiles, monkeypatch):
    monkeypatch.setattr(hubert_cpu, "_has_matrix_units", lambda: matrix_units)
    model = model_of(kind)
    wavs = [normalize_wav(speech(i, n)) for i, n in enumerate((5000, 41_111))]
    engines = CpuHubert(model, torch.bfloat16), PackedHubert(model, torch.device("cpu"), torch.bfloat16, rows=256)
    for engine in engines:
        for wav, features in zip(wavs, engine.features(wavs), strict=True):
            expected = plain(model, wav)
            assert features.dtype == np.float32
            assert np.linalg.norm(features - expected) < 0.03 * np.linalg.norm(expected)


def test_without_onednn_it_computes_the_same(monkeypatch):
    model, wav = model_of("layer"), normalize_wav(speech(0, 30_000))
    packed = CpuHubert(model).features([wav])[0]
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert np.abs(CpuHubert(model).features([wav])[0] - packed).max() < 2e-5 * np.abs(packed).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["layer", "group"])
def test_company_order_and_threads_change_no_bit(kind, dtype, folders, tiles):
    alone = HubertEncoder(folders[kind], 2, dtype=dtype)
    threaded = HubertEncoder(folders[kind], 2, dtype=dtype, threads=3)
    pool = [speech(i, n) for i, n in enumerate((0, 399, 400, 719, 720, 2222, 9000, 16_000, 25_001, 33_333))]
    expected = [alone.features(wav) for wav in pool]
    kmeans = KMeans(speech(99, 20 * 32).reshape(20, 32), {})
    labels = [nearest(features, kmeans.centroids) for features in expected]

    @settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(0, len(pool) - 1), min_size=1, max_size=14), st.sampled_from([40, 150, 4096]))
    def check(picks, rows):
        for encoder in (alone, threaded):
            encoder._engine.rows = rows
            for pick, features in zip(picks, encoder.stream(pool[p] for p in picks), strict=True):
                assert np.array_equal(features, expected[pick])
            for pick, ids in zip(picks, encoder.label_stream((pool[p] for p in picks), kmeans), strict=True):
                assert ids.dtype == np.int32 and np.array_equal(ids, labels[pick])

    check()


@pytest.mark.parametrize("kind", ["layer", "group"])
def test_company_and_order_change_no_bit_when_packed(kind):
    model = model_of(kind)
    engine = PackedHubert(model, torch.device("cpu"), torch.float32, rows=512)
    wavs = [normalize_wav(speech(i, n)) for i, n in enumerate((400, 2222, 9000, 33_333, 16_000))]
    alone = [engine.features([wav])[0] for wav in wavs]
    for order in ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 2, 0, 4)):
        for i, features in zip(order, engine.features([wavs[i] for i in order]), strict=True):
            assert np.array_equal(features, alone[i])
    with pytest.raises(ValueError, match="do not fit"):
        engine.features(wavs * 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["layer", "group"])
def test_on_a_gpu(kind, dtype, folders):
    encoder = HubertEncoder(folders[kind], 2, device="cuda", dtype=dtype)
    wavs = [speech(i, n) for i, n in enumerate((400, 2222, 9000, 33_333, 16_000))]
    alone = [encoder.features(wav) for wav in wavs]
    for i, features in zip((3, 1, 0, 4, 2), encoder.stream(wavs[i] for i in (3, 1, 0, 4, 2)), strict=True):
        assert np.array_equal(features, alone[i])
    expected = HubertEncoder(folders[kind], 2).features(wavs[3])
    error = np.linalg.norm(alone[3] - expected) / np.linalg.norm(expected)
    assert error < (1e-4 if dtype == "float32" else 0.03)


def test_long_audio_is_cut_where_the_published_reader_cuts_without_losing_frames(folders):
    encoder = HubertEncoder(folders["layer"], 2, chunk=16_100)
    assert encoder._chunk * 320 == 16_000
    wav = speech(3, 39_000)
    normalized = normalize_wav(wav)
    parts = [normalized[:16_080], normalized[16_000:32_080], normalized[32_000:]]
    features = encoder.features(wav)
    assert len(features) == (39_000 - 80) // 320
    assert np.array_equal(features, np.concatenate([encoder._engine.features([part])[0] for part in parts]))
    kmeans = KMeans(speech(99, 20 * 32).reshape(20, 32), {})
    assert np.array_equal(next(encoder.label_stream([wav], kmeans)), nearest(features, kmeans.centroids))
    exact = HubertEncoder(folders["layer"], 2, chunk=16_000).features(speech(3, 32_080))
    assert len(exact) == 100, "a cut at the very end leaves nothing over"
    with pytest.raises(UserError, match="shorter than a frame"):
        HubertEncoder(folders["layer"], 2, chunk=300)


def test_a_result_comes_before_the_rest_is_read(folders):
    encoder = HubertEncoder(folders["layer"], 2)
    encoder._engine.rows = 100
    read = []
    results = encoder.stream(read.append(i) or speech(i, 8000) for i in range(40))
    next(results)
    assert len(read) <= 5, "24 frames each: a pack holds four of them"
    results.close()


def test_features_that_pass_on_are_labelled_as_they_are(folders):
    encoder = HubertEncoder(folders["layer"], 2, "meanvar", 1)
    kmeans = KMeans(speech(99, 20 * 32).reshape(20, 32), {})
    wav = speech(0, 20_000)
    assert np.array_equal(next(encoder.label_stream([wav], kmeans)), kmeans.label(encoder.features(wav)))
    with pytest.raises(UserError, match="dimensions"):
        next(HubertEncoder(folders["layer"], 2).label_stream([wav], KMeans(np.ones((3, 7), np.float32), {})))


@pytest.mark.parametrize("kind", ["layer", "group"])
def test_wav2vec2_is_the_same_network(kind, tmp_path):
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        **SIZES,
        feat_extract_norm=kind,
        do_stable_layer_norm=kind == "layer",
        conv_bias=kind == "layer",
        mask_time_prob=0.0,
    )
    theirs = Wav2Vec2Model(config).eval()
    theirs.save_pretrained(tmp_path / "w")
    wav = speech(0, 12_000)
    with torch.no_grad():
        states = theirs(torch.from_numpy(normalize_wav(wav))[None], output_hidden_states=True).hidden_states
    encoder = HubertEncoder(tmp_path / "w", 1)
    assert encoder.name == "wav2vec2" and encoder.metadata()["encoder"] == "wav2vec2"
    assert np.abs(encoder.features(wav) - states[1][0].numpy()).max() < 1e-4
    save_hubert(load_hubert(tmp_path / "w"), tmp_path / "again")
    assert Wav2Vec2Model.from_pretrained(tmp_path / "again").config.model_type == "wav2vec2"


def test_the_first_of_equally_near_centroids_wins():
    centroids = np.repeat(speech(0, 40 * 32).reshape(40, 32), 3, axis=0)
    features = speech(1, 700 * 32).reshape(700, 32)
    labels = Assigner(centroids)(features)
    assert np.array_equal(labels // 3, nearest(features, centroids) // 3) and not (labels % 3).any()
    on_device = Assigner(centroids.astype(np.float64)).on_device(torch.from_numpy(features))
    assert np.array_equal(on_device.numpy(), labels)


def test_agreement(folders):
    assert agreement([], [])["frame_agreement"] == 1
    found = agreement([np.array([1, 1, 2, 3]), np.array([5])], [np.array([1, 2, 2, 3]), np.array([6])])
    assert found == {"utterances": 2, "frames": 5, "frames_equal": 3, "frame_agreement": 0.6, "units_equal": 0.75}
    with pytest.raises(ValueError, match="4 and 3 frames"):
        agreement([np.zeros(4)], [np.zeros(3)])
    exact = HubertEncoder(folders["layer"], 2)
    rounded = HubertEncoder(folders["layer"], 2, dtype="bfloat16")
    kmeans = KMeans(exact.features(speech(7, 30_000))[::3], {})
    wavs = [speech(i, 20_000) for i in range(3)]
    assert encoder_agreement(exact, exact, kmeans, wavs)["frame_agreement"] == 1
    assert 0.6 < encoder_agreement(exact, rounded, kmeans, wavs)["frame_agreement"] < 1
