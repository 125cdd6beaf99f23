"""Units become audio with their own timing; its scores tell it from audio of other units, and keep each utterance."""

import json

import numpy as np
import pytest
from spiritlm_checkpoints import write_vocoder

from spire.audio import load_utterance, write_wav
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest, write_manifest
from spiritlm.evaluation.measures import paired_interval, read_measures
from spiritlm.pitch.f0_files import F0Folder, TrackedF0, write_f0
from spiritlm.vocoder.resynthesis import resynthesize
from spiritlm.vocoder.scores import (
    bits_per_second,
    f0_measures,
    mel_distance,
    style_measure,
    warped,
    wer_measure,
)
from spiritlm.vocoder.vocoder import Vocoder


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Six utterances of two speakers; units of a tiny random vocoder (30 phonetic units)."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(1)
    utterances, lines = [], []
    for i in range(6):
        units = 20 + 2 * i
        write_wav(folder / f"{i}.wav", (0.1 * rng.standard_normal(units * 640 + 100)).astype(np.float32))
        duration = (units * 640 + 100) / 16_000
        extra = {"style": "happy", "story": "st0"}
        utterances.append(Utterance(f"u{i}", f"{i}.wav", duration, "en", f"words {i}", "ab"[i % 2], extra=extra))
        codes = rng.integers(0, 30, units)
        pitch = rng.integers(0, 64, units // 2)
        lines.append(
            {"id": f"u{i}", "hubert": " ".join(map(str, codes)), "pitch": " ".join(map(str, pitch)), "style": "3"}
        )
    write_manifest(folder / "manifest.jsonl", utterances)
    (folder / "streams.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def vocoders(tmp_path_factory):
    return [Vocoder(write_vocoder(tmp_path_factory.mktemp("vocoder"), expressive)) for expressive in (False, True)]


def write(speech, vocoder, out, **how):
    resynthesize(vocoder, speech / "manifest.jsonl", speech / "streams.jsonl", out, **how)
    utterances = read_manifest(out / "manifest.jsonl")
    return utterances, [load_utterance(u) for u in utterances]


@pytest.mark.parametrize("expressive", [False, True])
def test_audio_is_that_of_the_units(speech, vocoders, tmp_path, expressive):
    vocoder = vocoders[expressive]
    utterances, wavs = write(speech, vocoder, tmp_path / "out")
    lines = [json.loads(line) for line in (speech / "streams.jsonl").read_text().splitlines()]
    assert [u.id for u in utterances] == [line["id"] for line in lines]
    assert [len(wav) for wav in wavs] == [640 * len(line["hubert"].split()) for line in lines]
    assert utterances[1].speaker == "b" and utterances[1].extra == {"style": "happy", "story": "st0"}
    wanted = vocoder.decode(lines[1], speaker_id=1, dur_pred=False, not_dedup_code=True)
    np.testing.assert_allclose(wavs[1], wanted, atol=1e-4)


def test_originals_are_cut_to_whole_units(speech, tmp_path):
    utterances, wavs = write(speech, None, tmp_path / "out", limit=3)
    assert [u.id for u in utterances] == ["u0", "u2", "u4"]
    original = load_utterance(read_manifest(speech / "manifest.jsonl")[2])
    np.testing.assert_allclose(wavs[1], original[: len(wavs[1])], atol=1e-4)
    assert len(wavs[1]) == 24 * 640


def test_controls(speech, vocoders, tmp_path):
    base = vocoders[0]
    lines = [json.loads(line) for line in (speech / "streams.jsonl").read_text().splitlines()]
    _, other = write(speech, base, tmp_path / "other", control="other")
    codes = np.resize(np.array(lines[2]["hubert"].split(), int), 20)
    wanted = base.decode(codes, speaker_id=0, dur_pred=False, not_dedup_code=True)
    np.testing.assert_allclose(other[0], wanted, atol=1e-4)
    _, plain = write(speech, base, tmp_path / "plain")
    _, order = write(speech, base, tmp_path / "order", control="order", seed=1)
    _, again = write(speech, base, tmp_path / "again", control="order", seed=1, limit=3)
    _, third = write(speech, base, tmp_path / "third", control="order", seed=2)
    assert (order[2] == again[1]).all(), "the order depends on the utterance, not on what is written beside it"
    assert len(order[0]) == len(plain[0]) and (order[0] != plain[0]).any() and (order[0] != third[0]).any()


def test_what_does_not_fit_leaves_nothing(speech, vocoders, tmp_path):
    with pytest.raises(UserError, match="unknown control"):
        write(speech, vocoders[0], tmp_path / "out", control="noise")
    with pytest.raises(UserError, match="style 'grumpy'"):
        write(speech, vocoders[0], tmp_path / "out", style="grumpy")
    rows = [json.loads(line) for line in (speech / "manifest.jsonl").read_text().splitlines()]
    folder = tmp_path / "foreign"
    folder.mkdir()
    for row in rows:
        row["audio"] = str(row["audio"])
        row["speaker"] = "z"
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="speaker 'z'"):
        resynthesize(vocoders[0], folder / "manifest.jsonl", speech / "streams.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_mel_distance():
    rng = np.random.default_rng(1)
    wav = np.convolve(rng.standard_normal(16_000), np.ones(8) / 8, "same").astype(np.float32) * 0.1
    wav *= np.repeat(rng.uniform(0.05, 1, 20), 800).astype(np.float32)
    other = wav[::-1].copy()
    assert mel_distance(wav, wav) == 0
    assert mel_distance(wav, wav * 0.5) == pytest.approx(20 * np.log10(2), abs=0.35)
    # Of another length it is warped: a stretched copy stays near, another sound does not.
    longer = np.repeat(wav.reshape(20, 800), 2, axis=0).ravel()
    assert mel_distance(wav, longer) < 0.7 * mel_distance(np.concatenate([other, other]), longer)
    with pytest.raises(UserError, match="without samples"):
        mel_distance(wav, wav[:0])


def test_warping_equals_the_recurrence():
    rng = np.random.default_rng(2)
    for rows, columns in ((1, 1), (1, 5), (6, 4), (7, 9)):
        costs = rng.uniform(size=(rows, columns)).round(1)
        best = {(0, 0): (costs[0, 0], 1)}
        for i in range(rows):
            for j in range(columns):
                ways = [best[p] for p in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if p in best]
                if ways:
                    least = min(way[0] for way in ways)
                    steps = min(way[1] for way in ways if way[0] == least)
                    best[i, j] = (least + costs[i, j], steps + 1)
        total, steps = best[rows - 1, columns - 1]
        assert warped(costs) == pytest.approx(total / steps, rel=0.02)
    assert warped(np.ones((3, 3)) - np.eye(3)) == 0


def test_bits_of_the_published_models():
    assert bits_per_second([500]) == 225 and bits_per_second([500, 64, 100]) == 307
    assert bits_per_second([2000]) == 275


def test_scores_of_a_whole_set(speech, vocoders, tmp_path, capsys):
    from test_spiritlm_vocoder_scripts import scores

    folders = {}
    for name, vocoder, how in (
        ("original", None, {}),
        ("base", vocoders[0], {}),
        ("shuffled", vocoders[0], {"control": "other"}),
    ):
        write(speech, vocoder, tmp_path / name, **how)
        folders[name] = tmp_path / name
        texts = [f"words {i}" if name != "shuffled" else "other thing here" for i in range(6)]
        heard = "".join(json.dumps({"id": f"u{i}", "text": text}) + "\n" for i, text in enumerate(texts))
        (tmp_path / f"{name}.jsonl").write_text(heard)
        wrong = {"original": 0, "base": 3, "shuffled": 10}[name]
        tracked = []
        for i in range(6):
            voicing = (np.arange(40) >= wrong).astype(np.float32)
            tracked.append(TrackedF0(f"u{i}", "a", np.full(40, 120, np.float32), voicing))
        write_f0(tmp_path / f"{name}.f0", tracked, "fcpe")
    arguments = ["--audio", *(f"{n}={p}" for n, p in folders.items())]
    arguments += ["--transcripts", *(f"{n}={tmp_path / n}.jsonl" for n in folders)]
    arguments += ["--f0", *(f"{n}={tmp_path / n}.f0" for n in folders), "--units", "base=30"]
    scores(arguments + ["--out", str(tmp_path / "measures")])
    found = {(m.test_set, m.metric): m for m in read_measures(tmp_path / "measures")}
    assert found["original", "wer"].value == 0 and found["shuffled", "wer"].value == 150
    assert found["base", "bits_per_second"].value == 125
    assert found["base", "f0_error"].value == 7.5 and found["shuffled", "f0_error"].value == 25
    gap, low, high = paired_interval(found["shuffled", "mel_distance"], found["base", "mel_distance"])
    assert low <= gap <= high and found["base", "mel_distance"].n == 6
    assert "shuffled" in capsys.readouterr().out
    with pytest.raises(UserError, match="no audio of 'nobody'"):
        scores(arguments + ["--units", "nobody=3", "--out", str(tmp_path / "x")])


def test_scores_refuse_what_belongs_to_other_utterances(tmp_path):
    utterances = [Utterance("a", "a.wav", 1, "en", "one")]
    (tmp_path / "t.jsonl").write_text('{"id": "b", "text": "one"}\n')
    with pytest.raises(UserError, match="not the utterances"):
        wer_measure("base", utterances, tmp_path / "t.jsonl", 1)
    for name in "ab":
        write_f0(tmp_path / name, [TrackedF0(name, "", np.ones(3, np.float32), np.ones(3, np.float32))], "fcpe")
    with pytest.raises(UserError, match="other utterances"):
        f0_measures("base", F0Folder(tmp_path / "a"), F0Folder(tmp_path / "b"), 1)


def test_style_kept():
    found = style_measure("base", [[1, 1, 2], [3]], [[1, 2, 2], [3]], 1)
    assert found.value == 75 and found.n == 2
    assert style_measure("base", [[], []], [[], []], 1) is None
