"""Few-shot prompts in their form, room for them, readers of true layouts, and scores."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from spiritlm_checkpoints import write_vocoder
from spiritlm_tiny_lm import write_tiny_lm
from test_spiritlm_generation import run

from spire.audio import write_wav
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest, write_manifest
from spire.scoring.wer import character_error_rate, word_error_rate
from spire.textfiles import read_json, read_jsonl, write_json, write_jsonl, write_lines
from spiritlm.evaluation.measures import read_measures
from spiritlm.fewshot.answers import Setup, answer_all
from spiritlm.fewshot.fluent import write_fluent
from spiritlm.fewshot.prompts import Form, drawn, prompt
from spiritlm.fewshot.score import score
from spiritlm.generation.ranks import Ranks
from spiritlm.generation.streams import Spoken, read_spoken
from spiritlm.generation.writer import Writer

INTENT = {"action": "activate", "object": "lights", "location": "bedroom"}


def item(name="a", text="the  cat", units="1 1 2", **extra):
    return Spoken(Utterance(name, "a.wav", 1.0, "en", text, extra=extra), {"hubert": units, "pitch": "3", "style": "4"})


def place(folder, count=8):
    """A manifest and streams; the last utterance has no units."""
    rows = [Utterance(f"u{i}", "a.wav", 1.0, "en", f"the cat {i}", extra=INTENT) for i in range(count)]
    write_manifest(folder / "manifest.jsonl", rows)
    units = [" ".join(str((i + j) % 20) for j in range(10)) for i in range(count - 1)] + [""]
    write_jsonl(folder / "streams.jsonl", [{"id": f"u{i}", "hubert": u} for i, u in enumerate(units)])
    return read_spoken(folder / "manifest.jsonl", folder / "streams.jsonl")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    return write_tiny_lm(tmp_path_factory.mktemp("lm") / "model", positions=512)


def test_forms():
    asr, tts, ic = Form("asr", False), Form("tts", False, "[Hu7][Hu8]"), Form("ic", True)
    assert asr.example(item()) == "[Speech][Hu1][Hu2][Text] <START Transcript> the cat <END>"
    assert asr.example(item()).startswith(asr.question(item())) and asr.direction == "s-t"
    assert tts.example(item()) == "[Text]the cat stop[Speech][Hu1][Hu2][Hu7][Hu8]"
    assert tts.question(item()) == "[Text]the cat stop[Speech]" and tts.direction == "t-s"
    assert ic.example(item(**INTENT)) == "[Speech][St4][Pi3][Hu1][Hu2][Text] A:activate lights bedroom"
    assert asr.answer(" the  cat <END>\n[Speech]") == "the cat" and asr.answer("a\nb") == "a"
    assert tts.answer("[Hu1][Hu7][Hu8][Hu3]") == "[Hu1]" and ic.answer("x y\nz") == "x y"
    with pytest.raises(UserError, match="no field 'action'"):
        ic.example(item())
    with pytest.raises(UserError, match="no task"):
        Form("mt", False)


def test_examples_are_drawn_and_left_out_where_there_is_no_room():
    pool = [item(str(i)) for i in range(9)] + [item("none", units=""), item("empty", text=" ")]
    chosen = drawn(pool, 5, 3, "here")
    assert chosen == drawn(pool, 5, 3, "here") != drawn(pool, 5, 4, "here") and len({c.id for c in chosen}) == 5
    with pytest.raises(UserError, match="9 utterances with units and text, 10"):
        drawn(pool, 10, 1, "here")
    assert prompt(["a", "b", "c"], "q", lambda text: len(text) <= 5) == ("b\nc\nq", 1)
    assert prompt(["a"], "q", lambda text: False) == (None, 1)


@pytest.mark.parametrize("task", ["asr", "tts", "ic"])
def test_answers_do_not_depend_on_processes(task, model, tmp_path):
    items = place(tmp_path)
    setup = Setup(task, f"{task}_x", shots=3, max_new=12, context=200, stop_units="[Hu7]")
    writer = Writer(model)
    how = {"strategy": "sampling", "temperature": 1.0, "seed": 2}
    rows = answer_all(writer, items, items, setup, how, tmp_path / "one")
    assert [r["id"] for r in rows] == [f"u{i}" for i in range(8)]
    assert rows[-1]["answer"] == "" or task == "tts"  # no units to hear
    assert all("[Hu7]" not in r["answer"] for r in rows) and any(r["answer"] for r in rows)
    assert task == "ic" or {r["dropped_shots"] for r in rows[:7]} == {0}
    assert answer_all(writer, items, items, setup, how, tmp_path / "two", Ranks(1, 2)) is None
    assert answer_all(writer, items, items, setup, how, tmp_path / "two", Ranks(0, 2)) == rows
    tight = Setup(task, "x", shots=3, max_new=12, context=60)
    assert max(r["dropped_shots"] for r in answer_all(writer, items, items, tight, how, tmp_path / "three")) > 0


def answered(folder, task, answers, **setup):
    folder.mkdir(exist_ok=True)
    rows = [{"id": f"u{i}", "answer": a, "finished": True, "dropped_shots": 0} for i, a in enumerate(answers)]
    write_jsonl(folder / "answers.jsonl", rows)
    write_json(folder / "setup.json", {"task": task, "test_set": f"{task}_clean", "shots": 10, **setup})
    return folder


def test_scores_are_those_of_the_scorer(tmp_path):
    place(tmp_path, 4)
    manifest, truth = tmp_path / "manifest.jsonl", [f"the cat {i}" for i in range(4)]
    texts = ["the cat 0", "a cat", "", "the cat 3 3"]
    found = score("base", answered(tmp_path / "asr", "asr", texts), manifest)
    assert found.value == pytest.approx(word_error_rate(texts, truth).value) and found.n == 4
    assert found.stem == "fewshot.asr_clean.s-t.wer" and "shots:10" in found.signature
    spoken = answered(tmp_path / "tts", "tts", ["[Hu1]"] * 4)
    write_jsonl(tmp_path / "heard.jsonl", [{"id": f"u{i}", "text": t} for i, t in enumerate(texts)])
    write_lines(tmp_path / "hypotheses" / "asr.tts.en-en.txt", texts)
    for heard in (tmp_path / "heard.jsonl", tmp_path / "hypotheses", tmp_path / "hypotheses" / "asr.tts.en-en.txt"):
        found = score("base", spoken, manifest, heard)
        assert found.value == pytest.approx(character_error_rate(texts, truth).value) and found.metric == "cer"
    labels = ["activate lights bedroom", "Activate lights bedroom", "activate lights", ""]
    found = score("base", answered(tmp_path / "ic", "ic", labels), manifest)
    assert found.value == 50 and found.stem == "fewshot.ic_clean.s-t.accuracy"
    with pytest.raises(UserError, match="holds speech"):
        score("base", spoken, manifest)
    with pytest.raises(UserError, match="not those of"):
        score("base", answered(tmp_path / "short", "asr", texts[:3]), manifest)
    write_jsonl(tmp_path / "heard.jsonl", [{"id": "x", "text": ""}] * 4)
    with pytest.raises(UserError, match="transcribe them again|4 lines"):
        score("base", spoken, manifest, tmp_path / "heard.jsonl")


def fluent(root):
    """Fluent Speech Commands as its archive has it, with two speakers."""
    header = ["", "path", "speakerId", "transcription", "action", "object", "location"]
    rows = [
        ["0", "wavs/speakers/2BqV/0a.wav", "2BqV", "Change language", "change language", "none", "none"],
        ["1", "wavs/speakers/2BqV/0b.wav", "2BqV", "Turn on the lights, in the bedroom", *INTENT.values()],
        ["2", "wavs/speakers/5o9B/0a.wav", "5o9B", "Turn it up", "increase", "volume", "none"],
    ]
    for row in rows:
        (root / row[1]).parent.mkdir(parents=True, exist_ok=True)
        write_wav(root / row[1], np.zeros(8000, np.float32))
    (root / "data").mkdir()
    with open(root / "data" / "test_data.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return root


def test_fluent_speech_commands_in_its_layout(tmp_path):
    root = fluent(tmp_path / "fluent_speech_commands_dataset")
    with pytest.raises(UserError, match="3 lines, the published split has 3793"):
        write_fluent(root, "test", tmp_path / "ic" / "manifest.jsonl")
    run("spiritlm_fluent.py", "--root", root, "--any-size", "--out", tmp_path / "ic" / "manifest.jsonl")
    found = read_manifest(tmp_path / "ic" / "manifest.jsonl")
    assert [u.id for u in found] == ["2BqV-0a", "2BqV-0b", "5o9B-0a"] and found[1].extra == INTENT
    assert all(u.audio_path.is_file() and u.duration == 0.5 for u in found) and found[1].speaker == "2BqV"
    assert found[1].text == "Turn on the lights, in the bedroom"
    with pytest.raises(UserError, match="valid_data.csv"):
        write_fluent(root, "valid", tmp_path / "x.jsonl")
    table = root / "data" / "test_data.csv"
    for old, new, message in (("0b.wav", "../0b.wav", "no such audio"), (",action", ",deed", "no column 'action'")):
        text = table.read_text()
        table.write_text(text.replace(old, new))
        with pytest.raises(UserError, match=message):
            write_fluent(root, "test", tmp_path / "x.jsonl", whole=False)
        table.write_text(text)


def test_from_streams_to_measures(model, tmp_path):
    place(tmp_path)
    both = f"{tmp_path / 'manifest.jsonl'},{tmp_path / 'streams.jsonl'}"
    flags = ["--model", model, "--speech", both, "--shots-from", both, "--shots", 2, "--max-new", 10, "--limit", 5]
    run("spiritlm_fewshot.py", "--task", "asr", "--test-set", "asr_clean", *flags, "--out", tmp_path / "asr")
    voice = ["--vocoder", write_vocoder(tmp_path / "vocoder"), "--stop-units", "[Hu3]"]
    run("spiritlm_fewshot.py", "--task", "tts", "--test-set", "tts_clean", *flags, *voice, "--out", tmp_path / "tts")
    assert read_json(tmp_path / "asr" / "setup.json")["strategy"] == "greedy"
    spoken = read_manifest(tmp_path / "tts" / "manifest.jsonl")
    assert [u.text for u in spoken] == [f"the cat {i}" for i in range(5)] and spoken[0].audio_path.is_file()
    write_jsonl(tmp_path / "heard.jsonl", [{"id": u.id, "text": u.text} for u in spoken])
    manifest = tmp_path / "manifest.jsonl"
    flags = ["--answers", tmp_path / "asr", tmp_path / "tts", "--manifest", manifest, manifest, "--limit", 5]
    flags += ["--heard", tmp_path / "heard.jsonl", "--name", "base", "--out", tmp_path / "measures"]
    run("spiritlm_fewshot_score.py", *flags)
    found = {m.stem: m.value for m in read_measures(tmp_path / "measures")}
    assert found.keys() == {"fewshot.asr_clean.s-t.wer", "fewshot.tts_clean.t-s.cer"}
    assert found["fewshot.tts_clean.t-s.cer"] == 0.0
    assert len(read_jsonl(tmp_path / "asr" / "answers.jsonl")) == 5 and Path(tmp_path / "tts" / "audio").is_dir()
