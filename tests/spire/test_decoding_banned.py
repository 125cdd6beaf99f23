"""Banned ids are never chosen, by any strategy of any backend; native sampling draws what transformers' draws."""

import random
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from spire.decoding.backends import open_backend  # noqa: E402
from spire.decoding.settings import Settings  # noqa: E402
from spire.errors import UserError  # noqa: E402
from spire.training.checkpoint import new_directory, new_model, write_model  # noqa: E402
from spire.training.llama import LlamaShape  # noqa: E402
from spire.vocabulary.tokenizer import Vocabulary  # noqa: E402
from spire.vocabulary.train import train_model  # noqa: E402


@pytest.fixture(scope="module")
def backends(tmp_path_factory):
    torch.set_num_threads(1)
    vocabulary = Vocabulary(train_model(["the cat sat on the mat", "hello world again"] * 5, 290))
    shape = LlamaShape(vocabulary.padded_size, 32, 2, 2, 48, initializer_range=0.4)
    folder = tmp_path_factory.mktemp("banned") / "model"
    with new_directory(folder) as made:
        write_model(new_model(shape, seed=4), vocabulary, made, vocabulary.eos)
    return {name: open_backend(name, folder) for name in ("native", "transformers")}


@pytest.fixture(scope="module")
def prompts(backends):
    rng = random.Random(3)
    return [[1, *(rng.randrange(3, 290) for _ in range(n))] for n in (1, 4, 5, 17, 30)] + [[1, 5, 6]] * 2


PLAIN = Settings(max_new=8, stop=frozenset({2}))
DRAWN = replace(PLAIN, strategy="sampling", temperature=1.3, top_p=0.9, top_k=40)


def test_what_is_recorded_changes_only_where_something_is_banned():
    assert PLAIN.identity() == {"strategy": "greedy", "max_new_tokens": 8}
    some = replace(PLAIN, banned={7, 9})
    assert len(some.identity()["banned"]) == 16 and some.identity() == replace(PLAIN, banned=(9, 7)).identity()
    assert replace(PLAIN, banned={7}).identity() != some.identity()


@pytest.mark.parametrize("strategy", ["greedy", "sampling", "beam"])
@pytest.mark.parametrize("name", ["native", "transformers"])
def test_banned_ids_are_never_chosen(backends, prompts, name, strategy):
    if (name, strategy) == ("native", "beam"):
        with pytest.raises(UserError, match="no beam search"):
            backends[name].generate(prompts, replace(PLAIN, strategy="beam"))
        return
    settings = replace(DRAWN, strategy=strategy, beams=3)
    free = backends[name].generate(prompts, settings)
    banned = frozenset(i for a in free for i in a.ids[:2]) - {2}
    held = backends[name].generate(prompts, replace(settings, banned=banned))
    chosen = {i for a in held for i in a.ids}
    assert chosen and not chosen & banned and {i for a in free for i in a.ids} & banned
    # Ids beyond the vocabulary change nothing, and probabilities are those of the ids that are left.
    more = replace(settings, banned=banned | set(range(backends[name].vocabulary.size, 400)))
    assert [a.ids for a in backends[name].generate(prompts, more)] == [a.ids for a in held]
    all_but = replace(settings, strategy="greedy", banned=frozenset(range(400)) - {11})
    assert all(a.ids == (11,) * 8 and abs(a.logprob) < 1e-5 for a in backends[name].generate(prompts, all_but))


def test_native_draws_what_transformers_draws(backends, prompts):
    for settings in (DRAWN, replace(DRAWN, banned=range(3, 60)), replace(PLAIN, stop_text=("e",)), PLAIN):
        native, other = (backends[name].generate(prompts, settings) for name in ("native", "transformers"))
        assert [(a.ids, a.finished, a.steps) for a in native] == [(a.ids, a.finished, a.steps) for a in other]
        assert [a.logprob for a in native] == pytest.approx([a.logprob for a in other], abs=1e-4)
    assert not backends["native"].settles(PLAIN) and backends["native"].settles(DRAWN)


@pytest.mark.parametrize("name", ["native", "transformers"])
def test_seeds_of_single_prompts(backends, prompts, name):
    backend = backends[name]
    seeds = [5, 5, 6, 7, 5, 8, 9]  # the last two prompts are equal
    together = backend.generate(prompts, DRAWN, seeds=seeds)
    alone = [backend.generate([p], replace(DRAWN, seed=s))[0] for p, s in zip(prompts, seeds, strict=True)]
    assert [a.ids for a in together] == [a.ids for a in alone] and together[-1].ids != together[-2].ids
    with pytest.raises(UserError, match="one each"):
        backend.generate(prompts, DRAWN, seeds=[1])
