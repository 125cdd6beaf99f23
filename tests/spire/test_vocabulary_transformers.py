"""Extended directories through transformers: AutoModelForCausalLM and AutoTokenizer load, save and reload them."""

import json
from pathlib import Path

import pytest

from spire.vocabulary.embeddings import extend_directory
from spire.vocabulary.layout import PUA_FIRST
from spire.vocabulary.tokenizer import Vocabulary
from spire.vocabulary.tokenizer_config import IM_END

MODEL = Path(__file__).parents[1] / "goldens" / "spirelm" / "tokenizer" / "base.model"
BASE, UNITS = 420, 100


@pytest.fixture(autouse=True, scope="module")
def libraries():
    """Imported when the first test runs: importing transformers takes seconds, which collecting tests need not."""
    global torch, transformers
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")


def base(folder: Path, tied: bool, dtype: str = "float32", shards: bool = False) -> Path:
    """A tiny Llama as transformers itself writes it, with the golden tokenizer."""
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=BASE,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = transformers.LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size="40KB" if shards else "1GB")
    (folder / "tokenizer.model").write_bytes(MODEL.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("tied", "dtype", "shards"),
    [(False, "float32", False), (True, "float32", False), (False, "bfloat16", True), (True, "bfloat16", True)],
)
def test_an_extended_model_is_the_old_one_on_old_tokens(tmp_path, tied, dtype, shards):
    folder = base(tmp_path / "base", tied, dtype, shards)
    layout = extend_directory(folder, tmp_path / "new", UNITS, 1, variant="instruct")
    assert (len(list((tmp_path / "new").glob("*.safetensors"))) > 1) == shards
    old = transformers.AutoModelForCausalLM.from_pretrained(folder)
    new, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "new", output_loading_info=True)
    assert not any(report[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert new.get_input_embeddings().weight.shape == (layout.padded_size, 32)
    assert new.get_output_embeddings().weight.shape == (layout.padded_size, 32)
    assert next(new.parameters()).dtype == getattr(torch, dtype)
    ids = torch.tensor([[1, 5, 300, 419, 7]])
    with torch.no_grad():
        assert torch.equal(new(ids).logits[..., :BASE], old(ids).logits)
        assert torch.isfinite(new(torch.tensor([[1, layout.first_unit, layout.padded_size - 1]])).logits).all()
    assert (new.generation_config.eos_token_id, new.generation_config.pad_token_id) == (layout.size - 2, 2)


def test_saved_and_loaded_again_nothing_changes(tmp_path):
    extend_directory(base(tmp_path / "base", tied=False), tmp_path / "new", UNITS, 1, variant="instruct")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    for saved in (model, tokenizer):
        saved.save_pretrained(tmp_path / "again")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    reloaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    vocabulary = Vocabulary.load(tmp_path / "new")
    units = "".join(chr(PUA_FIRST + i) for i in (7, 99, 0))
    chat = [{"role": "user", "content": f"Speech: {units}\nEnglish:"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert reloaded.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == text
    assert reloaded(text).input_ids == tokenizer(text).input_ids == vocabulary.encode(text, bos=True)
    assert json.loads((tmp_path / "again" / "config.json").read_text())["vocab_size"] == vocabulary.padded_size


def test_generation_ends_at_the_end_of_the_turn(tmp_path):
    extend_directory(base(tmp_path / "base", tied=False), tmp_path / "new", UNITS, 1, variant="instruct")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    prompt = tokenizer("hello", return_tensors="pt")
    with torch.no_grad():
        hidden = model.model(prompt.input_ids).last_hidden_state[0, -1]
        model.lm_head.weight.zero_()
        model.lm_head.weight[tokenizer.convert_tokens_to_ids(IM_END)] = hidden
    out = model.generate(**prompt, max_new_tokens=5, do_sample=False)[0]
    assert out[prompt.input_ids.shape[1] :].tolist() == [tokenizer.eos_token_id]


def test_a_byte_level_tokenizer_loads_with_its_own_rules(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    folder = base(tmp_path / "base", tied=True)
    (folder / "tokenizer.model").unlink()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat"] * 5, trainer)
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|end|>", "tokenizer_class": "LlamaTokenizer"}')
    layout = extend_directory(folder, tmp_path / "new", UNITS, 1, variant="instruct")
    loaded, ours = transformers.AutoTokenizer.from_pretrained(tmp_path / "new"), Vocabulary.load(tmp_path / "new")
    assert len(loaded) == layout.size and loaded.eos_token == IM_END and loaded.pad_token == "<|end|>"
    text = loaded.apply_chat_template(
        [{"role": "user", "content": f"Speech: {chr(PUA_FIRST + 5)}<SEP>日\nEnglish:"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert loaded(text).input_ids == ours.encode(text, bos=True)
    assert loaded.decode(loaded(text).input_ids) == f"<|end|>{text}"
    assert ours.decode(ours.encode(text), skip_special=False) == text
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "new").config.vocab_size == layout.padded_size
