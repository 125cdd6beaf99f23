"""The small study's likelihood tests: pseudo-words, rows to speak, and items in every direction."""

import importlib.util
import json
from pathlib import Path

import pytest

from spire.errors import UserError
from spire.textfiles import write_jsonl
from spiritlm.evaluation.generated import Sizes, rows_to_speak
from spiritlm.evaluation.generated import test_sets as sets_of
from spiritlm.evaluation.items import read_test_sets
from spiritlm.evaluation.pseudo_words import pseudo_words, swapped
from spiritlm.evaluation.streams import read_streams
from spiritlm.speech.stories import Sizes as StorySizes
from spiritlm.speech.stories import generate

PROJECT = Path(__file__).parents[2]
STYLES = [("ann", "sad"), ("bob", "sad"), ("ann", "angry"), ("bob", "angry")]


def sound(word):
    """A stand-in for espeak: letters, of which c and k sound alike."""
    return tuple(word.replace("c", "k"))


@pytest.fixture(scope="module")
def stories():
    sizes = StorySizes(train=60, dev=0, test=30, text=0)
    return generate(sizes, ["ann", "bob"], ["sad", "angry"], seed=3)


@pytest.fixture(scope="module")
def rows(stories):
    return rows_to_speak(stories["test"], stories["train"], Sizes(20, 24), sound, STYLES, seed=1)


def units_of(name):
    """Different units for each utterance."""
    return {"hubert": " ".join(str(ord(c) % 20) for c in name), "pitch": "1 2", "style": "0"}


@pytest.fixture(scope="module")
def sets(stories, rows):
    spoken = {f"{s['id']}-{i}": units_of(f"{s['id']}-{i}") for s in stories["test"] for i in range(1, 5)}
    said = {row["id"]: units_of(row["id"]) for row in rows}
    return {(t.name, t.direction): t.items for t in sets_of(stories["test"], rows, spoken, said, seed=1)}


def test_pseudo_words_are_no_words_and_sound_like_none():
    words = ["market", "kitchen", "cat", "dinner"]
    found = pseudo_words(words, ["cat", "kat", "bat", "rat"], sound, seed=1)
    assert list(found) == words and len(set(found.values())) == 4
    sounds = [sound(word) for word in ("market", "kitchen", "cat", "dinner", "bat", "rat")]
    for word, other in found.items():
        assert sound(other) not in sounds and len(other) == len(word) and other != word
        assert sum(a != b for a, b in zip(word, other, strict=True)) in (1, 2)
    assert pseudo_words(words, ["cat", "kat", "bat", "rat"], sound, seed=1) == found
    assert pseudo_words(words, [], sound, seed=2) != pseudo_words(words, [], sound, seed=1)


def test_a_word_of_which_every_change_is_known_has_no_pseudo_word():
    everything = {a + "b" for a in "aeiou"} | {"a" + b for b in "ptkbdg"} | {a + b for a in "aeiou" for b in "ptkbdg"}
    assert pseudo_words(["ab"], everything, sound, seed=1) == {}


def test_words_are_exchanged_where_the_result_is_allowed():
    import random

    for seed in range(20):
        assert swapped("a b c", lambda s: s != "b a c", random.Random(seed)) == "a c b"
    with pytest.raises(UserError, match="can be exchanged"):
        swapped("a a a", lambda s: True, random.Random(1))


def test_rows_say_what_they_are_for(stories, rows):
    assert len({row["id"] for row in rows}) == len(rows)
    wuggy = [row for row in rows if row["test"] == "wuggy"]
    assert len(wuggy) == 2 * 2 * 20 and {row["speaker"] for row in wuggy} == {"ann", "bob"}
    known = {word for s in stories["train"] for sentence in s["sentences"] for word in sentence.split()}
    for right, other in zip(wuggy[::2], wuggy[1::2], strict=True):
        assert right["text"] in known and other["text"] not in known and right["group"] == right["text"]
        assert (right["pair"], right["speaker"], right["style"]) == (other["pair"], other["speaker"], other["style"])
        assert right["right"] and not other["right"]
    blimp = [row for row in rows if row["test"] == "blimp"]
    sentences = {f"{s['id']}-{i}": text for s in stories["test"] for i, text in enumerate(s["sentences"], 1)}
    assert len(blimp) == 48
    for row in blimp:
        assert row["text"] != sentences[row["pair"]] and sorted(row["text"].split()) == sorted(
            sentences[row["pair"]].split()
        )
        assert row["text"] not in sentences.values()
    assert [row["text"] for row in rows if row["test"] == "sc"] == [s["wrong_ending"] for s in stories["test"][:24]]
    again = rows_to_speak(stories["test"], stories["train"], Sizes(20, 24), sound, STYLES, seed=1)
    assert again == rows
    fewer = rows_to_speak(stories["test"], stories["train"], Sizes(5, 3), sound, STYLES, seed=1)
    assert [row for row in fewer if row not in rows] == []


def test_all_directions_are_there_with_enough_pairs(sets):
    four = ("t-t", "s-s", "t-s", "s-t")
    expected = {("wuggy", d) for d in four[:2]} | {("blimp", d) for d in four[:2]}
    assert set(sets) == expected | {(n, d) for n in ("tsc", "sc") for d in four}
    numbers = {key: len(items) // 2 for key, items in sets.items()}
    assert numbers["wuggy", "s-s"] == 40 and numbers["wuggy", "t-t"] == 20 and numbers["blimp", "s-s"] == 48
    assert {numbers["tsc", d] for d in four} == {48} and {numbers["sc", d] for d in four} == {24}
    assert {len({i.group for i in sets["tsc", d]}) for d in four} == {24}
    assert len({i.group for i in sets["wuggy", "s-s"]}) == 20


def test_items_are_of_their_direction(sets, stories):
    story = stories["test"][0]
    for direction in ("t-t", "s-s", "t-s", "s-t"):
        for name in ("tsc", "sc"):
            right, wrong = [i for i in sets[name, direction] if i.pair == f"{story['id']}-4"]
            assert right.right and not wrong.right and right.context == wrong.context != ()
            assert {s.spoken for s in right.context} == {direction[0] == "s"}
            assert {s.spoken for s in (*right.ending, *wrong.ending)} == {direction[2] == "s"}
    (right, wrong) = [i for i in sets["sc", "t-t"] if i.pair == f"{story['id']}-4"]
    assert right.context[0].text == " ".join(story["sentences"][:3])
    assert (right.ending[0].text, wrong.ending[0].text) == (" " + story["sentences"][3], " " + story["wrong_ending"])
    (right, _) = [i for i in sets["sc", "s-t"] if i.pair == f"{story['id']}-4"]
    assert [s.streams for s in right.context] == [units_of(f"{story['id']}-{i}") for i in (1, 2, 3)]
    assert right.ending[0].text == story["sentences"][3]  # behind a marker no blank
    (third, _) = [i for i in sets["tsc", "t-s"] if i.pair == f"{story['id']}-3"]
    assert third.context[0].text == " ".join(story["sentences"][:2])
    assert third.ending[0].streams == units_of(f"{story['id']}-3")


def test_wrong_endings_of_tsc_are_of_another_topic_and_the_same_voice(sets, stories):
    by_sentence = {}
    for story in stories["test"]:
        for text in story["sentences"]:
            by_sentence.setdefault(text, []).append(story)
    same_voice = 0
    for right, wrong in zip(sets["tsc", "t-t"][::2], sets["tsc", "t-t"][1::2], strict=True):
        own = next(s for s in stories["test"] if s["id"] == right.group)
        others = by_sentence[wrong.ending[0].text.strip()]
        assert all(o["topic"] != own["topic"] for o in others)
        same_voice += any((o["speaker"], o["style"]) == (own["speaker"], own["style"]) for o in others)
    assert same_voice == 48


def test_what_was_not_spoken_is_named(stories, rows):
    spoken = {f"{s['id']}-{i}": units_of("a") for s in stories["test"] for i in range(1, 5)}
    said = {row["id"]: units_of(row["id"]) for row in rows}
    with pytest.raises(UserError, match="utterance 'test00000-wrong' was not encoded"):
        sets_of(stories["test"], rows, spoken, {k: v for k, v in said.items() if k != "test00000-wrong"}, seed=1)
    with pytest.raises(UserError, match="utterance 'test00000-1' has no units"):
        sets_of(stories["test"], rows, spoken | {"test00000-1": {"hubert": ""}}, said, seed=1)
    with pytest.raises(UserError, match="test stories and training stories"):
        rows_to_speak([], stories["train"], Sizes(), sound, STYLES, seed=1)


def script(name):
    spec = importlib.util.spec_from_file_location(name, PROJECT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_from_stories_to_items_by_the_scripts(stories, tmp_path):
    for part in ("test", "train"):
        write_jsonl(tmp_path / f"{part}.jsonl", stories[part][:6])
    voices = tmp_path / "voices.json"
    cast = {"speakers": [], "styles": {"sad": {}, "angry": {"pitch": 5}}}
    for name, voice in (("ann", "en+f1"), ("bob", "en+m1")):
        cast["speakers"].append({"id": name, "voice": voice, "pitch": 40, "range": 50, "rate": 170})
    voices.write_text(json.dumps(cast))
    given = ["--test", str(tmp_path / "test.jsonl"), "--train", str(tmp_path / "train.jsonl"), "--voices", str(voices)]
    script("spiritlm_test_rows").main([*given, "--words", "3", "--stories", "4", "--out", str(tmp_path / "rows.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 12 + 8 + 4 and {row["style"] for row in rows} <= {"sad", "angry"}
    ids = [row["id"] for row in rows]
    write_jsonl(tmp_path / "r.jsonl", ({"id": i, **units_of(i)} for i in ids))
    ids = [f"{s['id']}-{i}" for s in stories["test"][:6] for i in range(1, 5)]
    write_jsonl(tmp_path / "s.jsonl", ({"id": i, **units_of(i)} for i in ids))
    files = ["--story-streams", str(tmp_path / "s.jsonl"), "--row-streams", str(tmp_path / "r.jsonl")]
    given = ["--stories", str(tmp_path / "test.jsonl"), "--rows", str(tmp_path / "rows.jsonl"), *files]
    script("spiritlm_test_items").main([*given, "--out", str(tmp_path / "items")])
    assert len(read_test_sets(tmp_path / "items")) == 12
    before = {p.name: p.read_bytes() for p in (tmp_path / "items").iterdir()}
    script("spiritlm_test_items").main([*given, "--out", str(tmp_path / "items")])
    assert {p.name: p.read_bytes() for p in (tmp_path / "items").iterdir()} == before
    (tmp_path / "r.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(UserError, match="utterance 1 has no id or no units"):
        read_streams([tmp_path / "r.jsonl"])
