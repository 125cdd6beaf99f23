"""The vocabulary against the published tokenizer's recorded ids, and its own promises."""

import json
import time
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spire.errors import UserError
from spire.vocabulary.extend import extend_model, extended_layout, read_types, unit_pieces, write_vocabulary_listing
from spire.vocabulary.proto import append_pieces, read_pieces, trainer_vocab_size
from spire.vocabulary.tokenizer import IM_END, IM_START, Vocabulary
from spire.vocabulary.train import SYMBOLS, train_model

GOLDENS = Path(__file__).parent.parent / "goldens" / "spirelm" / "tokenizer"
GOLDEN = json.loads((GOLDENS / "tokenizer.json").read_text("utf-8"))
BASE = (GOLDENS / "base.model").read_bytes()
ANY = st.characters(exclude_categories=["Cs"], exclude_characters="▁")
SENTENCES = ["the cat sat on the mat", "fünf kleine Blumen", "les fleurs à l'école", "hello world again"] * 5


@pytest.fixture(scope="module")
def extended() -> Vocabulary:
    model, added = extend_model(BASE, unit_pieces(100))
    return Vocabulary(model, extended_layout(len(read_pieces(BASE)), added))


@pytest.fixture(scope="module")
def trained() -> bytes:
    return train_model(SENTENCES, 320)


def test_new_pieces_scores_and_types_are_the_published_ones():
    model, added = extend_model(BASE, unit_pieces(100))
    assert [[p.text, p.score, p.type] for p in added] == GOLDEN["pua"]["new"]
    pieces = read_pieces(model)
    assert pieces[: GOLDEN["base_size"]] == read_pieces(BASE)
    assert len(pieces) == GOLDEN["pua"]["size"]
    assert [[p.text, p.score, p.type] for p in read_pieces(BASE)[-3:]] == GOLDEN["base_last"]
    assert trainer_vocab_size(model) == GOLDEN["pua"]["trainer_vocab_size"]


def test_scoring_none_gives_zero_scores():
    assert {p.score for p in extend_model(BASE, unit_pieces(3), scoring="none")[1]} == {0.0}


def test_listing_ends_as_published(tmp_path):
    model, _ = extend_model(BASE, unit_pieces(100))
    write_vocabulary_listing(model, tmp_path / "x.vocab")
    lines = (tmp_path / "x.vocab").read_text("utf-8").split("\n")
    assert lines[-4:-1] == GOLDEN["pua"]["vocab_file_tail"]


@pytest.mark.parametrize("run", ["base_slow", "instruct_slow"])
@pytest.mark.parametrize("i", range(len(GOLDEN["samples"])))
def test_ids_and_text_are_those_of_the_slow_tokenizer(extended, run, i):
    text, want = GOLDEN["samples"][i], GOLDEN["pua"][run]
    ids = extended.encode(text, bos=True)
    assert ids == want["encode"][i]
    assert extended.decode(ids, skip_special=False) == want["decode"][i]
    assert extended.decode(ids) == text, "transformers drops one more leading space; here the round trip is exact"


def test_numbers_are_those_of_the_instruct_tokenizer(extended):
    want = GOLDEN["pua"]["instruct_slow"]
    assert extended.size == want["len"]
    assert (extended.im_end, extended.pad, extended.bos) == (
        want["ids"]["eos_token_id"],
        want["ids"]["pad_token_id"],
        want["ids"]["bos_token_id"],
    )
    assert extended.im_start == extended.im_end + 1
    assert extended.padded_size == 576 and extended.eos == 2


def test_llama_arithmetic():
    model = train_model(SENTENCES, 320)
    _, added = extend_model(model, unit_pieces(5000))
    layout = extended_layout(32000, added)
    assert (layout.first_unit, layout.size, layout.padded_size) == (32005, 37007, 37056)


def test_chat_marks_are_single_ids_and_text_after_them_begins_a_sentence(extended):
    text = f"{IM_START}user\nthe cat{IM_END}\n{IM_START}assistant\n"
    ids = extended.encode(text)
    assert [i for i in ids if i >= 525] == [526, 525, 526]
    assert ids[1:3] == extended.encode("user\nthe cat")[:2]
    assert extended.decode(ids, skip_special=False) == text
    assert extended.decode(ids) == "user\nthe cat\nassistant\n"


def test_units(extended):
    assert [extended.is_unit(i) for i in (424, 425, 524, 525)] == [False, True, True, False]
    assert extended.unit_id(7) == extended.encode(chr(0xF0007))[-1] and extended.piece(432) == chr(0xF0007)
    with pytest.raises(IndexError, match="100 units"):
        extended.unit_id(100)


def test_decoding_leaves_out_padding_rows(extended):
    ids = extended.encode("hello world")
    assert extended.decode([*ids[:1], 560, 0, *ids[1:], 2]) == "hello world"


def test_a_directory_round_trips(extended, tmp_path):
    extended.save(tmp_path)
    again = Vocabulary.load(tmp_path)
    assert again.layout == extended.layout and again.model == extended.model
    (tmp_path / "spire_vocabulary.json").write_text('{"base": 3}')
    with pytest.raises(UserError, match="describes 3 SentencePiece pieces"):
        Vocabulary.load(tmp_path)


def test_extending_twice_and_duplicates_are_refused():
    model, _ = extend_model(BASE, unit_pieces(2))
    with pytest.raises(UserError, match="extended already"):
        extend_model(model, unit_pieces(2))
    with pytest.raises(UserError, match="given twice"):
        extend_model(BASE, ["zq", "zq"])
    with pytest.raises(UserError, match="do not fit"):
        unit_pieces(65535)


def test_types_from_a_file(tmp_path):
    (tmp_path / "types.txt").write_text("zq\t3\nhello\n\nat\t1\n", "utf-8")
    types = read_types(tmp_path / "types.txt")
    assert types == ["zq", "hello", "at"]
    model, added = extend_model(BASE, types)
    assert [p.text for p in added[5:]] == ["zq", "hello"], "'at' is in the base model"
    vocabulary = Vocabulary(model, extended_layout(420, added))
    assert (vocabulary.units, vocabulary.im_end) == (0, 427)


@pytest.mark.parametrize("cut", [1, 40, len(BASE) // 2, len(BASE) - 1])
def test_a_cut_model_is_refused(cut, tmp_path):
    (tmp_path / "m.model").write_bytes(BASE[:cut])
    with pytest.raises(UserError):
        append_pieces(BASE[:cut], [])
        Vocabulary.load(tmp_path / "m.model")


@pytest.mark.parametrize("text", ["a\nb", " two  spaces ", "Speech: x\nEnglish:", "日本 🙂", "", "\n\n", "<s", "\0"])
def test_trained_vocabularies_keep_every_character(trained, text):
    vocabulary = Vocabulary(trained)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@settings(max_examples=300, deadline=None)
@given(st.text(ANY | st.sampled_from(" \n<|>imendSpech:\U000f0001"), max_size=30))
def test_any_text_round_trips(text):
    vocabulary = _with_units()
    assert vocabulary.decode(vocabulary.encode(text), skip_special=False) == text


@cache
def _with_units() -> Vocabulary:
    base = train_model(SENTENCES, 320)
    model, added = extend_model(base, unit_pieces(5))
    return Vocabulary(model, extended_layout(320, added))


def test_training_is_deterministic_and_follows_llama(trained):
    assert trained == train_model(SENTENCES, 320)
    pieces = [p.text for p in read_pieces(trained)]
    assert len(pieces) == 320 and pieces[:3] == ["<unk>", "<s>", "</s>"]
    vocabulary = Vocabulary(trained)
    assert vocabulary.piece(vocabulary.newline) == "<0x0A>" and vocabulary.im_end is None
    for symbol in SYMBOLS:
        assert symbol.replace(" ", "▁") in pieces
    assert ":" in pieces and "." in pieces


def test_without_bytes_a_line_break_still_survives():
    vocabulary = Vocabulary(train_model(SENTENCES, 80, byte_fallback=False))
    assert vocabulary.decode(vocabulary.encode("the cat\nfünf")) == "the cat\nfünf"


def test_impossible_sizes_say_why():
    with pytest.raises(UserError, match="cannot make 100 pieces"):
        train_model(SENTENCES, 100)
    with pytest.raises(UserError, match="no text"):
        train_model([], 300)


def test_thirty_thousand_lines_are_quick(extended):
    line = f"{IM_START}user\nSpeech: {''.join(map(chr, range(0xF0000, 0xF0050)))}\nEnglish:{IM_END}"
    start = time.process_time()
    for _ in range(3000):
        extended.encode(line)
    assert time.process_time() - start < 1.0, "30,000 lines must take less than about 5 s"
