"""Prompts, bans, parsing and continuation equal the published program's; a tiny Llama obeys its modality."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from spiritlm_goldens import strings

from spire.errors import UserError
from spiritlm.model.content import ContentType, GenerationInput, OutputModality
from spiritlm.model.outputs import decode_outputs, ends_with_speech, last_speech_run, parse, starts_with_speech
from spiritlm.model.prompts import build_prompt
from spiritlm.model.spiritlm_model import Spiritlm
from spiritlm.model.vocabulary import UnitIds, banned_ids, forbidden_ids, released_ids

KINDS = {"t": ContentType.TEXT, "s": ContentType.SPEECH}


def decoder(text):
    """Stands for a vocoder."""
    return np.arange(640 * text.count("[Hu"), dtype=np.float32)


@pytest.mark.parametrize("case", strings()["prompt"], ids=str)
def test_prompt(case):
    found = build_prompt(map(tuple, case["items"]), OutputModality[case["modality"]], lambda n: f"[Hu{n}]")
    assert found == case["out"]


def test_prompts_of_other_outputs():
    items = [GenerationInput("a", ContentType.TEXT), ("Speech", 3)]
    assert build_prompt(items, OutputModality.SPEECH, lambda n: f"[Hu{n}]") == "[Text]a[Speech][Hu3]"
    assert build_prompt(items, OutputModality.ARBITRARY, lambda n: f"[Hu{n}]") == "[Text]a[Speech][Hu3]"
    assert build_prompt([], OutputModality.ARBITRARY, str) == ""
    for wrong in (["a"], [("music", "a")], [("text", 3)]):
        with pytest.raises(UserError):
            build_prompt(wrong, OutputModality.TEXT, str)


@pytest.mark.parametrize("case", strings()["parse"], ids=str)
def test_parse(case):
    assert parse(case["s"]) == [(run, KINDS[kind]) for run, kind in case["out"]]


@pytest.mark.parametrize("case", strings()["find"], ids=str)
def test_where_speech_is(case):
    found = (last_speech_run(case["s"]), ends_with_speech(case["s"]), starts_with_speech(case["s"]))
    assert found == (case["pos"], case["ends"], case["starts"])
    assert not starts_with_speech("[Stabc]")


@pytest.mark.parametrize("case", strings()["decode"]["cases"], ids=str)
def test_outputs(case):
    new = case["generated"].removeprefix(case["prompt"])
    found = decode_outputs(new, case["prompt"], OutputModality[case["modality"]], decoder)
    assert [item.content_type.name for item in found] == [kind for kind, _ in case["out"]]
    for item, (kind, expected) in zip(found, case["out"], strict=True):
        if kind == "TEXT":
            assert item.content == expected
        else:
            assert len(item.content) == expected["n"] and item.content[0] == expected["first"]


def test_speech_goes_on_where_the_prompt_ended():
    prompt, new = "[Text]a[Speech]" + "[Hu1]" * 10, "[Hu2]" * 24 + "[Text]b"
    speech, text = decode_outputs(new, prompt, OutputModality.ARBITRARY, decoder)
    cut = math.ceil(640 * 34 * 10 / 35)
    assert speech.content[0] == cut and len(speech.content) == 640 * 34 - cut and text.content == "b"
    assert [o.content_type for o in decode_outputs("[Hu2]" * 23, prompt, OutputModality.ARBITRARY, decoder)] == []
    alone = decode_outputs("[Hu2]", "[Speech]", OutputModality.ARBITRARY, decoder)
    assert len(alone[0].content) == 640
    everything = decode_outputs("[Hu2] [Hu3]", "[Speech]", OutputModality.SPEECH, decoder)
    assert len(everything[0].content) == 1280


@pytest.mark.parametrize("key", strings()["forbidden"])
def test_forbidden_ids(key):
    modality, expressive = key.split("|expressive=")
    ids = released_ids(expressive == "True")
    found = forbidden_ids(OutputModality[modality], ids)
    assert list(found) == [i for first, last in strings()["forbidden"][key] for i in range(first, last + 1)]
    rows = 32_768 if expressive == "True" else 32_512
    banned = set(banned_ids(OutputModality[modality], ids, rows, (2,)))
    assert banned == (set(found) | set(range(ids.size, rows))) - {2}


TEXT_WORDS = 60
UNITS = {"Hu": 12, "Pi": 5, "St": 4}
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def write_model(folder, expressive, text_words=TEXT_WORDS, units=UNITS, rows=96, sizes=SIZES):
    """A random Llama of two layers whose tokenizer has words, markers and units as the released has, only fewer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", *map(chr, range(97, 123)), *(f"▁{chr(c)}" for c in range(97, 123)), "▁"]
    words += [f"<{i}>" for i in range(text_words - len(words))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    names = [f"[{kind}{i}]" for kind, n in units.items() if expressive or kind == "Hu" for i in range(n)]
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in ("[Text]", "[Speech]", *names)])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=rows, max_position_embeddings=256, **sizes)).save_pretrained(folder)
    return folder


class Speech:
    """Stands for a speech tokenizer."""

    def encode_string(self, audio):
        return "[Hu1][Hu2]"

    def decode(self, text, speaker_id):
        return decoder(text) + speaker_id


@pytest.fixture(scope="module", params=[False, True], ids=["base", "expressive"])
def model(request, tmp_path_factory):
    folder = write_model(tmp_path_factory.mktemp("model"), request.param)
    names = (
        {"device": torch.device("cpu"), "dtype": torch.float32}
        if request.param
        else {"device": "cpu", "dtype": "float32"}
    )
    return Spiritlm(folder, **names, speech_tokenizer=Speech())


INPUTS = [("text", "abc"), ("SPEECH", "file.wav"), ("text", "d")]


def test_a_modality_is_kept(model):
    assert model.expressive == bool(model.ids.pitch) and model.ids.text == TEXT_WORDS
    settings = {"do_sample": True, "max_new_tokens": 40, "temperature": 3.0}
    config = model._config(None, settings)
    size = model.ids.size
    for modality, allowed in (("TEXT", range(TEXT_WORDS)), ("SPEECH", range(TEXT_WORDS + 2, size))):
        banned = model._banned(OutputModality[modality], config)
        (new,) = model._new_ids(["[Text]abc"], config, banned, [3])
        assert set(new) <= set(allowed) and len(set(new)) > 4
    (free,) = model._new_ids(["[Text]abc"], config, model._banned(OutputModality.ARBITRARY, config), [3])
    assert max(free) < size and min(free) < TEXT_WORDS < max(free)


@pytest.mark.parametrize("model", [True], ids=["expressive"], indirect=True)
def test_an_output_may_end(model):
    config = model._config(None, {"do_sample": True, "max_new_tokens": 200, "temperature": 50.0})
    banned = model._banned(OutputModality.SPEECH, config)
    lengths = [len(new) for new in model._new_ids(["[Speech][Hu1]"] * 5, config, banned, range(5))]
    assert min(lengths) < 200 and 2 not in banned


@pytest.mark.parametrize("model", [True], ids=["expressive"], indirect=True)
def test_generate(model):
    settings = {"do_sample": True, "max_new_tokens": 8, "seed": 1}
    (text,), prompt = model.generate(INPUTS, output_modality=OutputModality.TEXT, return_prompt=True, **settings)
    assert prompt == "[Text]abc[Speech][Hu1][Hu2][Text]d" and text.content_type is ContentType.TEXT
    assert "[Hu" not in text.content and "[Text]" not in text.content
    again = model.generate(prompt=prompt, output_modality="text", **settings)
    assert again == [text] and model.generate(prompt=prompt, output_modality="text", **settings | {"seed": 2}) != again
    with pytest.warns(UserWarning, match="ignored"):
        assert model.generate(INPUTS, prompt, "text", **settings) == again
    (speech,) = model.generate(INPUTS, output_modality="speech", speaker_id=3, **settings)
    assert speech.content_type is ContentType.SPEECH and speech.content[0] == 3 and len(speech.content) % 640 == 0
    outputs = model.generate(INPUTS, **settings)
    assert all(isinstance(o.content, str) == (o.content_type is ContentType.TEXT) for o in outputs)


def test_whatever_was_written_is_heard(model, monkeypatch):
    """An Expressive vocoder needs pitch and style; a model may end at once, or write units alone."""
    heard = []
    monkeypatch.setattr(model, "_given", Speech())
    monkeypatch.setattr(Speech, "decode", lambda self, text, speaker_id: heard.append(text) or decoder(text))
    monkeypatch.delitem(model.__dict__, "speech_tokenizer", raising=False)
    assert len(model._speech("[Speech][Hu1]", 2, "")) == len(model._speech("[Speech][Hu1]", 2, "[St1][Pi2]")) == 0
    assert not heard
    prompt = "[Speech][St1][Pi4][Hu3][Pi2][Hu1][St2]"
    for before, text in (
        (prompt, "[Hu5]"),
        ("[Text]a[Speech]", "[Hu5]"),
        (prompt, "[St3][Hu5]"),
        (prompt, "[Pi1][Hu5]"),
    ):
        assert len(model._speech(before, 2, text)) == 640
    expected = ["[St2][Pi2][Hu5]", "[Pi0][Hu5]", "[Pi2][St3][Hu5]", "[Pi1][Hu5]"]
    assert heard == (expected if model.expressive else ["[Hu5]", "[Hu5]", "[St3][Hu5]", "[Pi1][Hu5]"])


@pytest.mark.parametrize("model", [True], ids=["expressive"], indirect=True)
def test_the_seed_leaves_other_random_numbers_alone(model):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    model.generate(prompt="[Text]a", output_modality="text", do_sample=True, max_new_tokens=3, seed=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("model", [True], ids=["expressive"], indirect=True)
def test_wrong_requests_are_refused(model, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="temprature"):
        model.generate(prompt="[Text]a", temprature=1.0)
    with pytest.raises(UserError, match="num_return_sequences 2"):
        model.generate(prompt="[Text]a", do_sample=True, num_return_sequences=2)
    with pytest.raises(UserError, match="nothing"):
        model.generate()
    with pytest.raises(UserError, match="OutputModality"):
        model.generate(prompt="[Text]a", output_modality="music")
    monkeypatch.setenv("SPIRITLM_CHECKPOINTS_DIR", str(tmp_path))
    with pytest.raises(UserError, match="no such checkpoint"):
        Spiritlm("spirit-lm-base-7b")
    (tmp_path / "spiritlm_model/mine").mkdir(parents=True)
    with pytest.raises(UserError, match="no model 'spirit-lm-base-7b'") as refused:
        Spiritlm("spirit-lm-base-7b")
    assert "there: mine" in refused.value.hint
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no GPU"):
        Spiritlm(tmp_path / "spiritlm_model/mine", device="cuda:0")
    with pytest.raises(UserError, match="no speech units"):
        UnitIds.from_vocabulary({"a": 0}, "model")
    with pytest.raises(UserError, match="in a row"):
        UnitIds.from_vocabulary({"[Text]": 0, "[Speech]": 1, "[Hu0]": 2, "[Hu1]": 4}, "model")


def test_the_released_form_of_the_tokenizer(tmp_path):
    """tokenizer.model alone, with the units as tokens added to it."""
    pytest.importorskip("google.protobuf", reason="protobuf is missing")
    from transformers import LlamaConfig, LlamaForCausalLM

    source = Path(__file__).resolve().parents[1] / "goldens" / "spirelm" / "tokenizer" / "base.model"
    folder = write_model(tmp_path / "model", False)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(source.read_bytes())
    names = ["[Text]", "[Speech]", *(f"[Hu{i}]" for i in range(501))]
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word", "special"), False)
    added = {str(420 + i): {"content": name} | flags for i, name in enumerate(names)}
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "legacy": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"added_tokens_decoder": added}))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=1024, **sizes)).save_pretrained(folder)
    model = Spiritlm(folder, device="cpu", speech_tokenizer=Speech())
    assert model.ids == UnitIds(420, 421, range(422, 923)) and not model.expressive
    prompt = "[Text]the weather[Speech][Hu99][Hu49]"
    ids = model.encode(prompt)
    assert ids[0] == 1 and ids.count(1) == 1 and ids[-1] == 422 + 49 and ids[1] == 420
    assert model.tokenizer.decode(ids, skip_special_tokens=True) == prompt
    assert len(model.generate(prompt=prompt, output_modality="speech", max_new_tokens=4)[0].content) % 640 == 0
