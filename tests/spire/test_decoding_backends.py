"""Backends: transformers answers as its own generate does, whatever the batch; strategies, stop rules, limits."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from spire.decoding import batched, choosing  # noqa: E402
from spire.decoding.answers import answer_text, cut_at, stop_ids, style_settings  # noqa: E402
from spire.decoding.backends import open_backend  # noqa: E402
from spire.decoding.batches import clusters, groups, plan  # noqa: E402
from spire.decoding.packed_linear import PackedLinear  # noqa: E402
from spire.decoding.settings import PUBLISHED_STOPS, Settings, prompt_seed  # noqa: E402
from spire.decoding.vocabulary import open_vocabulary  # noqa: E402
from spire.errors import UserError  # noqa: E402
from spire.training.checkpoint import new_directory, new_model, write_model  # noqa: E402
from spire.training.llama import LlamaShape  # noqa: E402
from spire.vocabulary.extend import extend_model, extended_layout, unit_pieces  # noqa: E402
from spire.vocabulary.proto import read_pieces  # noqa: E402
from spire.vocabulary.tokenizer import Vocabulary  # noqa: E402
from spire.vocabulary.train import train_model  # noqa: E402

SENTENCES = ["the cat sat on the mat", "fünf kleine Blumen", "les fleurs à l'école", "hello world again"] * 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    model = train_model(SENTENCES, 320)
    bigger, added = extend_model(model, unit_pieces(10))
    vocabulary = Vocabulary(bigger, extended_layout(len(read_pieces(model)), added))
    shape = LlamaShape(vocabulary.padded_size, 64, 2, 2, 48, num_key_value_heads=1, initializer_range=0.3)
    place = tmp_path_factory.mktemp("backends") / "model"
    with new_directory(place) as made:
        write_model(new_model(shape, seed=4), vocabulary, made, vocabulary.im_end)
    return place


@pytest.fixture(scope="module")
def backend(folder):
    return open_backend("transformers", folder)


@pytest.fixture(scope="module")
def prompts(backend) -> list[list[int]]:
    rng = random.Random(3)
    bos, size = backend.vocabulary.bos, backend.vocabulary.size
    out = []
    for n in (1, 2, 5, 30, 31, 40, 12, 7):
        ids = [rng.randrange(3, size) for _ in range(n)]
        out += [[bos, *ids], [bos, *ids, 9, 8, 7], [bos, *ids, 9, 8, 6]]
    return [*out, out[0]]


@pytest.fixture(scope="module")
def settings(backend) -> Settings:
    return Settings(max_new=12, stop=stop_ids("chat", backend.vocabulary))


@pytest.fixture(scope="module")
def model(folder):
    """The same in transformers, untouched."""
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def generated(model, prompt: list[int], settings: Settings, size: int, **more) -> list[int]:
    """What transformers' own generate answers to one prompt, without the stop token."""
    ids = torch.tensor([prompt])
    padding = list(range(size, model.config.vocab_size))
    with torch.no_grad():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=settings.max_new,
            eos_token_id=sorted(settings.stop),
            pad_token_id=0,
            **({"do_sample": False, "suppress_tokens": padding} | more),
        )[0, len(prompt) :].tolist()
    while out and (out[-1] in settings.stop or out[-1] == 0):
        out.pop()
    return out


def test_layers_are_packed_and_compute_the_same(folder, backend, model):
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        for dtype, apart in (("fp32", 1e-5), ("bf16", 0.1)):
            packed = open_backend("transformers", folder, dtype=dtype).decoder.model
            assert (packed(ids).logits.float() - model(ids).logits).abs().mean() < apart
        count = sum(type(part) is PackedLinear for part in backend.decoder.model.modules())
    assert count == 2 * 7 and model.config.tie_word_embeddings, "all but the matrix that is the embedding, too"


def test_greedy_answers_are_those_of_generate(backend, model, prompts, settings):
    answers = backend.generate(prompts, settings)
    assert [list(a.ids) for a in answers] == [generated(model, p, settings, backend.vocabulary.size) for p in prompts]
    assert any(a.finished for a in answers) or all(a.steps == settings.max_new for a in answers)


def test_native_and_transformers_answer_alike(folder, backend, prompts, settings):
    native = open_backend("native", folder).generate(prompts, settings)
    assert [a.ids for a in native] == [a.ids for a in backend.generate(prompts, settings)]
    assert [a.steps for a in native] == [a.steps for a in backend.generate(prompts, settings)]


@pytest.mark.parametrize("more", [{}, {"strategy": "sampling"}, {"strategy": "beam", "beams": 3}])
def test_batches_and_order_do_not_matter(folder, backend, prompts, settings, more):
    settings = replace(settings, **more)
    expected = backend.generate(prompts, settings)
    for rows, tokens in ((1, 0), (5, 200)):
        other = open_backend("transformers", folder, rows=rows, tokens=tokens)
        backwards = other.generate(prompts[::-1], settings)[::-1]
        assert [(a.ids, a.finished) for a in backwards] == [(a.ids, a.finished) for a in expected]


def test_a_coarse_type_decides_alone_where_rounding_could(folder, prompts, settings):
    settings = replace(settings, max_new=20)
    expected, counts = None, []
    for rows in (3, 128):
        answers = open_backend("transformers", folder, dtype="bf16", rows=rows).generate(prompts, settings)
        ids = [a.ids for a in answers]
        expected = expected or ids
        assert ids == expected
        counts.append(sum(a.near_ties for a in answers))
    assert min(counts) > 0, "no case that could have gone wrong"


@pytest.mark.parametrize("penalty", [1.0, *(pytest.param(x, marks=pytest.mark.slow) for x in (0.0, 2.0))])
def test_beam_search_is_that_of_transformers(folder, model, prompts, settings, penalty):
    backend = open_backend("transformers", folder)
    # generate() normalizes over all rows of the matrix before it excludes some, so here none is excluded.
    size = backend.decoder.size = model.config.vocab_size
    settings = replace(settings, strategy="beam", beams=3, length_penalty=penalty)
    answers = backend.generate(prompts, settings)
    more = {"num_beams": 3, "length_penalty": penalty, "early_stopping": False, "suppress_tokens": None}
    assert [list(a.ids) for a in answers] == [generated(model, p, settings, size, **more) for p in prompts]


def test_sampling_follows_the_distribution_and_its_seed(backend, settings):
    vocabulary = backend.vocabulary
    prompt = [vocabulary.bos, 20, 21]
    settings = replace(settings, strategy="sampling", max_new=1, temperature=1.5, stop=frozenset())
    with torch.no_grad():
        logits = backend.decoder.alone(tuple(prompt))[: vocabulary.size]
    p = (logits / 1.5).softmax(0)
    drawn = torch.zeros(vocabulary.size)
    for seed in range(2000):
        chooser = choosing.Chooser(replace(settings, seed=seed), [tuple(prompt)], torch.float32, vocabulary.size)
        drawn[int(chooser(logits[None], [0], 0).token[0])] += 1
    likely = p.argsort(descending=True)[:5]
    assert torch.allclose(drawn[likely] / 2000, p[likely], atol=4 * 0.0112)
    for field, few in (
        (({"top_k": 3}), 3),
        (({"top_p": 0.3}), int(((p.sort().values.flip(0).cumsum(0) < 0.3).sum()) + 1)),
    ):
        chosen = {
            int(
                choosing.Chooser(replace(settings, seed=i, **field), [tuple(prompt)], torch.float32, vocabulary.size)(
                    logits[None], [0], 0
                ).token[0]
            )
            for i in range(300)
        }
        assert chosen <= set(p.argsort(descending=True)[:few].tolist()) and len(chosen) > 1
    first, again = (backend.generate([prompt], replace(settings, max_new=8, seed=s))[0].ids for s in (1, 2))
    assert first != again and prompt_seed(prompt, 1) != prompt_seed(prompt, 2)


def test_stop_ids_are_not_text(backend, folder):
    vocabulary = backend.vocabulary
    assert stop_ids("base", vocabulary) == {vocabulary.eos, vocabulary.newline}
    spelled = vocabulary.encode("</s")
    assert not set(spelled) & stop_ids("chat", vocabulary)
    published = style_settings("chat", vocabulary, published_stops=True)
    assert published.stop_text == PUBLISHED_STOPS and "\\n" in published.stop_text
    assert cut_at("one\\ntwo<END>", PUBLISHED_STOPS) == "one" and cut_at("one", PUBLISHED_STOPS) is None


def test_stop_text_ends_an_answer_where_it_appears(backend, prompts, settings):
    vocabulary = backend.vocabulary
    free = replace(settings, stop=frozenset())
    answers = backend.generate(prompts, free)
    texts = [vocabulary.decode(list(a.ids)) for a in answers]
    stop = next(t[4] for t in texts if len(t) > 6)
    stopped = backend.generate(prompts, replace(free, stop_text=(stop,)))
    for text, whole, answer in zip(texts, answers, stopped, strict=True):
        assert answer_text(answer, vocabulary, (stop,)) == " ".join(text.split(stop)[0].split())
        assert answer.finished == (stop in text) and len(answer.ids) <= len(whole.ids)


def test_prompts_of_unlike_length_are_read_apart(folder, backend, prompts, settings, monkeypatch):
    expected = backend.generate(prompts, settings)
    monkeypatch.setattr(batched, "_READ_TOGETHER", (0, 0))
    other = open_backend("transformers", folder)
    found = other.generate(prompts, settings)
    assert [a.ids for a in found] == [a.ids for a in expected] and other.decoder.forwards > settings.max_new


def test_an_answer_ends_where_the_positions_of_the_model_do(folder, prompts, settings):
    endless = replace(settings, stop=frozenset())
    backend = open_backend("transformers", folder)
    whole = backend.generate(prompts, endless)
    backend.decoder.longest = backend._positions = 45
    for strategy in ("greedy", "beam"):
        cut = backend.generate(prompts, replace(endless, strategy=strategy))
        for prompt, long, short in zip(prompts, whole, cut, strict=True):
            assert len(short.ids) == min(12, 45 - len(prompt)) and not short.finished
            assert strategy == "beam" or short.ids == long.ids[: len(short.ids)]


def test_vocabularies_of_published_directories(folder, backend, tmp_path):
    """As the hub has them: a SentencePiece model, and chat marks added after it, listed in one file or the other."""
    vocabulary = backend.vocabulary
    text = "<|im_start|>user\nSpeech: \U000f0003\nEnglish:<|im_end|>\n<|im_start|>assistant\n"
    marks = {vocabulary.im_end: "<|im_end|>", vocabulary.im_start: "<|im_start|>"}
    added = {"added_tokens.json": {t: i for i, t in marks.items()}}
    decoder = {"added_tokens_decoder": {str(i): {"content": t} for i, t in {2: "</s>", **marks}.items()}}
    fast = {"added_tokens": [{"id": i, "content": t} for i, t in {2: "</s>", **marks}.items()]}
    for name, content in (("tokenizer.json", fast), *added.items(), ("tokenizer_config.json", decoder)):
        place = tmp_path / name.replace(".", "_")
        place.mkdir()
        (place / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
        (place / name).write_text(json.dumps(content))
        found = open_vocabulary(place)
        assert found.encode(text, bos=True) == vocabulary.encode(text, bos=True) and found.size == vocabulary.size
    (place / "added_tokens.json").write_text(json.dumps({"<hole>": 9999}))
    with pytest.raises(UserError, match="added tokens have ids"):
        open_vocabulary(place)


def test_ids_of_padding_are_never_chosen(folder, backend, prompts, settings):
    other = open_backend("transformers", folder)
    other.decoder.size = 20
    for strategy in ("greedy", "sampling", "beam"):
        answers = other.generate(prompts, replace(settings, strategy=strategy, stop=frozenset()))
        assert all(max(a.ids) < 20 for a in answers)


def test_finished_rows_leave_and_beginnings_are_shared(backend, prompts, settings, monkeypatch):
    widths = []
    forward = batched.Decoder._forward
    monkeypatch.setattr(
        batched.Decoder, "_forward", lambda self, ids, *r: (widths.append(tuple(ids.shape)), forward(self, ids, *r))[1]
    )
    first = backend.generate(prompts, settings)
    early = {a.ids[2] for a in first[::2] if len(a.ids) > 4}
    widths.clear()
    answers = backend.generate(prompts, replace(settings, stop=frozenset(early)))
    steps = [rows for rows, new in widths if new == 1]
    assert len({len(a.ids) for a in answers}) > 2 and steps[-1] < max(steps), "rows leave"
    unique = sorted({tuple(p) for p in prompts})
    found = clusters(unique, 128)
    assert any(len(c.members) == 3 and c.shared >= 30 for c in found)
    for c in found:
        assert len({unique[m][: c.shared] for m in c.members}) == 1


def test_plans_hold_every_prompt_once_within_the_budget():
    rng = random.Random(0)
    prompts = {tuple(rng.randrange(5) for _ in range(rng.randrange(1, 60))) for _ in range(200)}
    prompts = sorted(prompts | {(*p, *end) for p in prompts if len(p) > 40 for end in ((7,), (8, 8))})
    for rows, tokens in ((7, 10_000), (64, 900), (64, 1)):
        batches = plan(prompts, rows, tokens, 10)
        members = [i for b in batches for c in b for i in c.members]
        assert sorted(members) == list(range(len(prompts)))
        for b in batches:
            ids = [i for c in b for i in c.members]
            assert len(ids) <= rows
            assert len(b) == 1 or len(ids) * (max(len(prompts[i]) for i in ids) + 10) <= tokens
            for least in (0, 200):
                apart = groups(prompts, b, least)
                assert [c for group in apart for c in group] == b
                for group in apart:
                    rest = [len(prompts[i]) - c.shared for c in group for i in c.members]
                    padded = len(group) * max(c.shared for c in group) + len(rest) * max(rest)
                    real = sum(c.shared for c in group) + sum(rest)
                    assert len(group) == 1 or padded <= max(least, 1.1 * real)


def test_a_batch_that_memory_does_not_hold_is_halved(folder, backend, prompts, settings, monkeypatch):
    expected = backend.generate(prompts, settings)
    other, answers = open_backend("transformers", folder), batched.Decoder.answers
    sizes = []

    def with_room_for(rows: int):
        def answer(self, every, batch, s, seeds):
            sizes.append(len(batch))
            if len(batch) > rows:
                raise torch.OutOfMemoryError("full")
            return answers(self, every, batch, s, seeds)

        return answer

    monkeypatch.setattr(batched.Decoder, "answers", with_room_for(3))
    assert [a.ids for a in other.generate(prompts, settings)] == [a.ids for a in expected]
    assert max(sizes) > 3 and sizes.count(min(sizes)) > 1
    monkeypatch.setattr(batched.Decoder, "answers", with_room_for(0))
    with pytest.raises(UserError, match="does not hold"):
        other.generate(prompts, settings)


def test_weights_that_are_no_numbers_are_noticed(folder, prompts, settings):
    broken = open_backend("transformers", folder)
    with torch.no_grad():
        broken.decoder.model.model.norm.weight[0] = float("nan")
    for strategy in ("greedy", "sampling", "beam"):
        with pytest.raises(UserError, match="not numbers"):
            broken.generate(prompts[:3], replace(settings, strategy=strategy))


def test_bad_input_is_named(folder, backend, settings, tmp_path):
    bos = backend.vocabulary.bos
    for prompts, message in (
        ([[bos], []], "prompt 1 is empty"),
        ([[bos, bos, 5]], "begins with <s> twice"),
        ([[bos] + [5] * 2000], "2001 tokens"),
    ):
        with pytest.raises(UserError, match=message):
            backend.generate(prompts, settings)
    assert backend.generate([], settings) == []
    for fields in (
        {"strategy": "best"},
        {"max_new": 0},
        {"temperature": 0.0},
        {"top_p": 0.0},
        {"top_k": -1},
        {"strategy": "beam", "beams": 1},
        {"stop_text": ("",)},
    ):
        with pytest.raises(UserError):
            Settings(**fields)
    with pytest.raises(UserError, match="unknown backend"):
        open_backend("triton", folder)
    with pytest.raises(UserError, match="no config.json|no SentencePiece"):
        open_backend("transformers", tmp_path)
    with pytest.raises(UserError, match="no beam search"):
        open_backend("native", folder).generate([[bos]], replace(settings, strategy="beam"))
    with pytest.raises(UserError, match="on the CPU"):
        open_backend("native", folder, dtype="bf16")
