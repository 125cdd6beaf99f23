"""Any file becomes mono float32 at 16 kHz, and every kind of damage becomes an error that names the file."""

import numpy as np
import pytest
import soundfile

from spire.audio import RATE, load_utterance, read_audio, resample, to_int16, write_wav
from spire.errors import UserError
from spire.manifest import Utterance


def tone(seconds=0.5, rate=RATE, hertz=440.0):
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_every_format_and_rate_gives_the_same_tone(tmp_path, rate, suffix):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(0.5, rate), rate)
    samples = read_audio(path)
    assert samples.dtype == np.float32 and samples.ndim == 1 and abs(len(samples) - 8000) <= 2
    peak = np.argmax(np.abs(np.fft.rfft(samples))) * RATE / len(samples)
    assert abs(peak - 440) < 4
    assert abs(np.sqrt(np.mean(samples**2)) - 0.3 / np.sqrt(2)) < 0.02


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), -tone()], axis=1), RATE)
    assert np.abs(read_audio(tmp_path / "a.wav")).max() < 1e-4


def test_segments_are_the_samples_between(tmp_path):
    ramp = np.linspace(-0.5, 0.5, RATE, dtype=np.float32)
    soundfile.write(tmp_path / "a.flac", ramp, RATE)
    got = read_audio(tmp_path / "a.flac", start=0.25, duration=0.5)
    assert len(got) == RATE // 2 and np.abs(got - ramp[RATE // 4 : 3 * RATE // 4]).max() < 1e-4
    line = Utterance("a", "a.flac", 0.5, "en", "", start=0.25, folder=tmp_path)
    assert np.array_equal(load_utterance(line), got)
    # A rounded duration may lie a few samples behind the end; a wrong one may not.
    assert len(read_audio(tmp_path / "a.flac", start=0.5, duration=0.501)) == RATE // 2
    with pytest.raises(UserError, match=r"a\.flac: 0.5 s \+ 0.7 s asked for, but the file ends at 1.000 s"):
        read_audio(tmp_path / "a.flac", start=0.5, duration=0.7)


def test_wav_round_trip_clips_and_has_fixed_bytes(tmp_path):
    write_wav(tmp_path / "a.wav", np.array([0.0, 0.5, -0.5, 2.0, -2.0], np.float32))
    assert to_int16(read_audio(tmp_path / "a.wav")).tolist() == [0, 16384, -16384, 32767, -32768]
    data = (tmp_path / "a.wav").read_bytes()
    write_wav(tmp_path / "b.wav", np.array([0.0, 0.5, -0.5, 2.0, -2.0], np.float32))
    assert data == (tmp_path / "b.wav").read_bytes() and len(data) == 44 + 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "b.wav"]


def test_resampling_nothing_and_to_the_same_rate():
    assert len(resample(np.zeros(0), 8000)) == 0
    assert np.array_equal(resample(tone(), RATE), tone())


def damaged(tmp_path, kind):
    path = tmp_path / "bad.flac"
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    soundfile.write(path, noise, RATE)
    data = path.read_bytes()
    if kind == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "flipped":
        path.write_bytes(data[:9000] + bytes(b ^ 0xFF for b in data[9000:12000]) + data[12000:])
    elif kind == "header":
        path.write_bytes(b"nope" + data[4:])
    elif kind == "empty file":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif kind == "no samples":
        soundfile.write(path, np.zeros(0, np.float32), RATE)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "missing":
        path.unlink()
    elif kind == "nan":
        path = tmp_path / "bad.wav"
        soundfile.write(path, np.array([0.0, np.nan], np.float32), RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    "kind", ["cut", "flipped", "header", "empty file", "text", "no samples", "folder", "missing", "nan"]
)
def test_damage_is_an_error_that_names_the_file(tmp_path, kind):
    path = damaged(tmp_path, kind)
    with pytest.raises(UserError) as caught:
        read_audio(path)
    assert caught.value.message.startswith(f"{path}: ") and len(caught.value.message) > len(f"{path}: ") + 8


def test_an_mp3_that_does_not_say_how_long_it_is(tmp_path):
    """Variable bit rate without the usual header: libsndfile guesses 28.6 s for these 12 s; nothing is cut off."""
    rate = 24_000
    rng = np.random.default_rng(0)
    wav = np.concatenate([np.zeros(3 * rate), 0.3 * rng.standard_normal(4 * rate), np.zeros(5 * rate)])
    path = tmp_path / "x.mp3"
    with soundfile.SoundFile(path, "w", rate, 1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5) as f:
        f.write(wav)
    whole = path.read_bytes()
    assert len(read_audio(path)) == 12 * 16_000
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut off"):
        read_audio(path)
    header = max(whole.find(b"Xing"), whole.find(b"Info"))
    path.write_bytes(whole[whole.find(b"\xff\xf3", header) :])
    assert abs(len(read_audio(path)) / 16_000 - 12) < 0.1
    tag = b"ID3\x03\x00\x00\x00\x00\x0f\x76" + b"\0" * 2038
    path.write_bytes(tag + whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut off"):
        read_audio(path)
