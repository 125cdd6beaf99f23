"""Likelihood tests: what is read and scored, numbers against a plain computation, batches, ties, intervals, parts."""

import importlib.util
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from spiritlm_tiny_lm import write_tiny_lm

from spire.decoding.vocabulary import open_vocabulary
from spire.errors import UserError
from spire.textfiles import write_jsonl
from spire.training.checkpoint import load_model
from spiritlm.evaluation.comprehension import measures_of, score_test_sets, share_of, verdicts
from spiritlm.evaluation.items import (
    Item,
    Segment,
    TestSet,
    check_pairs,
    pair,
    read_items,
    read_test_sets,
    write_test_set,
)
from spiritlm.evaluation.likelihood import open_scorer
from spiritlm.evaluation.measures import read_measures
from spiritlm.evaluation.sequences import Scored, Sequences
from spiritlm.lm.documents import Inputs, build
from spiritlm.lm.render import Renderer
from spiritlm.lm.spans import Limits
from spiritlm.lm.store import DocumentStore
from spiritlm.lm.vocabulary import Tokens
from spiritlm.model.content import OutputModality
from spiritlm.model.prompts import build_prompt
from spiritlm.unit_strings import units_to_string

PROJECT = Path(__file__).parents[2]
TEXT = Segment(text="the cat")
SPEECH = Segment(streams={"hubert": "1 1 2 3 3", "pitch": "5 5 4", "style": "3"})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("lm")
    return {name: write_tiny_lm(root / name, name == "expressive") for name in ("base", "expressive")}


@pytest.fixture(scope="module")
def scorer(folders):
    return open_scorer("native", folders["base"])


def spoken(rng, units=8):
    return Segment(streams={"hubert": " ".join(str(rng.randrange(20)) for _ in range(units))})


def test_set(pairs=12, seed=0, name="tsc", direction="s-t"):
    """Pairs behind text and speech, of endings of several lengths."""
    rng = random.Random(seed)
    items = []
    for n in range(pairs):
        context = [Segment(text="the gloves"), spoken(rng, rng.randrange(1, 20))]
        endings = [[Segment(text="now Simon" + " has more" * rng.randrange(1, 4))] for _ in range(2)]
        items += pair(f"p{n}", context, endings, group=f"g{n // 2}", subset=("a", "b")[n % 2])
    return TestSet(name, direction, tuple(items))


test_set.__test__ = False


def strings(sequences, item):
    found = sequences.of(item)
    piece = sequences.vocabulary.piece
    return "".join(map(piece, found.prompt)), "".join(map(piece, found.ending))


def test_the_ending_is_scored_and_the_marker_in_front_of_it_is_given(scorer):
    sequences = Sequences(scorer.vocabulary, "base")
    (item, _) = pair("p", [], [[SPEECH], [TEXT]])
    assert strings(sequences, item) == ("<s>▁[Speech]", "[Hu1][Hu2][Hu3]")
    (item, _) = pair("p", [TEXT], [[SPEECH], [TEXT]])
    assert strings(sequences, item) == ("<s>▁[Text]the▁cat[Speech]", "[Hu1][Hu2][Hu3]")
    (item, _) = pair("p", [TEXT, SPEECH], [[Segment(text="the cat")], [TEXT]])
    assert strings(sequences, item) == ("<s>▁[Text]the▁cat[Speech][Hu1][Hu2][Hu3][Text]", "the▁cat")
    (item, _) = pair("p", [TEXT], [[Segment(text=" sat")], [TEXT]])
    assert strings(sequences, item) == ("<s>▁[Text]the▁cat", "▁sat")
    # Two utterances: repeated units are dropped within each, as the tokenizer of an utterance does.
    (item, _) = pair("p", [SPEECH], [[Segment(streams={"hubert": "3 4"})], [TEXT]])
    assert strings(sequences, item) == ("<s>▁[Speech][Hu1][Hu2][Hu3]", "[Hu3][Hu4]")
    (item, _) = pair("p", [TEXT], [[Segment(text=" on"), SPEECH, TEXT], [TEXT]])
    assert strings(sequences, item)[1] == "▁on[Speech][Hu1][Hu2][Hu3][Text]the▁cat"


def test_ids_are_those_of_the_prompt(folders):
    for name, path in folders.items():
        vocabulary = open_scorer("native", path).vocabulary
        full = name == "expressive"
        item = Item("i", "i", True, (TEXT, SPEECH), (Segment(text="sat"),), "i")
        inputs = [("text", "the cat"), ("speech", SPEECH.streams), ("text", "sat")]
        prompt = build_prompt(inputs, OutputModality.ARBITRARY, lambda u, full=full: units_to_string(u, full, full))
        found = Sequences(vocabulary, name).of(item)
        assert [*found.prompt, *found.ending] == vocabulary.encode(prompt, bos=True)
        assert ("[Pi5]" in prompt) is full


def test_wrong_units_and_empty_endings_are_refused(folders):
    base = Sequences(open_scorer("native", folders["base"]).vocabulary, "base")
    expressive = Sequences(open_scorer("native", folders["expressive"]).vocabulary, "expressive")
    unknown = Segment(streams={"hubert": "1 21"})
    with pytest.raises(UserError, match=r"item i: the model has no \[Hu21\]"):
        base.of(Item("i", "i", True, (), (unknown,), "i"))
    with pytest.raises(UserError, match="item i: units without 'style'"):
        expressive.of(Item("i", "i", True, (), (Segment(streams={"hubert": "1"}),), "i"))
    with pytest.raises(UserError, match="item i: its ending has no tokens"):
        base.of(Item("i", "i", True, (TEXT,), (Segment(text=""),), "i"))


def plain(folder, sequence):
    """The log-likelihood by one pass over everything."""
    model = load_model(folder)
    ids = torch.tensor([[*sequence.prompt, *sequence.ending]])
    with torch.inference_mode():
        logprobs = model.logits(model.hidden(ids))[0].log_softmax(-1)
    first = len(sequence.prompt)
    return sum(float(logprobs[first - 1 + i, t]) for i, t in enumerate(sequence.ending))


def test_log_likelihoods_are_those_of_a_plain_pass(folders, scorer):
    sequences = [Sequences(scorer.vocabulary, "base").of(item) for item in test_set().items]
    found = scorer.logprobs(sequences)
    assert found == pytest.approx([plain(folders["base"], s) for s in sequences], rel=1e-5)
    assert max(found) < -1 and len(set(found)) > 12
    assert {s.opening for s in sequences} == {1}
    given = [Scored(s.prompt, s.ending) for s in sequences]
    assert scorer.logprobs(given) == pytest.approx(found, rel=1e-5)
    one = Scored(sequences[0].prompt, sequences[0].ending[:1])
    assert scorer.logprobs([one]) == pytest.approx([plain(folders["base"], one)], rel=1e-5)


def test_native_numbers_do_not_depend_on_what_else_is_scored(scorer):
    make = Sequences(scorer.vocabulary, "base").of
    # Behind the same context text and speech, of which the first has no marker in front of it.
    both = pair("p", [TEXT], [[Segment(text=" sat")], [SPEECH]])
    sequences = [make(item) for item in (*test_set().items, *both)]
    assert sequences[-1].context == sequences[-2].prompt and [s.opening for s in sequences[-3:]] == [1, 0, 1]
    together = scorer.logprobs(sequences)
    assert [scorer.logprobs([s])[0] for s in sequences] == together
    assert scorer.logprobs(sequences[::-1]) == together[::-1] and scorer.margin(-50.0) == 0.0


@pytest.mark.parametrize("tokens", [60, 100_000])
def test_transformers_agrees_whatever_the_batch(folders, scorer, tokens):
    pytest.importorskip("transformers")
    other = open_scorer("transformers", folders["base"], device="cpu", tokens=tokens)
    sequences = [Sequences(scorer.vocabulary, "base").of(item) for item in test_set().items]
    assert other.logprobs(sequences) == pytest.approx(scorer.logprobs(sequences), rel=1e-5)
    assert other.alone(sequences[0]) == pytest.approx(scorer.alone(sequences[0]), rel=1e-5)
    test = test_set()
    (mine,), (theirs,) = (score_test_sets([test], s, Sequences(s.vocabulary, "base")) for s in (scorer, other))
    by_token = [[score.per_token for score in scores] for scores in (mine, theirs)]
    assert verdicts(test.items, by_token[0]) == verdicts(test.items, by_token[1])


def test_close_pairs_are_scored_again_alone(scorer, monkeypatch):
    test = test_set(4)
    asked = []
    monkeypatch.setattr(type(scorer), "margin", lambda self, logprob: 1e9)
    monkeypatch.setattr(type(scorer), "alone", lambda self, s: asked.append(s) or -1.0)
    (scores,) = score_test_sets([test], scorer, Sequences(scorer.vocabulary, "base"))
    assert len(asked) == 8 and {s.logprob for s in scores} == {-1.0}


def test_verdicts_ties_groups_and_chance():
    two = pair("a", [], [[TEXT], [SPEECH]], group="w") + pair("b", [], [[TEXT], [SPEECH]], group="w", right=1)
    four = pair("c", [], [[TEXT]] * 4, right=3)
    assert verdicts([*two, *four], [-1.0, -2.0, -1.0, -1.0, -3.0, -3.0, -3.0, -2.0]) == ([0.75, 1.0], 0.375)
    assert verdicts(four, [-1.0, -1.0, -2.0, -1.0])[0] == [pytest.approx(1 / 3)]
    assert verdicts(four, [-1.0, -2.0, -2.0, -2.0])[0] == [0.0]


def test_measures_normalized_raw_and_of_subsets(scorer):
    test = test_set()
    (scores,) = score_test_sets([test], scorer, Sequences(scorer.vocabulary, "base"))
    found = {(m.test_set, m.metric): m for m in measures_of("base", test, scores, scorer.identity)}
    assert set(found) == {(n, m) for n in ("tsc", "tsc_a", "tsc_b") for m in ("accuracy", "accuracy_raw")}
    whole, part = found["tsc", "accuracy"], found["tsc_a", "accuracy_raw"]
    assert whole.n == 6 and whole.direction == "s-t" and whole.ci_low <= whole.value <= whole.ci_high
    assert "by:tokens" in whole.signature and "chance:50.0" in whole.signature and "pairs:12" in whole.signature
    assert "by:sum" in part.signature and "pairs:6" in part.signature
    raw = [s.logprob for s in scores]
    assert found["tsc", "accuracy_raw"].value == pytest.approx(100 * sum(verdicts(test.items, raw)[0]) / 6)
    normal = [s.logprob / s.tokens for s in scores]
    assert whole.value == pytest.approx(100 * sum(verdicts(test.items, normal)[0]) / 6)
    assert raw != normal and max(s.tokens for s in scores) > min(s.tokens for s in scores)


def test_a_context_that_is_too_long_is_an_error_or_loses_examples(folders, tmp_path):
    small = open_scorer("native", write_tiny_lm(tmp_path / "small", positions=40))
    shots = [Segment(text=f" question {n} answer" * 3) for n in range(4)]
    items = pair("q", [Segment(text="heading"), *shots, Segment(text=" the question")], [[Segment(text=" A")]] * 2)
    sequences, test = Sequences(small.vocabulary, "small"), TestSet("mmlu", "t-t", tuple(items))
    with pytest.raises(UserError, match="item q.0 has .* tokens, the model has 40 positions") as e:
        score_test_sets([test], small, sequences)
    assert "--fit" in e.value.hint
    (scores,) = score_test_sets([test], small, sequences, fit=True)
    assert [s.dropped for s in scores] == [4, 4] or 0 < scores[0].dropped < 4
    assert "shortened:2" in measures_of("m", test, scores, small.identity)[0].signature
    huge = pair("q", [Segment(text="heading" * 60)], [[Segment(text=" A")]] * 2)
    with pytest.raises(UserError, match="has .* tokens, the model has 40 positions"):
        score_test_sets([TestSet("mmlu", "t-t", tuple(huge))], small, sequences, fit=True)


def test_items_survive_their_file(tmp_path):
    test = test_set()
    path = write_test_set(tmp_path, test)
    assert path.name == "tsc.s-t.jsonl" and read_items(path) == test.items
    assert read_test_sets(tmp_path, ["tsc"]) == read_test_sets(tmp_path, ["tsc.s-t"]) == [test]
    with pytest.raises(UserError, match="no test set 'wuggy'"):
        read_test_sets(tmp_path, ["wuggy"])
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="no test sets"):
        read_test_sets(tmp_path / "other")


GOOD = {"id": "a", "pair": "p", "right": True, "context": [], "ending": [{"text": "a"}]}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"right": 1}, "`right` is 1"),
        ({"ending": []}, "no ending"),
        ({"ending": "a"}, "expected a list of segments"),
        ({"context": [{"audio": "a.wav"}]}, "a segment is"),
        ({"context": [{"streams": {"hubert": " "}}]}, "a segment is"),
        ({"pair": ""}, "expected id, pair"),
        ({"more": 1}, "expected id, pair"),
        ({"subset": "a b"}, "subset 'a b'"),
    ],
)
def test_malformed_items_are_named(tmp_path, change, match):
    path = tmp_path / "x.t-t.jsonl"
    path.write_text(json.dumps(GOOD | change) + "\n")
    with pytest.raises(UserError, match=match) as e:
        read_items(path)
    assert "x.t-t.jsonl: item 1" in str(e.value)


def test_pairs_have_one_right_candidate():
    for wrong, match in (
        ([], "no items"),
        (pair("a", [], [[TEXT]]), "1 candidates"),
        (pair("a", [], [[TEXT], [TEXT]], right=5), "0 of them right"),
        (
            pair("a", [], [[TEXT], [TEXT]])[:1] + pair("b", [], [[TEXT], [TEXT]]) + pair("a", [], [[TEXT]] * 2)[1:],
            "two places",
        ),
        (pair("a", [], [[TEXT], [TEXT]]) * 2, "occurs twice"),
    ):
        with pytest.raises(UserError, match=match):
            check_pairs(wrong, "here")


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, PROJECT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parts_give_the_measures_of_the_whole(folders, tmp_path):
    script = load_script("spiritlm_comprehension")
    items = tmp_path / "items"
    items.mkdir()
    for test in (test_set(), test_set(1, name="sc", direction="t-s")):
        write_test_set(items, test)
    common = ["--items", str(items), "--name", "base"]
    model = ["--model", str(folders["base"])]
    script.main([*common, *model, "--scores", str(tmp_path / "scores"), "--out", str(tmp_path / "whole")])
    for i in (1, 2):
        script.main([*common, *model, "--part", f"{i}/2", "--scores", str(tmp_path / f"scores{i}")])
    parts = [str(tmp_path / f"scores{i}") for i in (1, 2)]
    script.main([*common, "--join", *parts, "--out", str(tmp_path / "joined")])
    assert read_measures(tmp_path / "joined") == read_measures(tmp_path / "whole")
    for wrong, match in (([parts[0]], "give every part once"), ([parts[0], parts[0]], "give every part once")):
        with pytest.raises(UserError) as e:
            script.main([*common, "--join", *wrong, "--out", str(tmp_path / "no")])
        assert match in f"{e.value} {e.value.hint}"
    record = tmp_path / "scores2" / "scores.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"model": "another"}))
    with pytest.raises(UserError, match="different models"):
        script.main([*common, "--join", *parts, "--out", str(tmp_path / "no")])
    with pytest.raises(UserError, match="for a part"):
        script.main([*common, *model, "--part", "1/2", "--out", str(tmp_path / "no")])
    assert not (tmp_path / "no").exists()
    assert [len(share_of(test_set(5), i, 3).items) for i in (1, 2, 3)] == [4, 4, 2]


def test_ids_are_those_that_a_model_is_trained_with(folders, tmp_path):
    """An item of text and speech in turn, against the rows that interleaved training makes of the same story."""
    words = ["now", "Simon", "has", "more", "gloves"]
    units = [n % 19 for n in range(25)]
    write_jsonl(tmp_path / "s.jsonl", [{"id": "a", "hubert": " ".join(map(str, units))}])
    times = [[word, n / 4.998, (n + 1) / 4.998] for n, word in enumerate(words)]  # five units each
    write_jsonl(tmp_path / "w.jsonl", [{"id": "a", "words": times}])
    vocabulary = open_vocabulary(folders["base"])
    build(Inputs(tmp_path / "s.jsonl", tmp_path / "w.jsonl"), vocabulary, tmp_path / "documents")
    document = DocumentStore(tmp_path / "documents")[0]
    renderer = Renderer(Tokens.of(vocabulary), 256, Limits((2, 2), (2, 2)))
    rows = {tuple(renderer.rows(document, "interleaved", np.random.default_rng(n))[0].tolist()) for n in range(9)}
    make = Sequences(vocabulary, "base").of
    found = []
    for first in (0, 1):  # text comes first, or speech
        segments = []
        for number, (a, b) in enumerate(((0, 2), (2, 4), (4, 5))):
            spoken = Segment(streams={"hubert": " ".join(map(str, units[5 * a : 5 * b]))})
            segments.append(spoken if (number + first) % 2 else Segment(text=" ".join(words[a:b])))
        item = make(Item("i", "i", True, tuple(segments[:2]), tuple(segments[2:]), "i"))
        found.append((*item.prompt, *item.ending, vocabulary.eos))
    assert set(found) == rows
