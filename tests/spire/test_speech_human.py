"""The shipped recordings are intact, licensed and usable; damaged copies are reported file by file."""

import gzip
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spire.audio import read_audio
from spire.errors import UserError
from spire.manifest import read_manifest
from spire.speech.human import choose_subset, make_manifest, read_recordings
from spire.speech.human_import import clean, import_prompts, read_transcripts

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "data/human"
main = runpy.run_path(str(ROOT / "scripts/data_human.py"))["main"]


@pytest.fixture
def source(tmp_path):
    """A copy of five shipped recordings."""
    folder = tmp_path / "source"
    (folder / "audio").mkdir(parents=True)
    lines = (SHIPPED / "metadata.jsonl").read_text(encoding="utf-8").splitlines()[:5]
    for line in lines:
        shutil.copy(SHIPPED / json.loads(line)["audio"], folder / "audio")
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_the_shipped_corpus_is_complete_small_and_attributed():
    recordings = read_recordings(SHIPPED)
    files = {p.name for p in (SHIPPED / "audio").iterdir()}
    assert files == {Path(r.audio).name for r in recordings} and len(files) == len(recordings) >= 250
    assert sum(p.stat().st_size for p in SHIPPED.rglob("*") if p.is_file()) < 12_000_000
    assert all(len(r.text.split()) >= 2 and r.sha256 for r in recordings)
    assert sum("fr" in r.translations for r in recordings) > 200
    credits = (SHIPPED / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert f"{len(recordings)} English telephone prompts" in credits
    for word in ("Allison Smith", "June Wallack", "Carlo Flora", "Maxim Topal", "CC BY-SA 3.0", "Changes made"):
        assert word in credits


def test_the_shipped_corpus_becomes_a_16_khz_manifest(tmp_path, capsys):
    assert main(["--source", str(SHIPPED), "--out", str(tmp_path)]) == 0
    utterances = read_manifest(tmp_path / "human.jsonl")
    assert len(utterances) == len(read_recordings(SHIPPED))
    assert f"{len(utterances)} utterances" in capsys.readouterr().out
    for utterance in utterances[::20]:
        samples = read_audio(utterance.audio_path)
        assert abs(len(samples) / 16000 - utterance.duration) < 1e-4
        assert 0.01 < np.sqrt(np.mean(samples**2)) < 0.5
    assert soundfile.info(str(utterances[0].audio_path)).samplerate == 16000


def test_subsets_are_nested_repeatable_and_in_file_order(tmp_path):
    recordings = read_recordings(SHIPPED)
    ten, thirty = choose_subset(recordings, 10, 1), choose_subset(recordings, 30, 1)
    assert len(ten) == 10 and all(recording in thirty for recording in ten)
    assert [r.key for r in ten] == [r.key for r in recordings if r in ten]
    assert choose_subset(recordings, 10, 2) != ten
    with pytest.raises(UserError, match=f"--subset 0: there are {len(recordings)}"):
        choose_subset(recordings, 0, 1)
    first = make_manifest(SHIPPED, tmp_path / "a", subset=3)
    assert first == make_manifest(SHIPPED, tmp_path / "a", subset=3)
    assert len(list((tmp_path / "a/audio").iterdir())) == 3


def test_every_damaged_file_is_listed_and_nothing_is_written(source, tmp_path):
    names = [r.audio for r in read_recordings(source)]
    (source / names[0]).write_bytes(b"")
    data = (source / names[1]).read_bytes()
    (source / names[1]).write_bytes(data[: len(data) // 2])
    (source / names[2]).unlink()
    soundfile.write(source / names[3], np.zeros(8000, np.float32), 8000, format="FLAC")
    with pytest.raises(UserError) as caught:
        make_manifest(source, tmp_path / "out")
    message = caught.value.message
    assert message.startswith("4 of 5 recordings cannot be used")
    for name, reason in zip(names, ("the file is empty", "", "no such audio file", "not the file that"), strict=False):
        [line] = [line for line in message.splitlines() if name in line]
        assert reason in line
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "line, reason",
    [
        ("{", "Expecting"),
        ('{"key": "a"}', "missing"),
        ('{"key": "../a", "audio": "", "text": "", "translations": {}}', "cannot be a file name"),
    ],
)
def test_bad_metadata_is_named(source, line, reason):
    with open(source / "metadata.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=reason) as caught:
        read_recordings(source)
    assert "metadata.jsonl:6: " in caught.value.message


def test_a_folder_without_metadata_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_recordings(tmp_path)


def test_transcripts_are_cleaned_and_read_past_comments(tmp_path):
    path = tmp_path / "t.txt.gz"
    path.write_bytes(gzip.compress("\ufeff; comment: no\n\na: ...to  leave: now...\na: again\nletters/b: b\n".encode()))
    assert read_transcripts(path) == {"a": "to leave: now", "letters/b": "b"}
    assert clean("All represenatives … are  busy.") == "All representatives are busy."


def test_import_keeps_words_and_drops_the_rest(tmp_path):
    sounds = tmp_path / "un/usr/share/asterisk/sounds/en_US_f_Allison"
    seconds = {"good": 1.0, "vm/also": 1.0, "short": 0.5, "beep": 1.0, "one": 1.0, "digits/5": 1.0, "spy-x": 1.0}
    for key, length in seconds.items():
        (sounds / key).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(sounds / f"{key}.wav", np.zeros(int(8000 * length), np.float32), 8000)
    english = "good: hello there\nvm/also: and you\nshort: not long\nbeep: [a tone]\none: one\ndigits/5: five five\n"
    english += "spy-x: USB Radio\nabsent: no recording\n"
    for language, text in {"en": english, "fr": "good: bonjour", "es": "good: [tono]", "it": "", "ru": ""}.items():
        folder = tmp_path / f"un/usr/share/doc/asterisk-core-sounds-{language}"
        folder.mkdir(parents=True)
        (folder / f"core-sounds-{language}.txt.gz").write_bytes(gzip.compress(text.encode()))
    counts = import_prompts(tmp_path / "un", tmp_path / "out")
    assert (counts.kept, counts.too_short_or_long, counts.no_words) == (2, 1, 5)
    good, also = read_recordings(tmp_path / "out")
    assert (good.key, also.key) == ("good", "vm-also") and good.translations == {"fr": "bonjour"}
    with pytest.raises(UserError, match="missing"):
        import_prompts(tmp_path / "nowhere", tmp_path / "out")
