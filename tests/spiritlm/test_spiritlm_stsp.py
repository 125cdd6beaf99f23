"""STSP in its true layout: the item is in its prompt, examples are balanced, missing ids are wrong, classifiers."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from spiritlm_checkpoints import write_vocoder
from spiritlm_goldens import golden, weights
from spiritlm_tiny_lm import write_tiny_lm
from test_spiritlm_generation import run

from spire.audio import write_wav
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest, write_manifest
from spire.textfiles import read_jsonl, write_jsonl
from spiritlm.evaluation.measures import read_measures
from spiritlm.generation.ranks import Ranks
from spiritlm.generation.streams import read_spoken
from spiritlm.generation.voice import Voice
from spiritlm.generation.writer import Writer, Written
from spiritlm.stsp import classify
from spiritlm.stsp.classify import SpeechClassifier, TextClassifier
from spiritlm.stsp.data import from_styles, prepare, read_items, read_shots, sentiment_of
from spiritlm.stsp.generate import Setup, generate, write_generations
from spiritlm.stsp.prompts import chosen, examples, prompt, question
from spiritlm.stsp.score import accuracy, correct

PROJECT = Path(__file__).parents[2]
EMOTIONS = ["happy", "amused", "sad", "angry", "default", "neutral"]
SENTIMENT = ["positive", "positive", "negative", "negative", "neutral", "neutral"]


@pytest.fixture
def published(tmp_path):
    """stsp_data as it is published: audio, a manifest with three splits, few-shot files."""
    root = tmp_path / "stsp_data"
    (root / "manifest" / "few_shot").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for i, (emotion, sentiment) in enumerate(zip(EMOTIONS, SENTIMENT, strict=True)):
        name = f"EMOV/sam/{emotion}_{i}.wav"
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(root / "data" / name, rng.normal(0, 0.1, 16_000).astype(np.float32))
        row = {"id": i, "emotion": emotion, "sentiment": sentiment, "wav_path": name, "split": "test", "speaker": "sam"}
        rows += [row | {"asr": f"the cat sat on {emotion}"}, row | {"id": 100 + i, "split": "train"}]
    write_jsonl(root / "manifest" / "EMOV.jsonl", rows)
    shots = [{"prompt": r["wav_path"], "generation": r["wav_path"], "sentiment": r["sentiment"]} for r in rows[::2]]
    write_jsonl(root / "manifest" / "few_shot" / "s2s.jsonl", shots)
    texts = [{"prompt": f"p {i}", "generation": f"g {i}", "sentiment": s} for i, s in enumerate(SENTIMENT)]
    write_jsonl(root / "manifest" / "few_shot" / "t2t.jsonl", texts)
    return root


@pytest.fixture
def made(published, tmp_path):
    """The benchmark as the steps read it, with made-up units."""
    few = {d: published / "manifest" / "few_shot" / f"{n}.jsonl" for d, n in (("s-s", "s2s"), ("t-t", "t2t"))}
    prepare(published / "data", published / "manifest" / "EMOV.jsonl", tmp_path / "emov", "test", few)
    rows = [
        {"id": u.id, "hubert": " ".join(str((k + j) % 20) for j in range(24))}
        for k, u in enumerate(read_manifest(tmp_path / "emov" / "manifest.jsonl"))
    ]
    write_jsonl(tmp_path / "streams.jsonl", rows)
    return tmp_path / "emov"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    return write_tiny_lm(tmp_path_factory.mktemp("lm") / "model")


def spoken_of(made):
    return {s.id: s for s in read_spoken(made / "manifest.jsonl", made.parent / "streams.jsonl")}


def test_the_published_layout_is_read(made, published, tmp_path):
    items = read_items(made)
    assert [i.id for i in items] == list("012345") and [i.sentiment for i in items] == SENTIMENT
    assert len(read_shots(made, "s-s")) == len(read_shots(made, "t-t")) == 6 and not read_shots(made, "t-s")
    utterances = read_manifest(made / "manifest.jsonl")
    assert len(utterances) == 12 and all(u.audio_path.is_file() and u.duration == 1.0 for u in utterances)
    manifest = published / "manifest" / "EMOV.jsonl"
    for change, message in (
        ({"wav_path": "no.wav"}, "no such audio"),
        ({"emotion": "bored"}, "no emotion"),
        ({"sentiment": "negative"}, "contradict"),
        ({"id": 1}, "twice"),
        ({"wav_path": None}, "no 'wav_path'"),
    ):
        rows = read_jsonl(manifest)
        write_jsonl(tmp_path / "wrong.jsonl", [rows[0] | change, *rows[1:]])
        with pytest.raises(UserError, match=message):
            prepare(published / "data", tmp_path / "wrong.jsonl", tmp_path / "none")
    with pytest.raises(UserError, match="no line of the split"):
        prepare(published / "data", manifest, tmp_path / "none", "dev")
    assert not (tmp_path / "none").exists()


def test_examples_are_balanced_and_the_item_is_in_its_prompt(made):
    items, spoken = read_items(made), spoken_of(made)
    shots = read_shots(made, "s-s")
    for count, each in ((3, 1), (6, 2)):
        drawn = chosen(shots, count, seed=1)
        assert sorted(s.sentiment for s in drawn) == sorted(["positive", "negative", "neutral"] * each)
        assert drawn == chosen(shots, count, seed=1)
    assert chosen(shots, 0, 1) == [] and len({str(chosen(shots, 6, s)) for s in range(5)}) > 1
    with pytest.raises(UserError, match="3 are wanted"):
        chosen(shots, 9, 1)
    solved = examples(chosen(shots, 3, 1), spoken, False)
    own = question(items[4], spoken, "s-s", False)
    assert own == "[Speech]" + spoken["4"].string(False)  # the marker of what is wanted is there already
    whole, dropped = prompt(solved, own, lambda text: True)
    assert whole == "\n".join(solved) + "\n" + own and dropped == 0 and whole.count("\n") == 3
    for one in solved:
        before, after = one.split("[Speech]")[1:]
        assert before.count("[Hu") == after.count("[Hu") == 12
    assert prompt(solved, own, lambda text: text.count("\n") < 2) == (f"{solved[2]}\n{own}", 2)
    assert question(items[0], spoken, "t-s", False) == "[Text]the cat sat on happy[Speech]"
    assert question(items[0], spoken, "s-t", False).endswith("[Text]")
    texts = examples(read_shots(made, "t-t")[:1], spoken, False)
    assert texts == ["[Text]p 0[Text]g 0"]
    with pytest.raises(UserError, match="no text"):
        question(items[0].__class__("x", "neutral", " "), spoken, "t-t", False)


class Stubborn:
    """Stands for a writer: writes nothing for item 2 at first, and never anything for item 3."""

    ids = type("ids", (), {"expressive": False})
    identity, folder = {}, Path("model")

    def __init__(self):
        self.asked = []

    def fits(self, text, limit):
        return True

    def write(self, prompts, modality, seed, **how):
        self.asked.append((seed, list(prompts)))
        first = seed < 1_000_000
        return [Written("" if "sad" in p and first or "angry" in p else "[Text]x", 1, True) for p in prompts]


def test_what_came_to_nothing_is_tried_again(made, tmp_path):
    writer, setup = Stubborn(), Setup("t-t", runs=2, max_new=5)
    rows = generate(writer, read_items(made), [], {}, setup, tmp_path / "out")
    assert [(r["id"], r["run"]) for r in rows] == [(i, run) for run in (0, 1) for i in "012345"]
    assert [r["tries"] for r in rows] == [1, 1, 2, 3, 1, 1] * 2 and [bool(r["written"]) for r in rows[2:4]] == [1, 0]
    assert [len(prompts) for _, prompts in writer.asked] == [6, 2, 1] * 2
    assert len({seed for seed, _ in writer.asked}) == 6


def test_runs_do_not_depend_on_the_number_of_processes(made, model, tmp_path):
    writer, spoken = Writer(model), spoken_of(made)
    setup = Setup("s-s", shots=3, runs=2, max_new=8)
    arguments = (writer, read_items(made), read_shots(made, "s-s"), spoken, setup)
    whole = generate(*arguments, tmp_path / "one")
    assert {r["dropped_shots"] for r in whole} == {0} and whole[0]["written"] != whole[6]["written"]
    assert generate(*arguments, tmp_path / "two", Ranks(1, 2)) is None
    assert generate(*arguments, tmp_path / "two", Ranks(0, 2)) == whole


def test_parts_of_another_model_in_the_same_place_are_not_kept(made, model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    part, found = tmp_path / "out.parts" / "part.00002-of-00002.json", []
    for changed in (False, True):
        if changed:
            weights = tmp_path / "model" / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-2] + b"\x01\x02")
        arguments = (Writer(tmp_path / "model"), read_items(made), [], spoken_of(made), Setup("s-s", max_new=4))
        assert generate(*arguments, tmp_path / "out", Ranks(1, 2)) is None
        found.append(json.loads(part.read_text())["of"])
    assert found[0] != found[1]


def test_missing_ids_are_wrong(made):
    items = read_items(made)
    rows = [{"id": 0, "pred": "amused"}, {"id": "1", "pred": "negative"}, {"id": "4", "pred": "Neutral"}]
    values, missing = correct(items, rows, "here")
    assert values == [100, 0, 0, 0, 100, 0] and missing == ["2", "3", "5"]
    measure, absent = accuracy("base", "emov", {"direction": "s-s", "shots": 6}, items, [rows, rows[:1]])
    assert measure.value == pytest.approx(25.0) and measure.n == 6 and measure.stem == "stsp.emov_6shot.s-s.accuracy"
    assert absent == ["0.2", "0.3", "0.5", "1.1", "1.2", "1.3", "1.4", "1.5"] and "missing:8" in measure.signature
    for wrong in ([*rows, rows[0]], [{"id": 77, "pred": "sad"}]):
        with pytest.raises(UserError, match="twice|no item"):
            correct(items, wrong, "here")


def write_classifier(folder, labels):
    """The golden style classifier with other labels."""
    folder.mkdir()
    count = len(weights("style-tiny")["classifier.weight"])
    names = {"id2label": {str(i): labels[i % len(labels)] for i in range(count)}}
    (folder / "config.json").write_text(json.dumps(golden()["style"]["config"] | names))
    torch.save(weights("style-tiny"), folder / "pytorch_model.bin")
    return folder


def test_speech_is_classified_by_the_votes_of_its_seconds(tmp_path):
    labels = ["happy.0", "sad.0", "neutral.0", "happy.1"]
    classifier = SpeechClassifier(write_classifier(tmp_path / "style", labels))
    wav = np.random.default_rng(1).normal(0, 0.1, 50_000).astype(np.float32)
    votes = [labels[i % 4].split(".")[0] for i in classifier._model.units(wav)]
    assert classifier.of_samples(wav) == sentiment_of(max(votes, key=votes.count), "")
    assert classifier.of_samples(wav[:300]) == ""
    (tmp_path / "style" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="names no labels"):
        SpeechClassifier(tmp_path / "style")


@pytest.mark.slow
def test_classifiers_of_transformers(tmp_path):
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        RobertaConfig,
        RobertaForSequenceClassification,
        Wav2Vec2Config,
        Wav2Vec2ForSequenceClassification,
    )

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    named = {"id2label": {0: "Negative", 1: "Neutral", 2: "POSITIVE"}}
    RobertaForSequenceClassification(RobertaConfig(vocab_size=6, **small, **named)).save_pretrained(tmp_path / "text")
    inner = Tokenizer(models.WordLevel({"a": 0, "b": 1, "<unk>": 2}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>").save_pretrained(tmp_path / "text")
    assert set(TextClassifier(tmp_path / "text").of(["a b", "b"])) <= {"negative", "neutral", "positive"}
    config = Wav2Vec2Config(conv_dim=(8, 8), conv_stride=(5, 64), conv_kernel=(10, 64), **small)
    config.num_feat_extract_layers, config.id2label = 2, {0: "happy", 1: "angry", 2: "sad", 3: "default"}
    model = Wav2Vec2ForSequenceClassification(config)
    model.save_pretrained(tmp_path / "speech")
    wav = np.random.default_rng(1).normal(0, 0.1, 50_000).astype(np.float32)
    ours = torch.from_numpy((wav - wav.mean()) / np.sqrt(wav.var() + 1e-7))[None]
    with torch.inference_mode():
        label = config.id2label[int(model.eval()(ours).logits.argmax())]
    assert SpeechClassifier(tmp_path / "speech").of_samples(wav) == sentiment_of(label, "")


def test_from_styled_speech_to_measures(model, tmp_path):
    rng = np.random.default_rng(0)
    place = tmp_path / "speech"
    (place / "audio").mkdir(parents=True)
    styles = ["neutral", "happy", "sad", "angry"] * 3
    for i, _ in enumerate(styles):
        write_wav(place / "audio" / f"{i}.wav", rng.normal(0, 0.1, 16_000).astype(np.float32))
    rows = [
        Utterance(f"t{i}", f"audio/{i}.wav", 1.0, "en", "the cat", "a", extra={"style": s})
        for i, s in enumerate(styles)
    ]
    write_manifest(place / "manifest.jsonl", rows)
    write_manifest(place / "dev.jsonl", rows[:4])
    run(
        "spiritlm_stsp_data.py",
        "--styles",
        place / "manifest.jsonl",
        "--dev",
        place / "dev.jsonl",
        "--limit",
        3,
        "--out",
        tmp_path / "styles",
    )
    items = read_items(tmp_path / "styles")
    assert sorted(i.sentiment for i in items) == ["negative"] * 3 + ["neutral"] * 3 + ["positive"] * 3
    write_jsonl(tmp_path / "streams.jsonl", [{"id": u.id, "hubert": "1 2 3 4 5 6"} for u in rows])
    flags = ["--model", model, "--stsp", tmp_path / "styles", "--shots", 3, "--speech"]
    flags += [
        f"{place / 'manifest.jsonl'},{tmp_path / 'streams.jsonl'}",
        "--vocoder",
        write_vocoder(tmp_path / "voice"),
    ]
    flags += ["--max-new", 8, "--temperature", 0.8, "--top-p", 0.95]
    run("spiritlm_stsp_generate.py", *flags, "--out", tmp_path / "generated")
    generated = read_jsonl(tmp_path / "generated" / "generations.jsonl")
    assert len(generated) == 9 and len(read_manifest(tmp_path / "generated" / "manifest.jsonl")) == 9
    classifier = write_classifier(tmp_path / "style", ["happy.0", "sad.0", "neutral.0", "happy.1"])
    flags = ["--stsp", tmp_path / "styles", "--generations", tmp_path / "generated", "--speech-classifier", classifier]
    told = run(
        "spiritlm_stsp_score.py",
        *flags,
        "--prompts",
        "--name",
        "base",
        "--test-set",
        "styles",
        "--out",
        tmp_path / "scored",
    )
    assert "prompt_classifier" in told
    (measure,) = read_measures(tmp_path / "scored" / "measures")
    assert (measure.stem, measure.n) == ("stsp.styles_3shot.s-s.accuracy", 9)
    predicted = read_jsonl(tmp_path / "scored" / "predictions" / "s-s.0.jsonl")
    short = (tmp_path / "scored" / "missing.txt").read_text().splitlines()
    assert len(predicted) + len([line for line in short if line.startswith("base")]) == 9
    assert {tuple(sorted(row)) for row in predicted} <= {("generation", "id", "pred")}


def test_examples_that_were_left_out_are_said(made, tmp_path):
    rows = [{"id": "0", "run": 0, "written": "x", "tries": 1, "dropped_shots": n} for n in (2, 1)]
    write_generations(tmp_path / "x", rows, Setup("t-t", shots=3), None)
    setup = json.loads((tmp_path / "x" / "setup.json").read_text())
    measure, _ = accuracy("base", "emov", setup, read_items(made), [[]])
    assert "|dropped_shots:3" in measure.signature
    assert "dropped" not in accuracy("base", "emov", setup | {"dropped_shots": 0}, read_items(made), [[]])[0].signature


def test_prompts_without_text_are_not_read(made, tmp_path, monkeypatch):
    """A benchmark of recordings has no written prompts: there is nothing that a text classifier gets wrong."""
    spec = importlib.util.spec_from_file_location("step", PROJECT / "scripts/spiritlm_stsp_score.py")
    step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(step)
    fake = type("Fake", (), {"__init__": lambda *_: None, "of": lambda self, texts: ["neutral"] * len(texts)})
    monkeypatch.setattr(classify, "SpeechClassifier", fake)
    monkeypatch.setattr(classify, "TextClassifier", fake)
    flags = ["--speech-classifier", "s", "--text-classifier", "t", "--prompts", "--name", "base", "--test-set", "emov"]
    write_jsonl(tmp_path / "p.jsonl", [{"id": item.id, "pred": "sad"} for item in read_items(made)])
    flags += ["--predictions", f"s-s={tmp_path / 'p.jsonl'}"]
    for texts, directions in ((True, ["s-s", "t-t"]), (False, ["s-s"])):
        stsp = tmp_path / f"stsp{texts}"
        shutil.copytree(made, stsp)
        items = [vars(item) | ({} if texts else {"text": ""}) for item in read_items(made)]
        write_jsonl(stsp / "items.jsonl", items)
        assert step.main(["--stsp", str(stsp), *flags, "--out", str(tmp_path / f"out{texts}")]) == 0
        measures = read_measures(tmp_path / f"out{texts}" / "measures_prompts")
        assert [m.direction for m in measures] == directions and {m.model for m in measures} == {"prompt_classifier"}


def test_a_few_of_each_sentiment_are_spread_over_the_speech(tmp_path):
    styles = [style for story in range(8) for style in ["happy", "sad"][story % 2 : story % 2 + 1] * 4]
    rows = [Utterance(f"{n}", "a.wav", 1.0, "en", "", extra={"style": style}) for n, style in enumerate(styles)]
    write_manifest(tmp_path / "m.jsonl", rows)
    for limit, ids in ((2, [0, 4, 16, 20]), (99, list(range(32))), (0, list(range(32)))):
        from_styles(tmp_path / "m.jsonl", tmp_path / "made", limit=limit)
        assert [row["id"] for row in read_jsonl(tmp_path / "made" / "manifest" / "styles.jsonl")] == ids


def test_speech_needs_a_voice_and_drawn_tokens(made, model, tmp_path):
    with pytest.raises(UserError, match="ends in speech"):
        write_generations(tmp_path / "x", [], Setup("t-s"), None)
    voice = Voice(write_vocoder(tmp_path / "vocoder"))
    write_generations(tmp_path / "x", [{"id": "1", "run": 0, "written": ""}], Setup("t-s"), voice)
    assert "audio" not in read_jsonl(tmp_path / "x" / "generations.jsonl")[0]
    for wrong in ({"direction": "x-s"}, {"runs": 0}):
        with pytest.raises(UserError):
            Setup(**wrong)
    with pytest.raises(UserError, match="bored"):
        write_manifest(tmp_path / "m.jsonl", [Utterance("a", "a.wav", 1.0, "en", "", extra={"style": "bored"})])
        from_styles(tmp_path / "m.jsonl", tmp_path / "y")
