"""`import_transformers` leaves out scikit-learn and torch._dynamo, and both still work afterwards."""

import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).resolve().parents[2] / "src"

PROGRAM = """
import sys
from spire.fast_import import import_transformers
transformers = import_transformers()
assert import_transformers() is transformers
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.hubert.modeling_hubert import HubertModel
skipped = [name for name in ("sklearn", "scipy", "torch._dynamo") if name in sys.modules]
import torch
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                     num_attention_heads=4))
ids = torch.arange(10)[None]
loss = model(ids, labels=ids, attention_mask=torch.tensor([[0] * 3 + [1] * 7])).loss
loss.backward()
torch.optim.AdamW(model.parameters(), lr=1e-3).step()
import torch._dynamo
from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex, trace_wrapped
from transformers.masking_utils import TransformGetItemToIndex as Lazy
with Lazy():
    pass
assert torch._dynamo.__name__ == "torch._dynamo"
assert torch.compiler.disable(lambda x: x + 1)(1) == 2
print(skipped, model(ids).logits.isfinite().all().item())
"""


def test_lean_import_skips_optional_packages_and_leaves_torch_whole():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True,
                         env={"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"})
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[] True", run.stdout
