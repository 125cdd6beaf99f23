"""Manifests survive a round trip, name the line that is wrong, and keep their audio when written elsewhere."""

import json

import pytest

from spire.errors import UserError
from spire.manifest import Utterance, read_manifest, write_manifest

ROW = {"id": "a", "audio": "audio/a.wav", "start": 0.0, "duration": 1.5, "lang": "en", "text": "hello", "speaker": "x"}


def utterance(name="a", **changes):
    fields = {"id": name, "audio": f"audio/{name}.wav", "duration": 1.5, "lang": "en", "text": "hi"}
    return Utterance(**(fields | changes))


def test_round_trip_keeps_order_and_every_field(tmp_path):
    first = utterance("b", translations={"de": "hallo"}, phones=(("h", 0.0, 0.5), ("aI", 0.5, 1.5)), speaker="s")
    second = utterance("a", start=2.25, extra={"source": "dump é"}, text="")
    path = tmp_path / "m.jsonl"
    write_manifest(path, [first, second])
    got = read_manifest(path)
    assert [u.id for u in got] == ["b", "a"]
    assert got[0].translations == {"de": "hallo"} and got[0].phones == first.phones and got[0].speaker == "s"
    assert got[1].start == 2.25 and got[1].extra == {"source": "dump é"} and got[1].text == ""
    assert "phones" not in json.loads(path.read_text().splitlines()[1])
    assert got[0].audio_path == tmp_path / "audio/b.wav"


def test_a_manifest_written_elsewhere_still_finds_its_audio(tmp_path):
    write_manifest(tmp_path / "one/m.jsonl", [utterance()])
    write_manifest(tmp_path / "two/deep/m.jsonl", read_manifest(tmp_path / "one/m.jsonl"))
    [moved] = read_manifest(tmp_path / "two/deep/m.jsonl")
    assert moved.audio == "../../one/audio/a.wav"
    assert moved.audio_path == tmp_path / "one/audio/a.wav"


def test_text_may_hold_any_line_separator(tmp_path):
    path = tmp_path / "m.jsonl"
    write_manifest(path, [utterance(text="a\u2028b\nc\x85d"), utterance("b")])
    assert [u.text for u in read_manifest(path)] == ["a\u2028b\nc\x85d", "hi"]


@pytest.mark.parametrize(
    "line, reason",
    [
        ("{", "Expecting"),
        ("[]", "not a JSON object"),
        (json.dumps(ROW | {"text": None}), '"text" must be a string'),
        (json.dumps(ROW | {"id": ""}), '"id" is empty'),
        (json.dumps(ROW | {"audio": "/etc/x.wav"}), "relative to the manifest"),
        (json.dumps(ROW | {"duration": "1"}), '"duration" must be a number'),
        (json.dumps(ROW | {"duration": float("nan")}), '"duration" must be a number'),
        (json.dumps(ROW | {"start": -1}), '"start" must be a number'),
        (json.dumps(ROW | {"translations": ["de"]}), '"translations" must map'),
        (json.dumps(ROW | {"phones": [["a", 1]]}), '"phones" must be a list'),
        (json.dumps(ROW), "already on line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, reason):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(ROW) + "\n\n" + line + "\n")
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    assert caught.value.message.startswith(f"{path}:3: ") and reason in caught.value.message


def test_missing_and_undecodable_manifests(tmp_path):
    with pytest.raises(UserError, match="no such manifest"):
        read_manifest(tmp_path / "none.jsonl")
    (tmp_path / "m.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.jsonl"
    write_manifest(path, [utterance()])
    before = path.read_bytes()
    with pytest.raises(UserError, match="two utterances"):
        write_manifest(path, [utterance("b"), utterance("b")])
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]
