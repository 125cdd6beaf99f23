"""Writing with a model: bans, ends, resumption; streams cut in time; voices; continuations; items over ranks."""

import contextlib
import importlib.util
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from spiritlm_checkpoints import write_vocoder
from spiritlm_tiny_lm import write_tiny_lm

from spire.audio import read_audio
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest, write_manifest
from spire.textfiles import read_jsonl, write_jsonl
from spiritlm.generation.continuation import Plan, continuations, write_continuations
from spiritlm.generation.ranks import Ranks, shared
from spiritlm.generation.streams import between, read_spoken
from spiritlm.generation.voice import SILENCE, Voice
from spiritlm.generation.writer import Writer
from spiritlm.model.content import OutputModality

PROJECT = Path(__file__).parents[2]
DRAWN = {"strategy": "sampling", "temperature": 1.5, "max_new": 24}
PROMPTS = ["[Text]the cat", "[Speech][Hu3][Hu4]", "[Text]now Simon[Speech]"]


@pytest.fixture(scope="module", params=[False, True], ids=["base", "expressive"])
def model(request, tmp_path_factory):
    torch.set_num_threads(1)
    return write_tiny_lm(tmp_path_factory.mktemp("lm") / "model", request.param)


@pytest.fixture(scope="module")
def writer(model):
    return Writer(model)


def place(folder, expressive=True):
    """A manifest of three utterances and its streams."""
    texts = ["the cat sat on the mat", "now Simon has more gloves", "gloves"]
    rows = [Utterance(f"u/{i}", f"{i}.wav", 2.0, "en", t) for i, t in enumerate(texts)]
    write_manifest(folder / "manifest.jsonl", rows)
    rows = [
        {"id": f"u/{i}", "hubert": " ".join(str((i + j) % 20) for j in range(50))}
        | ({"pitch": " ".join(str(j % 6) for j in range(25)), "style": "1 2"} if expressive else {})
        for i in range(3)
    ]
    write_jsonl(folder / "streams.jsonl", rows)
    return read_spoken(folder / "manifest.jsonl", folder / "streams.jsonl")


def test_a_writer_keeps_to_its_modality(writer):
    for modality in OutputModality:
        written = writer.write(PROMPTS, modality, **DRAWN)
        for w in written:
            assert w.tokens == 24 or w.finished
            if modality is OutputModality.TEXT:
                assert "[" not in w.text
            if modality is OutputModality.SPEECH:
                assert not re.sub(r"\[(Hu|Pi|St)[0-9]+\]", "", w.text)
    assert writer.write([PROMPTS[0], None], OutputModality.TEXT, **DRAWN)[1].text == ""
    alone = [writer.write([p], OutputModality.ARBITRARY, **DRAWN)[0] for p in PROMPTS]
    assert alone == writer.write(PROMPTS, OutputModality.ARBITRARY, **DRAWN)


def test_markers_and_strings_may_end(writer):
    settings = writer.settings(OutputModality.SPEECH, markers_end=True, max_new=5)
    assert settings.stop == {2, writer.ids.text, writer.ids.speech} and not settings.stop & settings.banned
    hot = {"strategy": "sampling", "temperature": 50.0, "max_new": 200}
    free, held = (writer.write(PROMPTS, OutputModality.SPEECH, markers_end=end, **hot) for end in (False, True))
    assert sum(w.tokens for w in held) < sum(w.tokens for w in free) and any(w.finished for w in held)
    cut = writer.write(PROMPTS, OutputModality.TEXT, stop_text=("e",), **DRAWN)
    assert all("e" not in w.text for w in cut) and any(w.finished for w in cut)


def test_prompts_that_do_not_fit(writer):
    assert writer.longest == 256 and writer.fits("[Text]a", 240) and not writer.fits("[Speech]" + "[Hu1]" * 300, 1)
    with pytest.raises(UserError, match="256 positions"):
        writer.write(["[Speech]" + "[Hu1]" * 300], OutputModality.TEXT, max_new=4)


def test_a_stopped_run_goes_on(writer, tmp_path, monkeypatch):
    whole = writer.write(PROMPTS, OutputModality.TEXT, **DRAWN)
    writer.write(PROMPTS[:2], OutputModality.TEXT, work=tmp_path / "one" / ".work", **DRAWN)
    monkeypatch.setenv("DUCTTAPE_PREVIOUS", str(tmp_path / "one"))
    before = writer.backend.throughput.prompts
    assert writer.write(PROMPTS, OutputModality.TEXT, work=tmp_path / ".work", **DRAWN) == whole
    assert writer.backend.throughput.prompts == before + len(PROMPTS)  # one batch, none of it known whole
    before = writer.backend.throughput.prompts
    assert writer.write(PROMPTS, OutputModality.TEXT, work=tmp_path / ".work", **DRAWN) == whole
    assert writer.backend.throughput.prompts == before


def test_streams_are_cut_in_time(tmp_path):
    item = place(tmp_path)[0]
    halves = between(item.units, 0, 0.5), between(item.units, 0.5, 1)
    assert [len(h["hubert"].split()) for h in halves] == [25, 25]
    assert f"{halves[0]['hubert']} {halves[1]['hubert']}" == item.units["hubert"]
    assert [len(h["pitch"].split()) for h in halves] == [13, 13] and halves[1]["style"] == "2"
    assert between(item.units, 0, 1) == dict(item.units) and item.string(False).startswith("[Hu0][Hu1]")
    with pytest.raises(UserError, match="2 lines"):
        write_jsonl(tmp_path / "short.jsonl", read_jsonl(tmp_path / "streams.jsonl")[:2])
        read_spoken(tmp_path / "manifest.jsonl", tmp_path / "short.jsonl")
    with pytest.raises(UserError, match="not the units"):
        write_jsonl(tmp_path / "other.jsonl", read_jsonl(tmp_path / "streams.jsonl")[::-1])
        read_spoken(tmp_path / "manifest.jsonl", tmp_path / "other.jsonl")


@pytest.mark.parametrize("expressive", [False, True])
def test_whatever_was_written_is_said(tmp_path, expressive):
    voice = Voice(write_vocoder(tmp_path / "vocoder", expressive))
    plain = voice.say("[Hu1][Hu2]")
    assert len(plain) % 640 == 0 and len(plain) >= 1280
    assert np.array_equal(voice.say("[Hu1][Hu2][Hu500]"), voice.say("[Hu1][Hu2]")) or voice._counts["hubert"] > 500
    assert len(voice.say("[Hu499999]")) == len(voice.say("[Pi3]")) == len(voice.say("")) == SILENCE
    assert len(voice.say("[Pi3][Hu1][Hu2]")) == len(plain)
    assert not np.array_equal(voice.say("[St1][Pi3][Hu1][Hu2]"), plain) or not expressive
    samples, cut = voice.split("[Hu1]", "[Hu2]")
    assert cut == len(samples) // 2


def test_continuations(model, writer, tmp_path):
    items = place(tmp_path)
    voice = Voice(write_vocoder(tmp_path / "vocoder", writer.ids.expressive))
    plan = Plan(max_new=(6, 12), how=(("strategy", "sampling"), ("seed", 4)))
    rows = continuations(writer, items, plan)
    assert [r["id"] for r in rows] == [f"u/{i}.{d}" for d in ("t-t", "s-s", "t-s", "s-t") for i in range(3)]
    assert rows[0]["prompt"] == "the cat sat" and rows[2]["prompt"] == "gloves" and "[Pi" not in rows[0]["written"]
    write_continuations(tmp_path / "out", rows, voice)
    spoken = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert len(spoken) == 6 and len(read_jsonl(tmp_path / "out" / "continuations.jsonl")) == 12
    for utterance in spoken:
        samples = read_audio(utterance.audio_path)
        assert len(samples) == round((utterance.start + utterance.duration) * 16_000)
        assert (utterance.start > 0) == (utterance.extra["direction"] == "s-s")
    with pytest.raises(UserError, match="is speech"):
        write_continuations(tmp_path / "none", rows, None)
    assert not (tmp_path / "none").exists()
    if writer.ids.expressive:
        return  # the command line is the same
    flags = ["--model", model, "--manifest", tmp_path / "manifest.jsonl", "--streams", tmp_path / "streams.jsonl"]
    flags += ["--vocoder", tmp_path / "vocoder", "--max-new-text", 6, "--max-new-speech", 12]
    flags += ["--temperature", 1, "--seed", 4, "--out", tmp_path / "again"]
    run("spiritlm_continue.py", *flags)
    for path in (tmp_path / "out").rglob("*.*"):
        assert (tmp_path / "again" / path.relative_to(tmp_path / "out")).read_bytes() == path.read_bytes()


def run(script, *flags):
    """The command line in this process; what it printed."""
    name = script.removesuffix(".py")
    spec = importlib.util.spec_from_file_location(name, PROJECT / "scripts" / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert not module.main([str(flag) for flag in flags])
    return told.getvalue()


def test_ranks_are_told_by_their_launcher():
    assert Ranks.of({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Ranks(3, 8, 1)
    step = {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    assert Ranks.of(step | {"SLURM_STEP_ID": "0"}) == Ranks(2, 4, 0)
    assert Ranks.of(step) == Ranks() == Ranks.of({})  # a batch script itself is one process
    assert Ranks(1, 2, 1).device("cpu") == "cpu"
    assert [Ranks(i, 4, i % 2).gpus(2, None, 4) for i in range(4)] == ["0,1", "2,3", "0,1", "2,3"]
    assert Ranks(5, 8, 1).gpus(1, "4,6", 2) == "6" and Ranks(5, 8, 1).gpus(1, "6", 1) == "6"
    with pytest.raises(UserError, match="wants 2 GPUs"):
        Ranks(1, 2, 1).gpus(2, None, 3)


def test_items_are_shared_out_and_joined(tmp_path):
    asked = []

    def compute(items):
        asked.append(list(items))
        return [{"item": i} for i in items]

    def as_rank(rank, settings, items=range(7), wait=5.0):
        return shared(list(items), compute, tmp_path / "out", settings, Ranks(rank, 3), wait)

    whole = shared(list(range(7)), compute, tmp_path / "out", {"a": 1}, Ranks())
    assert as_rank(2, {"a": 1}) is None and as_rank(1, {"a": 1}) is None and as_rank(0, {"a": 1}) == whole
    assert sorted(sum(asked[1:], [])) == list(range(7)) and not (tmp_path / "out.parts").exists()
    # A part of the same run is kept, one of another is not.
    asked.clear()
    as_rank(1, {"a": 1}), as_rank(1, {"a": 1})
    assert len(asked) == 1
    as_rank(1, {"a": 2})
    assert len(asked) == 2
    with pytest.raises(UserError, match="part.00002-of-00003.json, part.00003"):
        as_rank(0, {"a": 1}, wait=0.1)
    with pytest.raises(UserError, match="1 rows for 2 items"):
        shared([1, 2], lambda items: [{}], tmp_path / "x", {}, Ranks())
    assert json.loads((tmp_path / "out.parts" / "part.00001-of-00003.json").read_text())["rows"]
