"""Stories and styled speech: held-out sentences stay held out, words have their times, workers change nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spire.audio import load_utterance
from spire.errors import UserError
from spire.manifest import read_manifest
from spire.speech import espeak
from spiritlm.speech.speaking import speak_rows
from spiritlm.speech.stories import Sizes, generate, read_rows, write_stories
from spiritlm.speech.voices import read_cast
from spiritlm.speech.word_events import speak_words, word_times

VOICES = Path(__file__).resolve().parents[2] / "configs" / "spiritlm_voices.json"
SIZES = Sizes(train=60, dev=6, test=20, text=300)


@pytest.fixture(scope="module")
def cast():
    return read_cast(VOICES)


@pytest.fixture(scope="module")
def stories(cast):
    return generate(SIZES, tuple(cast.speakers), tuple(cast.styles), seed=1)


def test_stories_are_the_same_again_and_others_with_another_seed(cast, stories):
    assert generate(SIZES, tuple(cast.speakers), tuple(cast.styles), seed=1) == stories
    assert generate(SIZES, tuple(cast.speakers), tuple(cast.styles), seed=2) != stories


def test_no_training_text_holds_a_sentence_of_dev_or_test(stories):
    held_out = {
        s for part in ("dev", "test") for row in stories[part] for s in (*row["sentences"], row["wrong_ending"])
    }
    trained = {s for part in ("train", "text") for row in stories[part] for s in row["sentences"]}
    assert not held_out & trained
    assert len(trained) > 800


def test_a_story_keeps_its_things_and_its_wrong_ending_differs_in_the_outcome_only(stories):
    for row in stories["test"]:
        right, wrong = row["sentences"][3].split(), row["wrong_ending"].split()
        assert len(right) == len(wrong)
        assert sum(a != b for a, b in zip(right, wrong, strict=True)) == 1
        kind, things = row["sentences"][0].split(), right
        assert len(set(kind) & set(things)) >= 3, row  # person, kind and things


def test_speakers_and_styles_are_equally_frequent(stories):
    pairs = [(row["speaker"], row["style"]) for row in stories["train"]]
    assert len(set(pairs)) == 16
    assert max(map(pairs.count, pairs)) - min(map(pairs.count, pairs)) <= 1


def test_a_story_is_read_as_one_row_a_sentence(stories, tmp_path):
    write_stories({"test": stories["test"][:2]}, tmp_path)
    rows = read_rows(tmp_path / "test.jsonl")
    assert [row["id"] for row in rows[:5]] == [*(f"test00000-{i}" for i in (1, 2, 3, 4)), "test00001-1"]
    assert rows[5]["text"] == stories["test"][1]["sentences"][1]
    assert rows[5]["story"] == "test00001"


def test_a_broken_row_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "text": "hello", "speaker": "us-m1", "style": "sad"}\n{"id": "b"}\n')
    with pytest.raises(UserError, match=r"rows.jsonl:2: no speaker, style"):
        read_rows(path)


def test_samples_and_phones_are_those_of_espeak_and_words_lie_on_them(cast):
    text = "Clara showed the loud drums to the doctor at nine o'clock"
    voice, _ = cast.voice("us-f1", "happy", "x", 1)
    speech, words = speak_words(text, voice)
    plain = espeak.speak(text, voice)
    assert np.array_equal(speech.samples, plain.samples) and speech.phones == plain.phones
    assert " ".join(word for word, _, _ in words) == text
    bounds = [time for _, start, end in words for time in (start, end)]
    assert bounds == sorted(bounds) and all(end - start > 0.03 for _, start, end in words)
    # The vowel of "drums" (a V) lies within the word.
    (_, start, end) = next(word for word in words if word[0] == "drums")
    assert any(symbol == "V" and start <= (a + b) / 2 <= end for symbol, a, b in speech.phones)


def test_words_that_are_said_as_one_share_their_time():
    phones = (("_", 0.0, 0.1), ("a", 0.1, 0.5), ("_", 0.5, 0.6), ("b", 0.6, 1.0))
    times = word_times("ab cdef gh", [(0, 0), (8, 60)], phones, rate=100)
    assert times[0][:2] == ("ab", 0.1) and times[1][0] == "cdef" and times[1][2] == 0.5
    assert times[0][2] == pytest.approx(0.1 + 0.4 / 3, abs=1e-4)
    assert times[2] == ("gh", 0.6, 1.0)


def test_styles_move_pitch_rate_and_volume_and_utterances_jitter(cast):
    happy, loud = cast.voice("us-m1", "happy", "a", 1)
    sad, soft = cast.voice("us-m1", "sad", "a", 1)
    assert happy.pitch > sad.pitch and happy.rate > sad.rate and happy.range > sad.range and loud > soft
    assert cast.voice("us-m1", "happy", "a", 1) == (happy, loud)
    assert len({cast.voice("us-m1", "happy", f"u{i}", 1)[0] for i in range(8)}) == 8
    with pytest.raises(UserError, match="no style 'bored'"):
        cast.voice("us-m1", "bored", "a", 1)


def test_speech_is_the_same_with_workers_and_single_words_work(cast, tmp_path, stories):
    write_stories({"test": stories["test"][:11]}, tmp_path)
    rows = read_rows(tmp_path / "test.jsonl")[:41]
    rows += [
        {"id": f"w{i}", "text": text, "speaker": "gb-m2", "style": "sad"} for i, text in enumerate(("blick", "pen"))
    ]
    one = speak_rows(rows, cast, tmp_path / "one", seed=1)
    speak_rows(rows, cast, tmp_path / "two", seed=1, workers=2)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) == len(rows) + 2
    assert all((tmp_path / "one" / p).read_bytes() == (tmp_path / "two" / p).read_bytes() for p in files)

    manifest = read_manifest(tmp_path / "one" / "manifest.jsonl")
    assert [u.id for u in manifest] == [row["id"] for row in rows] == [u.id for u in one]
    assert manifest[0].extra == {"style": rows[0]["style"], "story": "test00000"}
    words = [json.loads(line) for line in (tmp_path / "one" / "words.jsonl").read_text().splitlines()]
    assert [line["id"] for line in words] == [u.id for u in manifest]
    for utterance, line in zip(manifest, words, strict=True):
        assert " ".join(word for word, _, _ in line["words"]) == utterance.text
        assert line["words"][-1][2] <= utterance.duration + 1e-4
        assert abs(load_utterance(utterance)).max() < 1.0


def test_what_cannot_be_spoken_leaves_nothing(cast, tmp_path):
    row = {"id": "a", "text": "hello", "speaker": "us-m1", "style": "sad"}
    for rows, message in (
        ([], "nothing to speak"),
        ([row, row], "two rows have the id 'a'"),
        ([row | {"id": "../a"}], "cannot be a file name"),
        ([row, row | {"id": "b", "text": "?"}], "says nothing"),
    ):
        with pytest.raises(UserError, match=message):
            speak_rows(rows, cast, tmp_path / "out", seed=1)
        assert not any(tmp_path.iterdir())
