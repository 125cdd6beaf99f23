"""tokenizer.json and tokenizer_config.json: transformers reads the published ids, text and chat strings from them."""

import json
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spire.corpora.chat import prompt_text
from spire.vocabulary.extend import extend_model, extended_layout, unit_pieces
from spire.vocabulary.fast import longest_of, tokenizer_json
from spire.vocabulary.proto import append_pieces, read_pieces
from spire.vocabulary.tokenizer import IM_END, IM_START, Vocabulary
from spire.vocabulary.train import SYMBOLS, train_model

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers (with transformers) is not installed")
GOLDENS = Path(__file__).parent.parent / "goldens" / "spirelm" / "tokenizer"
GOLDEN = json.loads((GOLDENS / "tokenizer.json").read_text("utf-8"))
BASE = (GOLDENS / "base.model").read_bytes()
SAMPLES, INSTRUCT = GOLDEN["samples"], GOLDEN["pua"]["instruct_slow"]
MARKS = ["<s>", "</s>", "<unk>", IM_END, IM_START, "<CLS>", "<PAD>", "<SEP", "\n", " ", "  ", "▁"]
PARTS = [*SYMBOLS, *MARKS, *"abcdeé日\0", "the", "cat", "fleurs à", "<0x0A>", chr(0xF0001), chr(0xF0063), chr(0xF0064)]


@pytest.fixture(scope="module")
def extended() -> Vocabulary:
    model, added = extend_model(BASE, unit_pieces(100))
    return Vocabulary(model, extended_layout(len(read_pieces(BASE)), added))


@pytest.fixture(scope="module")
def instruct(extended, tmp_path_factory):
    """The instruct tokenizer as transformers loads it."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder = tmp_path_factory.mktemp("instruct")
    extended.save(folder, extended.im_end)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("i", range(len(SAMPLES)))
def test_transformers_gives_the_published_ids_and_the_text_back(instruct, i):
    ids = instruct(SAMPLES[i]).input_ids
    assert ids == INSTRUCT["encode"][i]
    assert instruct.decode(ids, skip_special_tokens=True) == SAMPLES[i]


def test_the_instruct_tokenizer_has_the_published_numbers_and_marks(instruct):
    assert len(instruct) == INSTRUCT["len"]
    for name, value in INSTRUCT["ids"].items():
        assert getattr(instruct, name) == value
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        assert getattr(instruct, name) == INSTRUCT["specials"][name]
    assert {str(i): str(t) for i, t in instruct.added_tokens_decoder.items()} == INSTRUCT["added"]


@pytest.mark.parametrize("ask", [True, False])
def test_the_chat_template_gives_the_published_strings(instruct, ask):
    user, answer, again = (
        {"role": "user", "content": SAMPLES[0]},
        {"role": "assistant", "content": "hello world"},
        {"role": "user", "content": "again"},
    )
    chats = [user], [user, answer, again], [user, answer]
    want = ("gen", "multi_gen", None) if ask else ("nogen", "multi", "train")
    for chat, name in zip(chats, want, strict=True):
        text = instruct.apply_chat_template(chat, tokenize=False, add_generation_prompt=ask)
        if name:
            assert text == INSTRUCT["chat"][name]
        if ask:
            assert text == prompt_text([(t["role"], t["content"]) for t in chat])
    asked = instruct.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    assert instruct(asked).input_ids == INSTRUCT["chat_ids"], "one <s>, from the call and not from the template"


def test_saved_again_it_is_the_same_tokenizer(instruct, tmp_path):
    instruct.save_pretrained(tmp_path)
    again = type(instruct).from_pretrained(tmp_path)
    text = INSTRUCT["chat"]["multi_gen"] + "".join(SAMPLES)
    assert again(text).input_ids == instruct(text).input_ids
    assert (len(again), again.eos_token_id, again.chat_template) == (len(instruct), 525, instruct.chat_template)


def test_a_base_model_ends_with_the_published_token_and_has_no_template(extended, tmp_path):
    extended.save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (config["eos_token"], config["pad_token"], config["bos_token"]) == ("</s>", "</s>", "<s>")
    assert "chat_template" not in config


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join) | st.text(max_size=20))
def test_any_text_has_the_same_ids(text):
    vocabulary, fast = _both()
    assert fast.encode(text, add_special_tokens=False).ids == vocabulary.encode(text)


@cache
def _both():
    base = train_model(["the cat sat on the mat", "fünf kleine Blumen", "les fleurs à l'école"] * 5, 330)
    model, added = extend_model(base, unit_pieces(100))
    vocabulary = Vocabulary(model, extended_layout(330, added))
    return vocabulary, _fast(vocabulary)


def _fast(vocabulary: Vocabulary):
    layout = vocabulary.layout
    first = layout.size - len(layout.instruct)
    outside = {"<unk>": 0, "<s>": 1, "</s>": 2} | {t: first + i for i, t in enumerate(layout.instruct)}
    content = tokenizer_json(vocabulary.model, layout.instruct, outside, ("<s>", 1))
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def test_without_byte_pieces_unknown_characters_join_as_they_do_in_sentencepiece():
    vocabulary = Vocabulary(train_model(["the cat sat on the mat"] * 5, 44, byte_fallback=False))
    for text in ("the 日本 cat\nsat", "日", "the\n\ncat"):
        assert _fast(vocabulary).encode(text, add_special_tokens=False).ids == vocabulary.encode(text)


def test_a_model_with_other_rules_gets_no_file_that_would_be_wrong():
    other = append_pieces(BASE, [])
    assert tokenizer_json(other, [], {}, ("<s>", 1)) is not None
    # a second normalizer part: SentencePiece, too, lets the last one win
    collapsing = BASE + bytes([3 << 3 | 2, 2, 4 << 3, 1])
    assert tokenizer_json(collapsing, [], {}, ("<s>", 1)) is None


@given(st.lists(st.text("ab<(|.\n", min_size=1, max_size=4), min_size=1, max_size=8))
def test_the_longest_word_is_found(words):
    pattern = re.compile(longest_of(words))
    for word in words:
        for text in (word, word + "a", word + "<"):
            longest = max((w for w in words if text.startswith(w)), key=len)
            assert pattern.match(text)[0] == longest
