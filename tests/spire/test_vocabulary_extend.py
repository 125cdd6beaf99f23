"""Extensions beyond the default: <extra_id_i>, merged units, variants, plain tokenizers; where units come from."""

import json
import runpy
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from spire.errors import UserError
from spire.units.kmeans import KMeans
from spire.units.kmeans import save as save_kmeans
from spire.vocabulary import rows
from spire.vocabulary.embeddings import INPUT, OUTPUT, extend_directory, extend_tokenizer
from spire.vocabulary.extend import Extension, extend_vocabulary, read_types
from spire.vocabulary.layout import PUA_FIRST, Layout
from spire.vocabulary.plain import PlainVocabulary
from spire.vocabulary.proto import NORMAL, USER_DEFINED, read_pieces
from spire.vocabulary.rows import moments
from spire.vocabulary.tokenizer import Vocabulary
from spire.vocabulary.tokenizer_config import IM_END, IM_START
from spire.vocabulary.unit_bpe import learn, unit_lines
from spire.vocabulary.units_of import check_same_units, check_units, units_of_kmeans, units_of_labels

ROOT = Path(__file__).parents[2]
extend = runpy.run_path(str(ROOT / "scripts/vocabulary_extend.py"))["main"]
learn_units = runpy.run_path(str(ROOT / "scripts/vocabulary_unit_bpe.py"))["main"]
MODEL = ROOT / "tests" / "goldens" / "spirelm" / "tokenizer" / "base.model"
WIDTH = 8


def directory(folder: Path, size: int = 420, files: dict | None = None, tied: bool = False) -> Path:
    """A model directory with random matrices; `files`: the tokenizer (default: the golden SentencePiece model)."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    tensors = {name: rng.normal(size=(size, WIDTH)).astype(np.float32) for name in (INPUT, OUTPUT)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": tied}))
    if files is None:
        (folder / "tokenizer.model").write_bytes(MODEL.read_bytes())
    for name, value in (files or {}).items():
        (folder / name).write_text(json.dumps(value))
    return folder


def byte_level(marks: bool = False) -> dict[str, dict]:
    """A byte-level tokenizer like Llama 3's or Qwen's: tokenizer.json and its config."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers (with transformers) is not installed")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat"] * 5, trainer)
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>", *([IM_START, IM_END] if marks else [])])
    config = {"tokenizer_class": "Other", "bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}}
    config |= {"auto_map": {"AutoTokenizer": "code.py"}, "chat_template": "base's own"}
    return {"tokenizer.json": json.loads(tokenizer.to_str()), "tokenizer_config.json": config}


# ---- how units are written


def test_extra_ids_are_single_pieces():
    """The published code added the characters `<`, `e`, `x`, ... one by one (SpireLM 13.3)."""
    vocabulary = extend_vocabulary(Vocabulary.load(MODEL), Extension(units=12, form="extra_id"))
    assert vocabulary.encode("<extra_id_1><extra_id_11>")[1:] == [vocabulary.unit_id(1), vocabulary.unit_id(11)]
    assert [p.type for p in read_pieces(vocabulary.model)[425:]] == [USER_DEFINED] * 12
    assert vocabulary.layout.units == 12 and list(vocabulary.unit_ids) == list(range(425, 437))
    text = "Speech: <extra_id_3><extra_id_7>\nEnglish:"
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_extra_ids_have_the_same_ids_in_transformers(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers (with transformers) is not installed")
    extend_tokenizer(MODEL, tmp_path / "x", Extension(units=300, form="extra_id"))
    fast, ours = tokenizers.Tokenizer.from_file(str(tmp_path / "x/tokenizer.json")), Vocabulary.load(tmp_path / "x")
    for text in ("<extra_id_29>", "the <extra_id_299><extra_id_3>0>cat", "<extra_id_300>", "<extra_id_"):
        assert fast.encode(text, add_special_tokens=False).ids == ours.encode(text)


def test_a_base_that_has_such_pieces_cannot_number_units():
    once = extend_vocabulary(Vocabulary.load(MODEL), Extension(types=["<extra_id_0>"], variant="base"))
    with pytest.raises(UserError, match=r"already has '<extra_id_0>'"):
        extend_vocabulary(Vocabulary(once.model), Extension(units=3, form="extra_id"))


def test_what_is_not_known_is_named():
    for wrong in ({"form": "utf"}, {"variant": "chat"}):
        with pytest.raises(UserError, match="unknown"):
            Extension(**wrong)
    with pytest.raises(UserError, match="unknown scoring"):
        extend_vocabulary(Vocabulary.load(MODEL), Extension(units=1, scoring="unigram"))


# ---- variants


@pytest.mark.parametrize(
    ("variant", "size", "eos", "template"),
    [("base", 425, "</s>", False), ("both", 427, "</s>", False), ("instruct", 427, IM_END, True)],
)
def test_variants(tmp_path, variant, size, eos, template):
    layout = extend_directory(directory(tmp_path / "b"), tmp_path / "x", 0, 1, ["at"], variant=variant)
    assert (layout.size, layout.padded_size) == (size, 448), "'at' is in the base"
    config = json.loads((tmp_path / "x" / "tokenizer_config.json").read_text())
    assert config["eos_token"] == eos and ("chat_template" in config) == template and config["pad_token"] == "</s>"
    generation = json.loads((tmp_path / "x" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == (425 if template else 2) and generation["pad_token_id"] == 2


def test_a_tokenizer_alone_from_a_model_file(tmp_path):
    """The published code failed for a path to a .model file (SpireLM 13.4)."""
    extend(["--model", str(MODEL), "--units", "10", "--out", str(tmp_path / "x")])
    names = {p.name for p in (tmp_path / "x").iterdir()}
    assert {"tokenizer.model", "tokenizer.json", "spire_vocabulary.json", "tokenizer.vocab"} <= names
    assert "config.json" not in names and Vocabulary.load(tmp_path / "x").units == 10


def test_tokens_beside_the_sentencepiece_model_are_not_overwritten(tmp_path):
    base = directory(tmp_path / "b")
    (base / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"id": 420, "content": "<new>"}]}))
    with pytest.raises(UserError, match=r"1 tokens that tokenizer\.model lacks, such as '<new>'"):
        extend_directory(base, tmp_path / "x", 10, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"]


# ---- merged units


def test_merged_units_are_reached_and_counted_as_speech(tmp_path):
    a, b, c = (chr(PUA_FIRST + i) for i in range(3))
    (tmp_path / "t.units").write_text(f"{a}{b}{c}{a}{b}\n\n{a}{b}{a}{b}\n{c}{a}\n", "utf-8")
    arguments = ["--units", str(tmp_path / "t.units"), "--merges", "2", "--out", str(tmp_path / "m.tsv")]
    learn_units(arguments)
    assert (tmp_path / "m.tsv").read_text("utf-8").splitlines()[0] == f"{a}{b}\t0 1"
    merged = read_types(tmp_path / "m.tsv")
    assert merged == learn(unit_lines([tmp_path / "t.units"]), 2) and len(merged) == 2
    vocabulary = extend_vocabulary(Vocabulary.load(MODEL), Extension(units=3, types=[*merged, "zq"]))
    assert (vocabulary.layout.units, vocabulary.layout.merged) == (3, 2)
    assert {p.type for p in read_pieces(vocabulary.model)[425:]} == {NORMAL}
    ids = vocabulary.encode(f"{a}{b}{c}")
    assert [vocabulary.is_unit(i) for i in ids] == [False, True, True]
    assert ids[1] == 428 and vocabulary.decode(ids) == f"{a}{b}{c}"
    assert not vocabulary.is_unit(430), "zq is text"


def test_lines_that_are_no_units_are_refused(tmp_path):
    (tmp_path / "t.units").write_text("3 4 4\n", "utf-8")
    with pytest.raises(UserError, match=r"t\.units:1: not a line of units"):
        list(unit_lines([tmp_path / "t.units"]))
    with pytest.raises(UserError, match="no units"):
        learn([], 3)


# ---- tokenizers without SentencePiece


@pytest.mark.parametrize("variant", ["both", "instruct"])
def test_a_byte_level_tokenizer_is_extended(tmp_path, variant):
    files = byte_level()
    base = directory(tmp_path / "b", 320, files)
    old = Vocabulary.load(base)
    assert isinstance(old, PlainVocabulary) and old.size < 320
    layout = extend_directory(base, tmp_path / "x", 20, 1, variant=variant)
    new = Vocabulary.load(tmp_path / "x")
    assert new.layout == layout and (layout.units, layout.size) == (20, old.size + 27)
    for text in ("the cat\n", "日本 cat", "a<|end|>b"):
        assert new.encode(text) == old.encode(text)
    text = f"{IM_START}user\nSpeech: {chr(PUA_FIRST + 3)}<CLS>{chr(PUA_FIRST + 19)}\nEnglish:{IM_END}"
    ids = new.encode(text, bos=True)
    assert ids[:2] == [old.bos, new.im_start] and ids[-1] == new.im_end == layout.size - 2
    assert [i for i in ids if new.is_unit(i)] == [new.unit_id(3), new.unit_id(19)]
    assert new.decode(ids[1:], skip_special=False) == text
    assert new.decode([*ids, layout.padded_size - 1]) == text.replace(IM_START, "").replace(IM_END, "")
    assert (new.eos, new.pad, new.newline) == (old.eos, old.eos, old.encode("\n")[0])
    config = json.loads((tmp_path / "x" / "tokenizer_config.json").read_text())
    assert config["eos_token"] == (IM_END if variant == "instruct" else "<|end|>") and "auto_map" not in config
    assert config.get("chat_template") != "base's own" and config["tokenizer_class"] == "PreTrainedTokenizerFast"
    written = load_file(tmp_path / "x" / "model.safetensors")
    assert written[INPUT].shape == (layout.padded_size, WIDTH)
    assert np.array_equal(written[INPUT][: old.size], load_file(base / "model.safetensors")[INPUT][: old.size])
    with pytest.raises(UserError, match="extended already"):
        extend_directory(tmp_path / "x", tmp_path / "y", 20, 1)


def test_marks_that_the_base_has_keep_their_ids(tmp_path):
    base = Vocabulary.load(directory(tmp_path / "b", 320, byte_level(marks=True)))
    new = extend_vocabulary(base, Extension(units=2))
    assert (new.im_start, new.im_end) == (base.im_start, base.im_end) and new.layout.instruct == []


def test_a_base_that_opens_texts_with_nothing_opens_them_with_its_end_of_text(tmp_path):
    files = byte_level()
    del files["tokenizer_config.json"]["bos_token"]
    vocabulary = Vocabulary.load(directory(tmp_path / "b", 320, files))
    assert vocabulary.encode("the", bos=True) == [vocabulary.eos, *vocabulary.encode("the")]
    (tmp_path / "b" / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UserError, match="names no eos_token"):
        Vocabulary.load(tmp_path / "b").encode("the", bos=True)


@pytest.mark.parametrize("damage", ["hole", "layout", "json"])
def test_damaged_tokenizers_are_refused(tmp_path, damage):
    files = byte_level()
    base = directory(tmp_path / "b", 320, files)
    if damage == "hole":
        files["tokenizer.json"]["added_tokens"][0]["id"] += 7
        (base / "tokenizer.json").write_text(json.dumps(files["tokenizer.json"]))
    elif damage == "layout":
        (base / "spire_vocabulary.json").write_text('{"base": 3}')
    else:
        (base / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        Vocabulary.load(base)


# ---- rows


def test_blocks_give_the_moments_of_the_whole():
    old = np.random.default_rng(0).normal(size=(1000, 6)) @ np.random.default_rng(1).normal(size=(6, 6)) + 2
    mean, covariance = moments(lambda: iter([old[:300], old[300:301], old[301:]]))
    np.testing.assert_allclose(mean, old.mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(old.T, bias=True), rtol=1e-10)


def test_the_default_initialization_is_narrower(tmp_path):
    base = directory(tmp_path / "b")
    for init in ("mean", "default"):
        extend_directory(base, tmp_path / init, 100, 1, init=init)
    old = load_file(base / "model.safetensors")[INPUT].mean(0)
    spread = [np.abs(load_file(tmp_path / i / "model.safetensors")[INPUT][420:] - old).max() for i in rows.SCALES]
    assert 0.005 < spread[1] / spread[0] < 0.02
    with pytest.raises(UserError, match="unknown initialization"):
        extend_directory(base, tmp_path / "y", 1, 1, init="zero")


def test_memory_does_not_grow_with_the_model(tmp_path):
    """Each matrix is 41 MB, in float64 twice that; a block has 0.8 MB."""
    base = directory(tmp_path / "b")
    tensors = {name: np.ones((400_000, 26), np.float32) for name in (INPUT, OUTPUT, "model.layers.0.weight")}
    for name, value in tensors.items():
        value[:420] = np.random.default_rng(len(name)).normal(size=(420, 26))
    (base / "model.safetensors").unlink()
    for i, (name, value) in enumerate(tensors.items()):
        save_file({name: value}, base / f"{i}.safetensors")
    index = {"weight_map": {name: f"{i}.safetensors" for i, name in enumerate(tensors)}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    del tensors, value
    tracemalloc.start()
    try:
        extend_directory(base, tmp_path / "x", 100, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 36e6
    assert load_file(tmp_path / "x" / "2.safetensors")["model.layers.0.weight"].shape == (400_000, 26)


# ---- where units come from


@pytest.fixture
def origin(tmp_path):
    """A k-means file, and a units file with the record of its labelling."""
    described = {"encoder": "hubert", "encoder_digest": "abcd", "layer": "22", "seed": "1"}
    save_kmeans(tmp_path / "k.safetensors", KMeans(np.arange(12, dtype=np.float32).reshape(4, 3), described))
    told = units_of_kmeans(tmp_path / "k.safetensors", 4)
    (tmp_path / "train.units").write_text("")
    return tmp_path / "k.safetensors", tmp_path / "train.units", told


def record(units: Path, told: dict[str, str]) -> None:
    encoder = {k: v for k, v in told.items() if k != "kmeans"} | {"eps": "1e-7"}
    units.with_suffix(".labels.json").write_text(
        json.dumps({"identity": {"encoder": encoder, "kmeans": told["kmeans"]}})
    )


def test_the_units_of_another_kmeans_are_refused(tmp_path, origin):
    kmeans, units, told = origin
    arguments = ["--model", str(MODEL), "--units", "4", "--kmeans", str(kmeans), "--out", str(tmp_path / "x")]
    extend(arguments)
    assert Layout.read(tmp_path / "x").units_of == told
    check_units(tmp_path / "x", units)
    record(units, told)
    assert units_of_labels(units) == told
    check_units(tmp_path / "x", units)
    for name, words in (("kmeans", "k-means"), ("layer", "layer"), ("encoder_digest", "encoder weights")):
        other = tmp_path / "other.units"
        record(other, told | {name: "9"})
        with pytest.raises(UserError, match=rf"other\.units has units of {words} 9"):
            check_units(tmp_path / "x", units, other)
        with pytest.raises(UserError, match=rf"units of {words} 9"):
            check_same_units(units, other)


def test_nothing_recorded_is_nothing_compared(tmp_path, origin):
    _, units, told = origin
    record(units, told)
    check_units(directory(tmp_path / "b"), units)
    units.with_suffix(".labels.json").write_text("{}")
    with pytest.raises(UserError, match="not a record of labels"):
        check_units(tmp_path / "b", units)


def test_the_number_of_clusters_must_fit(origin):
    with pytest.raises(UserError, match="has 4 clusters, not 5"):
        units_of_kmeans(origin[0], 5)


def test_something_must_be_added(tmp_path):
    with pytest.raises(UserError, match="nothing to extend by"):
        extend(["--model", str(MODEL), "--out", str(tmp_path / "x")])
