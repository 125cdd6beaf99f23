"""Batches, schedules and whole small runs through the command lines."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from spire.errors import UserError  # noqa: E402
from spire.training.data import NO_LOSS, TEXT_LOSS, UNIT_LOSS, batches, order, tokenize  # noqa: E402
from spire.training.log import read_jsonl  # noqa: E402
from spire.training.schedule import SHAPES, rate  # noqa: E402
from spire.vocabulary.embeddings import extend_directory  # noqa: E402
from spire.vocabulary.tokenizer import Vocabulary  # noqa: E402
from spire.vocabulary.train import train_model  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import train_base  # noqa: E402
import train_cpt  # noqa: E402
import train_it  # noqa: E402

WORDS = ["the", "red", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "big", "dogs", "near", "my", "old", "house"]
UNITS = [chr(0xF0000 + i) for i in range(12)]
TINY = ["--hidden", "16", "--layers", "1", "--heads", "2", "--ffn", "24", "--tokens-per-step", "128", "--warmup", "2"]


def sentences(n: int) -> list[str]:
    generator = np.random.default_rng(0)
    return [" ".join(generator.choice(WORDS, generator.integers(2, 9))) for _ in range(n)]


def spell(sentence: str) -> str:
    return "".join(UNITS[WORDS.index(w) % 12] for w in sentence.split())


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """base.model, three corpora, a base model extended by 12 units, and a little development speech."""
    folder = tmp_path_factory.mktemp("lm")
    text = sentences(120)
    (folder / "base.model").write_bytes(train_model(text, 320))

    def write(name: str, rows: list[dict]) -> None:
        (folder / name).write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")

    write("base.jsonl", [{"text": t, "block": "mono"} for t in text])
    speech = [{"text": f"Speech:{spell(t)}\nEnglish: {t}", "block": "asr"} for t in text[:60]]
    write("cpt.jsonl", speech + [{"text": t, "block": "mono"} for t in text[60:]])
    talk = [("human", f"Speech: {spell(text[0])}\nEnglish:"), ("gpt", text[0])]
    write("it.jsonl", [{"conversations": [{"from": f, "value": v} for f, v in talk], "block": "asr"}] * 8)
    fields = {"audio": "a.wav", "start": 0.0, "duration": 1.0, "lang": "en", "speaker": "x", "translations": {}}
    write("dev.jsonl", [{"id": str(i), "text": t} | fields for i, t in enumerate(text[:4])])
    (folder / "dev.units").write_text("".join(spell(t) + "\n" for t in text[:4]), "utf-8")
    run(train_base, folder, "--corpus base.jsonl --vocabulary base.model --steps 3 --out base", TINY)
    extend_directory(folder / "base", folder / "extended", 12, seed=1)
    return folder


def run(script, folder: Path, arguments: str, more: list[str] = ()) -> int:
    """Run a script's main with paths relative to `folder`."""
    words = [str(folder / w) if "." in w or w in NAMES else w for w in arguments.split()]
    return script.main([*words, *more, "--log", str(folder / "log.jsonl"), "--log-every", "2", "--precision", "fp32"])


NAMES = {"base", "extended", "again", "cpt", "it", "bad"}


@pytest.mark.parametrize("shape", SHAPES)
def test_rates_rise_then_never_rise_again(shape):
    rates = [rate(s, 100, 2.0, 10, shape) for s in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert max(rates) == 2.0 and all(a >= b for a, b in zip(rates[9:], rates[10:], strict=False))
    assert rates[-1] == 2.0 if shape == "constant" else rates[-1] < 0.15
    assert rate(0, 1, 2.0, 0, shape) > 0


def test_unknown_schedule():
    with pytest.raises(UserError, match="unknown schedule"):
        rate(0, 1, 1.0, 0, "sawtooth")


def test_an_epoch_uses_every_line_once_and_spreads_the_blocks(place, tmp_path):
    corpus = tokenize(place / "cpt.jsonl", Vocabulary.load(place / "extended"), tmp_path, 1024)
    assert corpus.blocks == ["asr", "mono"] and len(corpus) == 120
    first, second = order(corpus, 1, 0), order(corpus, 1, 1)
    assert sorted(first) == sorted(second) == list(range(120)) and list(first) != list(second)
    for tenth in np.split(corpus.block_of[first], 10):
        assert 4 <= tenth.sum() <= 8
    stream = batches(corpus, 200, seed=1)
    seen = [next(stream) for _ in range(30)]
    assert all(b.tokens <= 200 == len(b.ids) for b in seen)
    again = batches(corpus, 200, seed=1)
    assert all(np.array_equal(a.ids, next(again).ids) for a in seen)
    assert not np.array_equal(seen[0].ids, next(batches(corpus, 200, seed=2)).ids)
    whole = [b for b in seen if b.epoch == 0]
    assert sum(len(b.starts) - 1 for b in whole) in range(100, 121)


def test_what_carries_loss(place, tmp_path):
    vocabulary = Vocabulary.load(place / "extended")
    corpus = tokenize(place / "cpt.jsonl", vocabulary, tmp_path, 1024)
    ids, kinds = corpus.tokens[: corpus.offsets[1]], corpus.kinds[: corpus.offsets[1]]
    assert ids[0] == vocabulary.bos and kinds[0] == NO_LOSS and ids[-1] == vocabulary.eos and kinds[-1] == TEXT_LOSS
    assert [k == UNIT_LOSS for k in kinds] == [vocabulary.is_unit(int(i)) for i in ids]
    talk = tokenize(place / "it.jsonl", vocabulary, tmp_path, 1024)
    assert UNIT_LOSS not in talk.kinds, "units of a prompt are no targets"
    carried = talk.tokens[: talk.offsets[1]][talk.kinds[: talk.offsets[1]] == TEXT_LOSS]
    assert vocabulary.decode([int(i) for i in carried]) == json.loads((place / "base.jsonl").open().readline())["text"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "bad.jsonl:1: not JSON"), ('{"x": 1}\n', "bad.jsonl:1: not a text line"), ("\n", "no line to train on")],
)
def test_bad_corpora_name_the_line_and_leave_nothing(place, text, words):
    (place / "bad.jsonl").write_text(text)
    with pytest.raises(UserError, match=words):
        run(train_base, place, "--corpus bad.jsonl --vocabulary base.model --steps 3 --out bad", TINY)
    assert not (place / "bad").exists() and not list(place.glob(".bad*"))


def test_too_long_lines_are_counted(place, tmp_path):
    vocabulary = Vocabulary.load(place / "extended")
    corpus = tokenize(place / "cpt.jsonl", vocabulary, tmp_path, 20)
    assert corpus.dropped == 120 - len(corpus) > 0
    with pytest.raises(UserError, match="longer than 3 tokens"):
        tokenize(place / "cpt.jsonl", vocabulary, tmp_path, 3)


def test_the_same_run_gives_the_same_bytes_and_another_seed_others(place):
    arguments = "--corpus base.jsonl --vocabulary base.model --steps 3 --out again"
    run(train_base, place, arguments, TINY)
    for file in (place / "base").iterdir():
        assert file.read_bytes() == (place / "again" / file.name).read_bytes(), file.name
    run(train_base, place, arguments, [*TINY, "--seed", "2"])
    name = "model.safetensors"
    assert (place / "base" / name).read_bytes() != (place / "again" / name).read_bytes()


def test_continued_pretraining_learns_and_probes(place):
    probe = (
        f"--probe-manifest {place}/dev.jsonl --probe-units {place}/dev.units --probe-every 15 --probes {place}/p.jsonl"
    )
    flags = ["--steps", "30", "--tokens-per-step", "256", "--lr", "1e-2", "--warmup", "3", "--probe-utterances", "3"]
    run(train_cpt, place, "--model extended --corpus cpt.jsonl --out cpt", [*probe.split(), *flags])
    log = read_jsonl(place / "log.jsonl")
    assert [x["step"] for x in log] == list(range(2, 31, 2))
    assert log[-1]["loss"] < log[0]["loss"] - 1 and set(log[-1]["blocks"]) == {"asr", "asr.units", "mono"}
    probes = read_jsonl(place / "p.jsonl")
    assert [(x["step"], x["n"]) for x in probes] == [(15, 3), (30, 3)]
    record = json.loads((place / "cpt" / "training.json").read_text())
    assert record["settings"]["unit_weight"] == 0.3 and record["lines"] == 120


def test_instruction_tuning_learns_one_answer(place):
    flags = ["--steps", "25", "--tokens-per-step", "128", "--lr", "2e-2", "--warmup", "3"]
    run(train_it, place, "--model extended --corpus it.jsonl --out it", flags)
    assert read_jsonl(place / "log.jsonl")[-1]["loss"] < 2.5
    vocabulary = Vocabulary.load(place / "it")
    assert json.loads((place / "it" / "config.json").read_text())["eos_token_id"] == vocabulary.im_end


def test_instruction_tuning_probes_answers_of_each_block(place):
    lines = [json.loads(x) for x in (place / "it.jsonl").read_text().splitlines()]
    held_out = [*lines[:3], *(x | {"block": "st"} for x in lines[:2])]
    (place / "held_out.jsonl").write_text("".join(json.dumps(x) + "\n" for x in held_out))
    probe = f"--probe {place}/held_out.jsonl --probe-every 40 --probe-answers 2 --probes {place}/p.jsonl"
    flags = ["--steps", "80", "--tokens-per-step", "128", "--lr", "2e-2", "--warmup", "3"]
    run(train_it, place, "--model extended --corpus it.jsonl --out it", [*probe.split(), *flags])
    first, last = read_jsonl(place / "p.jsonl")
    assert (first["step"], last["step"], last["n"]) == (40, 80, 4)
    assert last["wer"] == {"asr": 0.0} and last["bleu"] == {"st": pytest.approx(100)} and last["cut_off"] == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [('{"conversations": [{"from": "human", "value": "x"}]}', "ends with an answer"), ("", "no conversation")],
)
def test_probes_without_answers_are_refused(place, line, words):
    (place / "bad.jsonl").write_text(line)
    with pytest.raises(UserError, match=words):
        run(train_it, place, "--model extended --corpus it.jsonl --out bad", ["--probe", str(place / "bad.jsonl")])
    assert not (place / "bad").exists()


def test_instruction_tuning_needs_chat_marks(place):
    with pytest.raises(UserError, match="im_end"):
        run(train_it, place, "--model base --corpus it.jsonl --out bad", ["--steps", "2"])


def test_a_run_that_diverges_stops_with_advice(place):
    flags = [*TINY, "--steps", "80", "--lr", "300", "--clip", "1e9"]
    with pytest.raises(UserError, match="running away|not a number") as caught:
        run(train_base, place, "--corpus base.jsonl --vocabulary base.model --out bad", flags)
    assert "--lr" in caught.value.hint and not (place / "bad").exists()


@pytest.mark.parametrize("flag", ["--steps", "--tokens-per-step", "--lr", "--threads"])
def test_senseless_settings(place, flag):
    with pytest.raises(UserError, match="must be above 0"):
        run(train_base, place, "--corpus base.jsonl --vocabulary base.model --out bad", [*TINY, flag, "0"])
