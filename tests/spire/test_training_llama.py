"""The model computes what transformers computes; the packed training pass computes what the model computes; files
survive a round trip.
"""

import json

import pytest

torch = pytest.importorskip("torch")

from spire.errors import UserError  # noqa: E402
from spire.training.checkpoint import load_model, new_directory, new_model, write_model  # noqa: E402
from spire.training.fused import GatedFeedForward, Linear, OutputLoss  # noqa: E402
from spire.training.llama import KeyValueCache, LlamaShape  # noqa: E402
from spire.training.packed import Layout, packed_hidden  # noqa: E402
from spire.vocabulary.tokenizer import Vocabulary  # noqa: E402
from spire.vocabulary.train import train_model  # noqa: E402

SENTENCES = ["the cat sat on the mat", "fünf kleine Blumen", "les fleurs à l'école", "hello world again"] * 5
TIED = LlamaShape(300, 32, 2, 4, 48, initializer_range=0.2)
GROUPED = LlamaShape(300, 32, 2, 4, 48, num_key_value_heads=2, initializer_range=0.2, tie_word_embeddings=False)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(train_model(SENTENCES, 300))


@pytest.mark.parametrize("shape", [TIED, GROUPED], ids=["tied", "grouped heads, own output"])
def test_transformers_loads_what_is_written_and_agrees(shape, vocabulary, tmp_path):
    from transformers import LlamaForCausalLM

    model = new_model(shape, seed=3)
    with new_directory(tmp_path / "m") as folder:
        write_model(model, vocabulary, folder, vocabulary.eos)
    other = LlamaForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32)
    ids = torch.randint(0, 300, (3, 17), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = other(input_ids=ids).logits
        got = model.logits(model.hidden(ids))
        again = load_model(tmp_path / "m")
        assert torch.equal(again.logits(again.hidden(ids)), got)
    assert (expected - got).abs().max() < 2e-5
    assert Vocabulary.load(tmp_path / "m").size == vocabulary.size


def test_the_cache_changes_nothing():
    model = new_model(GROUPED, seed=1)
    ids = torch.randint(0, 300, (2, 50), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = model.hidden(ids)
        cache = KeyValueCache(2)
        parts = [model.hidden(ids[:, :5], cache=cache)]
        for i in range(5, 50):
            known = torch.ones(2, 1, 1, i + 1, dtype=torch.bool)
            parts.append(model.hidden(ids[:, i : i + 1], torch.tensor([[i]]), known, cache))
    assert (torch.cat(parts, dim=1) - whole).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [TIED, GROUPED], ids=["tied", "grouped"])
def test_packed_documents_are_as_if_alone(shape):
    model = new_model(shape, seed=2)
    sizes = [40, 31, 12, 7, 3, 1]
    starts = [0]
    for n in sizes:
        starts.append(starts[-1] + n)
    filler = 10
    ids = torch.randint(0, 300, (starts[-1] + filler,), generator=torch.Generator().manual_seed(2))
    positions = torch.cat([*map(torch.arange, sizes), torch.zeros(filler, dtype=torch.long)])
    with torch.no_grad():
        packed = packed_hidden(model, ids, positions, Layout(starts), torch.float32)
        for a, b in zip(starts, starts[1:], strict=False):
            assert (packed[a:b] - model.hidden(ids[None, a:b])[0]).abs().max() < 1e-5
        some = torch.tensor([3, 50, 0, 70])
        chosen = packed_hidden(model, ids, positions, Layout(starts), torch.float32, some)
        assert (chosen - packed[some]).abs().max() < 1e-5
        # Rounding to bfloat16 is felt in the third digit, not more.
        rounded = packed_hidden(model, ids, positions, Layout(starts), torch.bfloat16)
    assert (rounded - packed)[: starts[-1]].abs().mean() < 0.02


def test_gradients_by_hand_are_those_of_autograd():
    generator = torch.Generator().manual_seed(5)

    def leaf(*size):
        return torch.randn(*size, generator=generator).requires_grad_()

    x, gate, up, down, w = leaf(7, 6), leaf(9, 6), leaf(9, 6), leaf(6, 9), leaf(11, 6)
    targets, weights = torch.tensor([0, 3, 10, 2, 2, 5, 1]), torch.tensor([0.1, 0.2, 0.0, 0.3, 0.1, 0.2, 0.1])

    def by_hand():
        h = Linear.apply(
            GatedFeedForward.apply(x, gate, up, down, torch.float32), down.t().contiguous()[:6], torch.float32
        )
        return OutputLoss.apply(h, w, targets, weights, torch.float32)[0] * 3

    def plain():
        h = (torch.nn.functional.silu(x @ gate.t()) * (x @ up.t())) @ down.t()
        h = h @ down.t().contiguous()[:6].t()
        return 3 * (torch.nn.functional.cross_entropy(h @ w.t(), targets, reduction="none") * weights).sum()

    leaves = [x, gate, up, down, w]
    for a, b in zip(torch.autograd.grad(by_hand(), leaves), torch.autograd.grad(plain(), leaves), strict=True):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-4)


def test_adamw_is_torchs():
    from spire.training.optimizer import FlatAdamW

    generator = torch.Generator().manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(5, 4, generator=generator)), torch.nn.Parameter(torch.ones(4))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    flat = FlatAdamW(ours, 0.9, 0.98, weight_decay=0.05)
    groups = [{"params": theirs[:1], "weight_decay": 0.05}, {"params": theirs[1:], "weight_decay": 0.0}]
    plain = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    for step in range(10):
        for p, q in zip(ours, theirs, strict=True):
            gradient = torch.randn(p.shape, generator=generator) * (3 if step % 2 else 0.01)
            p.grad.copy_(gradient)
            q.grad = gradient.clone()
        for group in plain.param_groups:
            group["lr"] = 0.01 * (step + 1)
        norm = torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        assert flat.step(0.01 * (step + 1), 1.0) == pytest.approx(norm.item(), rel=1e-5)
        plain.step()
    for p, q in zip(ours, theirs, strict=True):
        assert torch.allclose(p, q, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attention_bias": True}, "biases"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "scaled rotary"),
        ({"model_type": "mistral"}, "mistral"),
        ({"intermediate_size": 50}, "config.json says"),
        ({"num_hidden_layers": 3}, "missing"),
    ],
)
def test_other_models_are_refused(change, words, vocabulary, tmp_path):
    with new_directory(tmp_path / "m") as folder:
        write_model(new_model(TIED, 1), vocabulary, folder, vocabulary.eos)
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=words):
        load_model(tmp_path / "m")


def test_damaged_and_missing_files(vocabulary, tmp_path):
    with pytest.raises(UserError, match="no config.json"):
        load_model(tmp_path)
    with new_directory(tmp_path / "m") as folder:
        write_model(new_model(TIED, 1), vocabulary, folder, vocabulary.eos)
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged"):
        load_model(tmp_path / "m")
    weights.unlink()
    with pytest.raises(UserError, match="no model.safetensors"):
        load_model(tmp_path / "m")


def test_a_failed_run_leaves_nothing(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "old").touch()
    with pytest.raises(RuntimeError), new_directory(tmp_path / "m") as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert [p.name for p in (tmp_path / "m").iterdir()] == ["old"]


@pytest.mark.parametrize("sizes", [(300, 30, 2, 4, 48), (300, 20, 2, 4, 48)])
def test_impossible_shapes(sizes):
    with pytest.raises(UserError, match="heads"):
        LlamaShape(*sizes)
