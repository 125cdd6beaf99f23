"""Synthesis gives the same bytes whatever came before, beside or after it, and phone times that fit the audio."""

import json
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from spire.audio import read_audio
from spire.errors import UserError
from spire.manifest import read_manifest
from spire.speech import synthesis
from spire.speech.espeak import PAUSE, Voice, check_voice, engine_version, speak
from spire.speech.sentences import Sizes, generate
from spire.speech.synthesis import assign_voices, cache_key, choose_translated, read_voices, synthesize

ROOT = Path(__file__).parents[2]
VOICES = ROOT / "configs/voices.json"
main = runpy.run_path(str(ROOT / "scripts/speech_synthesize.py"))["main"]
SENTENCE = "my brother bought three red books at the market"


@pytest.fixture(scope="module")
def voices():
    return read_voices(VOICES)


@pytest.fixture(scope="module")
def sentences():
    return generate(Sizes(0, 0, 48, 0, 0), seed=1)["speech_train"]


@pytest.fixture(scope="module")
def made(voices, sentences, tmp_path_factory):
    """A train split made by one worker, for tests that only look at it."""
    folder = tmp_path_factory.mktemp("made")
    synthesize(sentences, voices, "train", folder / "out", folder / "cache", seed=1, translated=10)
    return folder


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_shipped_voices_are_enough_and_unseen_ones_share_nothing(voices):
    assert len(voices.training) == 16 and len(voices.unseen) == 4
    variants = {voice.voice.split("+")[1] for voice in voices.training}
    assert not variants & {voice.voice.split("+")[1] for voice in voices.unseen}


def test_a_sentence_said_first_or_tenth_has_the_same_bytes(voices):
    # espeak-ng keeps state between utterances: without the fresh library of `speak` this fails for nearly every voice.
    everything = voices.training + voices.unseen
    first = {voice.id: speak(SENTENCE, voice).samples.tobytes() for voice in everything}
    for voice in reversed(everything):
        speak("where are the small chairs of Thomas?", everything[3])
        assert speak(SENTENCE, voice).samples.tobytes() == first[voice.id], voice.id
    assert len(set(first.values())) == len(everything)


def test_bytes_do_not_depend_on_what_fresh_memory_holds(voices):
    program = (
        "import hashlib, json, sys\n"
        "from spire.speech.espeak import Voice, speak\n"
        "for row in json.load(sys.stdin):\n"
        f"    print(hashlib.sha256(speak({SENTENCE!r}, Voice(**row)).samples.tobytes()).hexdigest())\n"
    )
    rows = json.dumps([vars(voice) for voice in voices.training + voices.unseen])
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            input=rows,
            env={"PYTHONPATH": str(ROOT / "src"), **({"MALLOC_PERTURB_": perturb} if perturb else {})},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for perturb in ("", "17", "170")
    }
    assert len(outputs) == 1


def test_phone_times_cover_the_audio_in_order(voices):
    for voice in voices.training + voices.unseen:
        speech = speak(SENTENCE, voice)
        seconds = len(speech.samples) / speech.rate
        assert 1.5 < seconds < 4.5 and np.abs(speech.samples).max() > 3000
        assert speech.phones[0][1] == 0 and abs(speech.phones[-1][2] - seconds) < 1e-3
        for (_, _, end), (_, start, later) in zip(speech.phones, speech.phones[1:], strict=False):
            assert end == start < later
        assert 25 <= len([p for p in speech.phones if p[0] != PAUSE]) <= 45


def test_phone_times_point_at_the_right_sounds(voices):
    # "s" is a hiss: its energy lies higher than that of a vowel. A shift of the times by a phone would undo this.
    hiss, vowel = [], []
    for voice in voices.training:
        speech = speak("Sophie saw six sisters", voice)
        for symbol, start, end in speech.phones:
            part = speech.samples[int(start * speech.rate) : int(end * speech.rate)].astype(float)
            power = np.abs(np.fft.rfft(part)) ** 2
            if symbol in ("s", "I", "i:") and power.sum() > 0:
                centre = (power * np.fft.rfftfreq(len(part), 1 / speech.rate)).sum() / power.sum()
                (hiss if symbol == "s" else vowel).append(centre)
    assert len(hiss) > 40 and np.percentile(hiss, 20) > 2 * np.percentile(vowel, 80)


def test_the_manifest_describes_the_files(made, voices, sentences):
    utterances = read_manifest(made / "out/manifest.jsonl")
    assert [u.text for u in utterances] == [row["en"] for row in sentences]
    assert {u.speaker for u in utterances} <= {v.id for v in voices.training}
    assert sum(bool(u.translations) for u in utterances) == 10
    for utterance, row in zip(utterances, sentences, strict=True):
        assert utterance.lang == "en" and utterance.translations in ({}, {"de": row["de"], "fr": row["fr"]})
        samples = read_audio(utterance.audio_path)
        assert abs(len(samples) / 16000 - utterance.duration) < 1e-4
        assert abs(utterance.phones[-1][2] - utterance.duration) < 0.01
    assert sorted(p.name for p in (made / "out").iterdir()) == ["audio", "manifest.jsonl"]


def test_workers_order_and_cache_do_not_change_a_byte(made, voices, sentences, tmp_path, monkeypatch):
    monkeypatch.setattr(synthesis, "_CHUNK", 7)
    expected = contents(made / "out")
    synthesize(sentences, voices, "train", tmp_path / "two", tmp_path / "cache", seed=1, translated=10, workers=2)
    assert contents(tmp_path / "two") == expected
    # Everything said in the opposite order beforehand, then taken from the cache.
    chosen = assign_voices(len(sentences), voices.training, 1, "train")
    for row, voice in reversed(list(zip(sentences, chosen, strict=True))):
        synthesis.synthesize_cached(row["en"], voice, tmp_path / "reversed")
    synthesize(sentences, voices, "train", tmp_path / "three", tmp_path / "reversed", seed=1, translated=10)
    assert contents(tmp_path / "three") == expected


def test_a_damaged_cache_entry_is_made_again(made, voices, sentences, tmp_path):
    synthesize(sentences[:4], voices, "dev", tmp_path / "a", tmp_path / "cache", seed=1)
    expected = contents(tmp_path / "a")
    wavs = sorted((tmp_path / "cache").rglob("*.wav"))
    assert len(wavs) == 4 and wavs[0].stat().st_nlink == 2
    changed = bytearray(wavs[0].read_bytes())
    changed[100] ^= 0xFF
    wavs[0].unlink()
    wavs[0].write_bytes(changed)
    wavs[1].with_suffix(".json").write_text("{")
    wavs[2].write_bytes(b"")
    synthesize(sentences[:4], voices, "dev", tmp_path / "b", tmp_path / "cache", seed=1)
    assert contents(tmp_path / "b") == expected


def test_two_processes_may_fill_one_cache_at_once(made, sentences, tmp_path):
    source = tmp_path / "s.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in sentences))
    command = [sys.executable, str(ROOT / "scripts/speech_synthesize.py"), "--sentences", str(source), "--seed", "1"]
    command += ["--voices", str(VOICES), "--split", "train", "--translated", "10", "--cache", str(tmp_path / "cache")]
    environment = {"PYTHONPATH": str(ROOT / "src")}
    running = [
        subprocess.Popen([*command, "--out", str(tmp_path / name)], env=environment, stderr=subprocess.PIPE)
        for name in ("a", "b")
    ]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(made / "out")
    assert not list((tmp_path / "cache").rglob(".*"))


def test_what_a_killed_run_left_is_cleared_away(voices, sentences, tmp_path):
    leftover = tmp_path / "out/.audio.0123.partial"
    leftover.mkdir(parents=True)
    (leftover / "x.wav").write_bytes(b"x")
    (tmp_path / "out/audio").mkdir()
    (tmp_path / "out/audio/stale.wav").write_bytes(b"x")
    synthesize(sentences[:2], voices, "dev", tmp_path / "out", tmp_path / "cache", seed=1)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["audio", "manifest.jsonl"]
    assert len(list((tmp_path / "out/audio").iterdir())) == 2


def test_without_hard_links_files_are_copied(voices, sentences, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(synthesis.os, "link", refuse)
    synthesize(sentences[:2], voices, "seen", tmp_path / "out", tmp_path / "cache", seed=1)
    wavs = list((tmp_path / "out/audio").iterdir())
    assert len(wavs) == 2 and all(wav.stat().st_nlink == 1 for wav in wavs)


def test_unseen_voices_speak_the_unseen_split_only(voices, sentences, tmp_path):
    for split, allowed in (("seen", voices.training), ("unseen", voices.unseen), ("dev", voices.training)):
        made = synthesize(sentences[:20], voices, split, tmp_path / split, tmp_path / "cache", seed=1, translated=1)
        assert {u.speaker for u in made} <= {voice.id for voice in allowed}
        assert all(u.translations for u in made) and made[0].id == f"{split}-{sentences[0]['id']}"


def test_voices_are_dealt_in_equal_shares_by_the_seed(voices):
    dealt = assign_voices(160, voices.training, 1, "train")
    assert set(Counter(dealt).values()) == {10}
    assert dealt == assign_voices(160, voices.training, 1, "train")
    assert dealt != assign_voices(160, voices.training, 2, "train")
    assert dealt[:50] == assign_voices(50, voices.training, 1, "train")


def test_translated_subsets_are_nested():
    assert choose_translated(100, 10, 1) < choose_translated(100, 60, 1)
    assert choose_translated(100, 10, 1) != choose_translated(100, 10, 2)


def test_the_cache_key_holds_all_that_matters_and_not_the_name():
    voice = Voice("a", "en-us+m1")
    assert cache_key("x", voice) == cache_key("x", Voice("b", "en-us+m1"))
    others = [Voice("a", "en-us+m2"), *(Voice("a", "en-us+m1", **{k: 44}) for k in ("pitch", "range", "rate"))]
    assert len({cache_key("x", v) for v in [voice, *others]} | {cache_key("y", voice)}) == 6
    assert "espeak-ng 1." in engine_version()


@pytest.mark.parametrize(
    "voice, reason",
    [
        ("en-us+nosuch", "no variant 'nosuch'"),
        ("en-us+../m1", "no variant"),
        ("xx+m1", "no English accent 'xx'"),
        ("en-us+f2", "differs from run to run"),
    ],
)
def test_impossible_voices_are_refused(voice, reason):
    with pytest.raises(UserError, match=reason):
        check_voice(voice)


def test_text_without_sound_is_an_error():
    with pytest.raises(UserError, match="says nothing for the text ''"):
        speak("", Voice("a", "en-us+m1"))


GOOD = {"id": "a", "voice": "en-us+m1"}


@pytest.mark.parametrize(
    "table, reason",
    [
        ([], 'no voices under "training"'),
        ({"training": [GOOD]}, 'no voices under "unseen"'),
        ({"training": [GOOD], "unseen": [GOOD | {"voice": "en+m2"}]}, "two voices have the id 'a'"),
        ({"training": [GOOD], "unseen": [GOOD | {"id": "b", "pitch": 9}]}, "both a training and an unseen"),
        ({"training": [GOOD | {"speed": 3}], "unseen": [GOOD]}, "is not a voice"),
        ({"training": [GOOD | {"rate": 5}], "unseen": [GOOD]}, "rate 5 is not a whole number from 80 to 450"),
        ({"training": [GOOD | {"id": "../a"}], "unseen": [GOOD]}, "voice id"),
    ],
)
def test_bad_voice_tables_are_named(tmp_path, table, reason):
    path = tmp_path / "voices.json"
    path.write_text(json.dumps(table))
    with pytest.raises(UserError, match=reason) as caught:
        read_voices(path)
    assert str(path) in caught.value.message


def test_script_end_to_end_and_bad_input_leaves_nothing(tmp_path, sentences, capsys):
    source = tmp_path / "s.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in sentences[:3]))
    arguments = ["--sentences", str(source), "--voices", str(VOICES), "--cache", str(tmp_path / "cache")]
    arguments += ["--split", "train", "--seed", "1", "--jobs", "1"]
    assert main([*arguments, "--translated", "1", "--out", str(tmp_path / "out")]) == 0
    assert "3 utterances" in capsys.readouterr().out
    with pytest.raises(UserError, match="--translated 4: there are 3"):
        main([*arguments, "--translated", "4", "--out", str(tmp_path / "bad")])
    source.write_text(json.dumps(sentences[0] | {"id": "../x"}) + "\n")
    with pytest.raises(UserError, match="cannot be a file name"):
        main([*arguments, "--out", str(tmp_path / "bad")])
    source.write_text(json.dumps(sentences[0] | {"en": "?"}) + "\n")
    with pytest.raises(UserError, match="says nothing"):
        main([*arguments, "--out", str(tmp_path / "bad")])
    assert not list((tmp_path / "bad").glob("*")) and not list((tmp_path / "bad").glob(".*"))
