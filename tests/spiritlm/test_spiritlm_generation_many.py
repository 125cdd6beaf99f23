"""Many prompts at once give what each gives alone, on transformers and on vLLM, under the same bans."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_spiritlm_model import Speech, write_model

from spire.errors import UserError
from spiritlm.model.content import ContentType, OutputModality
from spiritlm.model.engine import settings_of
from spiritlm.model.spiritlm_model import Spiritlm

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("SPIRE_VLLM_PYTHON", "")
PROMPTS = ["[Text]abc", "[Text]abcdefghijklmnop", "[Speech][Hu1][Hu2]", "[Text]abc", "[Text]a[Speech][Hu3][Text]b"]
DRAWN = {"do_sample": True, "temperature": 1.5, "top_p": 0.9, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = write_model(tmp_path_factory.mktemp("model"), True)
    return Spiritlm(folder, device="cpu", dtype="float32", speech_tokenizer=Speech(), rows=3)


def contents(outputs):
    return [[o.content if isinstance(o.content, str) else o.content.tolist() for o in one] for one in outputs]


@pytest.mark.parametrize("modality", ["TEXT", "SPEECH", "ARBITRARY"])
@pytest.mark.parametrize("how", [{"max_new_tokens": 12}, DRAWN, DRAWN | {"repetition_penalty": 1.3}], ids=len)
def test_many_are_each_alone(model, modality, how):
    seeds = [3, 4, 5, 6, 7]
    together = model.generate_many(PROMPTS, modality, seeds=seeds, **how)
    each = zip(PROMPTS, seeds, strict=True)
    alone = [model.generate(prompt=p, output_modality=modality, seed=s, **how) for p, s in each]
    assert contents(together) == contents(alone)
    if how.get("do_sample") and modality == "SPEECH":
        assert contents(together)[0] != contents(together)[3]  # one prompt, two seeds
    back = model.generate_many(PROMPTS[::-1], modality, seeds=seeds[::-1], **how)
    assert contents(back) == contents(together)[::-1]


def test_requests_are_inputs_or_prompts(model):
    inputs = [("text", "abc"), ("speech", "file.wav")]
    first, second = model.generate_many([inputs, "[Text]a"], "text", return_prompt=True, seeds=1, **DRAWN)
    assert first[1] == "[Text]abc[Speech][Hu1][Hu2][Text]" and second[1] == "[Text]a"
    assert first[0][0].content_type is ContentType.TEXT
    assert model.generate_many([], "text") == []
    with pytest.raises(UserError, match="2 requests and 1 seeds"):
        model.generate_many(["[Text]a", "[Text]b"], seeds=[1])


def test_without_a_seed_torchs_random_numbers_decide(model):
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(contents(model.generate_many(PROMPTS, "text", **DRAWN)))
    assert found[0] == found[1] != found[2]


def test_greedy_and_beams_are_those_of_transformers(model):
    for how in ({"max_new_tokens": 10}, {"max_new_tokens": 4, "num_beams": 3}, {"max_length": 20}):
        config = model._config(None, how)
        banned = model._banned(OutputModality.TEXT, config)
        found = model._new_ids(PROMPTS, config, banned, None)
        assert found == [model._by_transformers(model.encode(p), config, banned, None) for p in PROMPTS]


def test_settings_are_said_exactly_or_not_at_all(model):
    own = model.model.generation_config

    def said(**changes):
        return settings_of(model._config(None, changes), own, (2,), [5], 4)

    plain = said(max_new_tokens=7)
    assert (plain.strategy, plain.max_new, plain.stop, plain.banned) == ("greedy", 7, {2}, {5})
    assert said(max_length=10).max_new == 6 and said(do_sample=True).top_k == 50
    assert said(do_sample=True, top_k=0, temperature=0.8).identity().items() >= {"top_k": 0, "temperature": 0.8}.items()
    many = settings_of(model._config(None, {"num_beams": 3}), own, (2,), [5], 4, bans_in_beams=True)
    assert (many.strategy, many.beams) == ("beam", 3) and said(num_beams=3) is None
    for other in ({"repetition_penalty": 1.1}, {"num_beams": 2, "do_sample": True}, {"min_new_tokens": 3}):
        assert said(**other) is None


PROGRAM = """
import json, sys
if __name__ == "__main__":
    from spiritlm.model.spiritlm_model import OutputModality, Spiritlm
    asked = json.loads(open(sys.argv[2]).read())
    model = Spiritlm(sys.argv[1], dtype="float32", speech_tokenizer=object(), backend="vllm", rows=4)
    for modality in ("TEXT", "SPEECH", "ARBITRARY"):
        for how in asked["settings"]:
            config = model._config(None, how)
            banned = model._banned(OutputModality[modality], config)
            new = model._new_ids(asked["prompts"], config, banned, [1, 2, 3, 4, 5])
            print("IDS", json.dumps([list(ids) for ids in new]))
    try:
        model.generate(prompt="[Text]a", output_modality="text", repetition_penalty=2.0)
    except Exception as e:
        print("ERROR", e)
"""


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="SPIRE_VLLM_PYTHON names no Python that has vllm (docs/decoding.md)")
def test_vllm_writes_what_transformers_writes(tmp_path):
    """The released layout of ids: 32,000 of text, markers, Hu, Pi, St, and padding rows up to 32,768."""
    sizes = {"hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    released = {"text_words": 32_000, "units": {"Hu": 501, "Pi": 64, "St": 100}, "rows": 32_768}
    folder = write_model(tmp_path / "model", True, sizes=sizes | {"initializer_range": 0.3}, **released)
    here = Spiritlm(folder, device="cpu", dtype="float32", speech_tokenizer=Speech())
    assert here.ids.size == 32_667 and here.rows == 32_768
    hot = {"do_sample": True, "temperature": 2.0, "top_k": 0, "max_new_tokens": 60}
    settings = [{"max_new_tokens": 12}, {"max_new_tokens": 6, "num_beams": 3}, hot]
    (tmp_path / "asked.json").write_text(json.dumps({"prompts": PROMPTS, "settings": settings}))
    (tmp_path / "ask.py").write_text(PROGRAM)
    environment = {"PYTHONPATH": str(ROOT / "src"), "VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run(
        [PYTHON, tmp_path / "ask.py", folder, tmp_path / "asked.json"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    told = iter([json.loads(line[4:]) for line in lines if line.startswith("IDS ")])
    assert any(line.startswith("ERROR these settings") for line in lines)
    for modality in ("TEXT", "SPEECH", "ARBITRARY"):
        for how in settings:
            config = here._config(None, how)
            banned = here._banned(OutputModality[modality], config)
            found = next(told)
            assert not {i for ids in found for i in ids} & set(banned)
            if how is not hot:
                given = [here.encode(prompt) for prompt in PROMPTS]
                exact = settings_of(config, here._own, (2,), banned, 9, bans_in_beams=True)
                assert list(map(tuple, found)) == [a.ids for a in here._backend.generate(given, exact)]
            elif modality == "SPEECH":
                assert len({i for ids in found for i in ids}) > 50  # flat, and still within the modality
    assert sys.executable != PYTHON
