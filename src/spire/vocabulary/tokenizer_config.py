"""tokenizer_config.json: which tokens end and open a text, and the chat template, for transformers and vLLM.

Guarantees: the class it names takes tokenizer.json as it is (transformers' own LlamaTokenizer puts other rules in its
place); the template gives the published strings (SpireLM 9), and the prompts of `spire.corpora.chat.prompt_text`.
"""

from __future__ import annotations

import json

TOKENIZER_FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
CLASS = "PreTrainedTokenizerFast"  # of transformers 4 and 5: takes the file as it is
IM_END, IM_START = "<|im_end|>", "<|im_start|>"
# The last turn is closed only where a generation prompt is asked for: training text must close it itself.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    f"{{{{ '{IM_START}' + message['role'] + '\\n' + message['content'] }}}}"
    f"{{% if add_generation_prompt or not loop.last %}}{{{{ '{IM_END}\\n' }}}}{{% endif %}}"
    "{% endfor %}"
    "{% if add_generation_prompt and (not messages or messages[-1]['role'] != 'assistant') %}"
    f"{{{{ '{IM_START}assistant\\n' }}}}"
    "{% endif %}"
)


def tokenizer_config(tokens: dict[str, str], chat: bool) -> dict:
    """The content of tokenizer_config.json. `tokens`: text of bos, eos, unk, pad; `chat`: an instruct model's."""
    config: dict = {"tokenizer_class": CLASS}
    config |= {f"{name}_token": text for name, text in tokens.items()}
    config["clean_up_tokenization_spaces"] = False
    return config | chat_settings() if chat else config


def chat_settings() -> dict:
    """What an instruct model's tokenizer_config.json has and a base model's has not."""
    return {"additional_special_tokens": [IM_START], "chat_template": CHAT_TEMPLATE}


def json_bytes(value: dict) -> bytes:
    """The file content, in one form for all of a vocabulary's files."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8")
