"""Labels of an utterance by a transformer: the same alone, in any corpus, order, part and number of workers."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import units_label  # noqa: E402

from spire.audio import read_audio, write_wav  # noqa: E402
from spire.datasets.local import ManifestCorpus  # noqa: E402
from spire.datasets.shards import Shard  # noqa: E402
from spire.errors import UserError  # noqa: E402
from spire.manifest import Utterance, write_manifest  # noqa: E402
from spire.units.hubert import Hubert, HubertShape, save_hubert  # noqa: E402
from spire.units.hubert_encoder import HubertEncoder  # noqa: E402
from spire.units.kmeans import KMeans, save  # noqa: E402
from spire.units.label import label_corpora, read_frames  # noqa: E402
from spire.units.label_join import join  # noqa: E402
from spire.units.label_part import Settings  # noqa: E402

SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "conv_dim": (4, 4, 4, 8, 8, 8, 8),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
KINDS = {
    "masked": {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
    "group norm": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Twelve utterances of 0.01 to 2 s; for each kind an encoder, a k-means, and the labels of each alone."""
    root = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(2)
    sizes = [160, 400, 720, 16_000, 16_100, 9_000, 9_000, 32_000, 5_000, 12_345, 700, 24_000]
    for i, size in enumerate(sizes):
        write_wav(root / f"{i}.wav", 0.1 * rng.standard_normal(size))
    utterances = [Utterance(str(i), f"{i}.wav", size / 16_000, "en", "x") for i, size in enumerate(sizes)]
    kinds = {}
    for kind, more in KINDS.items():
        torch.manual_seed(0)
        folder = root / kind.replace(" ", "_")
        save_hubert(Hubert(HubertShape(**SHAPE, **more)), folder)
        encoder = HubertEncoder(folder, 2)
        features = [encoder.features(read_audio(root / f"{i}.wav")) for i in range(len(sizes))]
        frames = np.concatenate(features)
        kmeans = KMeans(frames[rng.permutation(len(frames))[:40]], {})
        kinds[kind] = encoder, kmeans, [kmeans.label(f) for f in features]
    return root, utterances, kinds


@pytest.mark.parametrize("kind", KINDS)
@given(
    order=st.permutations(range(12)),
    count=st.integers(2, 12),
    parts=st.integers(1, 4),
    workers=st.sampled_from([0, 0, 0, 2]),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_of_an_utterance_depend_on_it_alone(world, kind, order, count, parts, workers):
    root, utterances, kinds = world
    encoder, kmeans, alone = kinds[kind]
    chosen = list(order)[:count]
    if all(len(alone[i]) == 0 for i in chosen):
        return
    write_manifest(root / "m.jsonl", [utterances[i] for i in chosen])
    shutil.rmtree(root / "out", ignore_errors=True)
    corpora = {"c": ManifestCorpus(root / "m.jsonl")}
    for part in range(1, parts + 1):
        label_corpora(encoder, kmeans, corpora, root / "out", Settings(workers=workers, shard=Shard(part, parts)))
    if parts > 1:
        join([root / "out"], root / "out")
    found = read_frames(root / "out/c.frames.npz")
    assert len(found) == count
    for i, labels in zip(chosen, found, strict=True):
        assert np.array_equal(labels, alone[i]), f"utterance {i}"


def test_a_kmeans_that_does_not_say_its_layer_needs_one(world, tmp_path):
    root, utterances, kinds = world
    save(tmp_path / "k", KMeans(kinds["masked"][1].centroids, {}))
    write_manifest(root / "m.jsonl", utterances[:3])
    args = ["--encoder", str(root / "masked"), "--kmeans", str(tmp_path / "k"), "--manifest", f"m={root}/m.jsonl"]
    with pytest.raises(UserError, match="does not say which layer") as refused:
        units_label.main([*args, "--out", str(tmp_path / "u")])
    assert "--layer" in refused.value.hint and not (tmp_path / "u").exists()
    assert units_label.main([*args, "--layer", "2", "--out", str(tmp_path / "u")]) == 0


def test_bfloat16_says_how_many_labels_it_changes(tmp_path, capsys):
    goldens = Path(__file__).parents[1] / "goldens" / "spirelm"
    (tmp_path / "in").mkdir()
    write_wav(tmp_path / "in" / "a.wav", (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32))
    arguments = ["--encoder", goldens / "hubert_tiny", "--layer", "3", "--kmeans", goldens / "kmeans50_f32.joblib"]
    for dtype in ("float32", "bfloat16"):
        out = ["--corpus", f"x={tmp_path / 'in'}", "--dtype", dtype, "--out", tmp_path / dtype]
        assert units_label.main([str(word) for word in arguments + out]) == 0
    *_, float32, bfloat16, agreed = ["", *capsys.readouterr().out.splitlines()]
    assert "1 utterances, 49 frames" in float32 and "1 utterances, 49 frames" in bfloat16
    assert agreed.startswith("x: ") and "of 49 frames have the label of float32" in agreed
