"""The drop-in tokenizers: from files, bytes, arrays and tensors to units and strings, and back to audio."""

import importlib.util

import numpy as np
import pytest
import soundfile
import torch
from spiritlm_checkpoints import write_checkpoints
from spiritlm_goldens import golden, wav

from spire.errors import UserError
from spiritlm import speech_tokenizer
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.speech_tokenizer import spiritlm_base, spiritlm_expressive

needs_yaapt = pytest.mark.skipif(not importlib.util.find_spec("amfm_decompy"), reason="AMFM_decompy is missing")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module", autouse=True)
def layer_3():
    """Layer 3 of 4 stands for layer 11 of 12."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speech_tokenizer, "Hubert25", lambda path, **named: Hubert25(path, 3, **named))
        yield


@pytest.fixture(scope="module")
def base(folder, layer_3):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIRITLM_CHECKPOINTS_DIR", str(folder))
        return spiritlm_base(device="cpu")


def test_every_form_of_audio_gives_the_same_units(base, tmp_path):
    expected = golden()["hubert"]["units"]["s2"]
    path = tmp_path / "audio.wav"
    samples = wav("s2")
    soundfile.write(path, np.stack([samples, samples], axis=1), 16_000, subtype="FLOAT")
    units = base.encode_units(path)
    assert units == {"audio": str(path), "hubert": " ".join(map(str, expected))}
    forms = (path.read_bytes(), samples, torch.from_numpy(samples), np.stack([samples, samples]), samples[:, None])
    assert all(base.encode_units(form) == {"hubert": units["hubert"]} for form in forms)
    kept = [str(u) for i, u in enumerate(expected) if i == 0 or u != expected[i - 1]]
    assert base.encode_string(str(path)) == base(samples) == "".join(f"[Hu{u}]" for u in kept)


def test_audio_of_another_rate_is_resampled(base, tmp_path):
    path = tmp_path / "audio.flac"
    soundfile.write(path, wav("s2"), 48_000)
    assert base.encode_units(path)["hubert"] == base.encode_units(soundfile.read(path)[0], 48_000)["hubert"]
    assert len(base.encode_units(path)["hubert"].split()) == 8


def test_many_equal_one_by_one(base):
    audios = [wav("s3"), wav("s2"), wav("s3")[:2000]]
    assert base.encode_many(audios) == [base.encode_units(audio) for audio in audios]


def test_long_audio_is_cut(base, monkeypatch):
    monkeypatch.setattr(speech_tokenizer, "CHUNK", 6400)
    samples = wav("s2")[: 2 * 6400 + 1279]
    parts = [base.encode_units(samples[start : start + 6400])["hubert"] for start in (0, 6400)]
    assert base.encode_units(samples)["hubert"] == " ".join(parts)
    streamed = list(base.encode_stream([samples[:100], samples[100:9000], samples[9000:]]))
    assert [units["hubert"] for units in streamed] == parts
    with pytest.warns(UserWarning, match="80 ms"):
        assert base.encode_units(samples[:1279]) == {"hubert": ""} and base.encode_string(samples[:1279]) == ""


def test_decode_of_strings_and_units(base, folder):
    units = {"hubert": "9 4 1"}
    string = base.units_to_string(units)
    found = base.decode(string, speaker_id=1, dur_pred=False)
    assert found.dtype == np.float32 and found.shape == (3 * 640,)
    assert (base.decode(units, speaker_id=1, dur_pred=False) == found).all()
    assert (base.decode("[St3][Pi2]" + string, speaker_id=1, dur_pred=False) == found).all()
    assert (base.decode(units, dur_pred=False) == base.decode(units, dur_pred=False, speaker_id=2)).all()
    other = spiritlm_base(default_speaker=1, device="cpu", folder=folder)
    assert (other.decode(string, dur_pred=False) == found).all()
    assert len(base.decode("[Hu9]")) == 640 * base.vocoder.durations("9").sum()


@needs_yaapt
def test_expressive(folder):
    tokenizer = spiritlm_expressive(f0_backend="pyaapt", device="cpu", folder=folder)
    samples = wav("s3")
    units = tokenizer.encode_units(samples)
    assert list(units) == ["hubert", "pitch", "style"]
    assert [len(units[name].split()) for name in units] == [37, 18, 2]
    string = tokenizer.encode_string(samples)
    assert string.startswith(f"[St{units['style'].split()[0]}][Pi{units['pitch'].split()[0]}][Hu")
    assert string.count("[St") == 2
    assert len(tokenizer.decode(units)) == 37 * 640
    assert (tokenizer.decode("[Pi1][Hu2]") == tokenizer.decode("[Pi1][Hu2]")).all()
    with pytest.raises(UserError, match="without pitch and style"):
        tokenizer.decode("[Hu2]")
    silent = tokenizer.encode_units(np.zeros(16_000, np.float32))
    assert [len(silent[name].split()) for name in silent] == [24, 12, 1]


def test_missing_checkpoints_name_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIRITLM_CHECKPOINTS_DIR", str(tmp_path))
    for open_tokenizer in (spiritlm_base, spiritlm_expressive):
        with pytest.raises(UserError, match="no such checkpoint") as error:
            open_tokenizer(device="cpu")
        assert "spirit-lm-downloads" in error.value.hint and "SPIRITLM_CHECKPOINTS_DIR" in error.value.hint
    with pytest.raises(UserError, match="device"):
        spiritlm_base(device="abacus")


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bfloat16 in oneDNN")
def test_bfloat16_reaches_all_parts_but_pitch(folder, base):
    rounded = spiritlm_base(device="cpu", folder=folder, dtype="bfloat16")
    samples = wav("s2")
    (expected,), (found,) = base.hubert.features([samples]), rounded.hubert.features([samples])
    assert not np.array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.05 * np.abs(expected).max())
    code = {"hubert": base.encode_units(samples)["hubert"]}
    expected, found = (t.decode(code, dur_pred=False) for t in (base, rounded))
    assert expected.shape == found.shape and not np.array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.05 * np.abs(expected).max())


def test_a_wrong_dtype_is_refused(folder):
    with pytest.raises(UserError, match="unknown dtype 'float16'"):
        spiritlm_base(device="cpu", folder=folder, dtype="float16")
