"""Greedy answers do not depend on company; jobs, cascades and pseudo labels come out line by line."""

import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from spire.corpora.jobs import make_style, write_jobs  # noqa: E402
from spire.decoding import pseudo  # noqa: E402
from spire.decoding.greedy import _cluster, greedy  # noqa: E402
from spire.decoding.pseudo import Label, distribution, keep_best  # noqa: E402
from spire.errors import UserError  # noqa: E402
from spire.manifest import Utterance  # noqa: E402
from spire.training.checkpoint import new_directory, new_model, write_model  # noqa: E402
from spire.training.llama import LlamaShape  # noqa: E402
from spire.vocabulary.extend import extend_model, extended_layout, unit_pieces  # noqa: E402
from spire.vocabulary.proto import read_pieces  # noqa: E402
from spire.vocabulary.tokenizer import Vocabulary  # noqa: E402
from spire.vocabulary.train import train_model  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import decode_run  # noqa: E402
import pseudo_label  # noqa: E402

SENTENCES = ["the cat sat on the mat", "fünf kleine Blumen", "les fleurs à l'école", "hello world again"] * 5


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    model = train_model(SENTENCES, 320)
    bigger, added = extend_model(model, unit_pieces(10))
    return Vocabulary(bigger, extended_layout(len(read_pieces(model)), added))


@pytest.fixture(scope="module")
def model(vocabulary):
    torch.set_num_threads(1)
    return new_model(LlamaShape(vocabulary.padded_size, 32, 2, 4, 48, initializer_range=0.3), seed=4)


@pytest.fixture(scope="module")
def prompts(vocabulary) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    out = []
    for n in (1, 2, 5, 30, 31, 40, 12, 7):
        ids = torch.randint(3, vocabulary.size, (n,), generator=generator).tolist()
        # Some prompts share a long beginning, as one utterance asked for three languages does.
        out += [[vocabulary.bos, *ids], [vocabulary.bos, *ids, 9, 8, 7], [vocabulary.bos, *ids, 9, 8, 6]]
    return [*out, out[0]]


def simple(model, prompt: list[int], stop: set[int], max_new: int, size: int) -> tuple[list[int], bool]:
    """One prompt, no cache, no batch."""
    ids = list(prompt)
    for _ in range(max_new):
        logits = model.logits(model.hidden(torch.tensor([ids]))[:, -1])[0, :size]
        token = int(logits.argmax())
        if token in stop:
            return ids[len(prompt) :], True
        ids.append(token)
    return ids[len(prompt) :], False


def test_answers_are_those_of_one_prompt_at_a_time(model, vocabulary, prompts):
    with torch.no_grad():
        stop = {simple(model, prompts[3], set(), 6, vocabulary.size)[0][-1], vocabulary.eos}
        expected = [simple(model, p, stop, 12, vocabulary.size) for p in prompts]
    got = greedy(model, prompts, stop, 12, vocabulary.size)
    assert [(list(a.ids), a.finished) for a in got] == expected
    assert any(a.finished for a in got) and any(not a.finished for a in got)


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_batch_size_and_order_do_not_matter(model, vocabulary, prompts, rows):
    expected = greedy(model, prompts, {vocabulary.eos}, 10, vocabulary.size, rows=128)
    backwards = greedy(model, prompts[::-1], {vocabulary.eos}, 10, vocabulary.size, rows=rows)[::-1]
    assert [a.ids for a in backwards] == [a.ids for a in expected]
    assert [a.logprob for a in backwards] == pytest.approx([a.logprob for a in expected], abs=1e-3)


def test_shared_beginnings_are_found(prompts):
    unique = sorted({tuple(p) for p in prompts})
    clusters = _cluster(unique, 128)
    assert sum(len(c.members) for c in clusters) == len(unique) and any(len(c.members) == 3 for c in clusters)
    for c in clusters:
        assert len({unique[m][: c.shared] for m in c.members}) == 1 and all(
            len(unique[m]) > c.shared for m in c.members
        )


def test_padding_rows_of_the_vocabulary_are_never_chosen(model, prompts):
    assert all(max(a.ids) < 20 for a in greedy(model, prompts, set(), 5, vocabulary_size=20))


def test_no_prompts_and_empty_prompts(model):
    assert greedy(model, [], {1}, 5) == []
    with pytest.raises(UserError, match="prompt 1 is empty"):
        greedy(model, [[1], []], {1}, 5)


@pytest.fixture(scope="module")
def place(tmp_path_factory, model, vocabulary) -> Path:
    """A model directory, prompts of a speech test set with one unreadable utterance, and a manifest."""
    folder = tmp_path_factory.mktemp("decoding")
    with new_directory(folder / "model") as made:
        write_model(model, vocabulary, made, vocabulary.im_end)
    fields = {"audio": "a.wav", "start": 0.0, "duration": 1.0, "lang": "en", "speaker": "x"}
    rows = [
        {"id": str(i), "text": t, "translations": {"de": "fünf", "fr": "les fleurs"} if i < 2 else {}} | fields
        for i, t in enumerate(["the cat sat", "hello world", "the mat", "hello again", "the mat"])
    ]
    (folder / "seen.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    pieces = unit_pieces(10)
    (folder / "seen.units").write_text("".join("".join(pieces[: n * 2]) + "\n" for n in (3, 0, 4, 2, 5)), "utf-8")
    style = make_style("chat")
    modes = ["asr", "st", "cascade", "gold"]
    write_jobs(folder / "prompts", style, {"seen": folder / "seen.jsonl"}, folder, None, ["de", "fr"], modes, 1)
    return folder


def decode(place: Path, out: str, *more: str) -> Path:
    flags = ["--model", place / "model", "--prompts", place / "prompts", "--out", place / out, "--max-new-tokens", "6"]
    decode_run.main([*map(str, flags), *more])
    return place / out


def test_all_jobs_of_a_model(place):
    out = decode(place, "all")
    names = {"asr.seen.en-en", *(f"{m}.seen.en-{t}" for m in ("st", "cascade", "gold") for t in ("de", "fr"))}
    assert {p.stem for p in out.glob("*.txt")} == names
    for path in out.glob("*.txt"):
        assert path.read_text("utf-8").count("\n") == 5
    assert (out / "asr.seen.en-en.txt").read_text("utf-8").split("\n")[1] == "", "no units, no words"
    record = json.loads((out / "decoding.json").read_text("utf-8"))
    assert record["settings"] == {"strategy": "greedy", "max_new_tokens": 6, "precision": "fp32", "style": "chat"}
    assert record["jobs"]["asr.seen.en-en"]["empty"] == 1 and set(record["jobs"]) == names
    again = decode(place, "again", "--rows", "2")
    for path in out.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_some_jobs_a_cascade_alone_and_a_limit(place):
    out = decode(place, "some", "--jobs", "cascade,st.seen.en-de", "--limit", "3")
    assert {p.stem for p in out.glob("*.txt")} == {"cascade.seen.en-de", "cascade.seen.en-fr", "st.seen.en-de"}
    whole = (decode(place, "whole") / "cascade.seen.en-de.txt").read_text("utf-8").split("\n")
    assert (out / "cascade.seen.en-de.txt").read_text("utf-8").split("\n")[:3] == whole[:3]


def test_unknown_jobs_and_missing_prompts(place):
    with pytest.raises(UserError, match="no decoding job 'shuffled'") as caught:
        decode(place, "bad", "--jobs", "shuffled")
    assert "asr" in caught.value.hint and not (place / "bad").exists()
    with pytest.raises(UserError, match="no jobs.json"):
        decode_run.main(["--model", str(place / "model"), "--prompts", str(place), "--out", str(place / "bad")])


def test_pseudo_labels_from_the_command_line(place, capsys):
    out = place / "pseudo.jsonl"
    flags = ["--model", place / "model", "--manifest", place / "seen.jsonl", "--targets", "de", "--keep-share", "1"]
    pseudo_label.main([*map(str, flags), "--max-new-tokens", "9", "--out", str(out)])
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [r["id"] for r in rows] == ["2", "3", "4"] and all(0 <= r["score"] <= 1 for r in rows)
    assert rows[0]["text"] == rows[2]["text"], "the same transcript twice"
    with pytest.raises(UserError, match="keep-share"):
        pseudo_label.main([*map(str, flags[:-1]), "1.5", "--out", str(out)])


def test_only_missing_translations_are_made():
    def spoken(i, lang="en", **translations):
        return Utterance(id=str(i), audio="a", duration=1.0, lang=lang, text=f"text {i}", translations=translations)

    given = [spoken(0), spoken(1, de="da"), spoken(2, fr="là"), spoken(3, lang="de"), spoken(4, de=" ")]
    assert pseudo.untranslated(given, "de") == [("0", "text 0"), ("2", "text 2"), ("4", "text 4")]


def test_entropies_are_those_of_the_answer_tokens(model, vocabulary):
    pairs = [("English: the cat\nGerman:", "fünf"), ("German: a\nEnglish:", "hello world again")]
    got = pseudo.answer_entropies(model, vocabulary, pairs)
    for (prompt, answer), value in zip(pairs, got, strict=True):
        ids = vocabulary.encode(f"{prompt} {answer}", bos=True) + [vocabulary.eos]
        n = len(vocabulary.encode(prompt, bos=True))
        with torch.no_grad():
            logp = model.logits(model.hidden(torch.tensor([ids[:-1]])))[0].log_softmax(-1)
        exact = -sum(logp[i - 1, ids[i]].item() for i in range(n, len(ids))) / (len(ids) - n)
        assert value == pytest.approx(exact, rel=0.03), "bfloat16 where the CPU has it"
    assert pseudo.translate(model, vocabulary, [], "de", 5, 8) == []


def test_the_best_share_is_kept_in_order():
    labels = [Label(str(i), "de", "x", s, 0.0, 0.0) for i, s in enumerate([0.5, 0.9, 0.1, 0.9, 0.7])]
    assert [x.id for x in keep_best(labels, 0.6, 0.0)] == ["1", "3", "4"]
    assert [x.id for x in keep_best(labels, 1.0, 0.6)] == ["1", "3", "4"]
    assert [x.id for x in keep_best(labels, 0.2, 0.0)] == ["1"], "ties go to the earlier"
    assert distribution(labels)["median"] == 0.7 and distribution(labels)["min"] == 0.1
