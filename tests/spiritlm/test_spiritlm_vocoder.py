"""The vocoder equals the published program's, whole or in pieces; streams that do not fit are refused."""

import json

import numpy as np
import pytest
import torch
from spiritlm_checkpoints import TINY, write_vocoder
from spiritlm_goldens import arrays

from spire.errors import UserError
from spiritlm.vocoder.generator import Generator, GeneratorShape
from spiritlm.vocoder.vocoder import Vocoder

CODES = TINY["runs"]["dur"]["kw"]["code"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return Vocoder(write_vocoder(tmp_path_factory.mktemp("vocoder")))


@pytest.fixture(scope="module")
def expressive(tmp_path_factory):
    return Vocoder(write_vocoder(tmp_path_factory.mktemp("vocoder"), expressive=True))


def test_without_durations(base):
    found = base.decode(**TINY["runs"]["nodur"]["kw"])
    np.testing.assert_allclose(found, arrays()["hifigan-base-tiny.nodur"], rtol=0, atol=1e-4)
    assert found.dtype == np.float32 and found.shape == (TINY["runs"]["nodur"]["n"],)


def test_with_durations(base):
    found = base.decode(**TINY["runs"]["dur"]["kw"])
    assert base.durations(CODES).tolist() == TINY["durations"] and len(found) == TINY["runs"]["dur"]["n"]
    np.testing.assert_allclose(found[::29], arrays()["hifigan-base-tiny.dur.every29"], rtol=0, atol=1e-4)


def test_pieces_equal_the_whole():
    shape = GeneratorShape(6, 8, (4, 2), (8, 4), (3, 5), ((1, 3), (1, 2)), code_hop_size=8)
    torch.manual_seed(1)
    generator = Generator(shape)
    x = torch.randn(1, 6, 90)
    with torch.no_grad():
        whole = generator(x)
        pieces = [generator(x[:, :, first:last])[:, own] for first, last, own in shape.spans(90, tile=20)]
        assert [piece.shape[1] for piece in pieces] == [160, 160, 160, 160, 80]
        torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-6)
        far = x.clone()
        far[:, :, shape.reach + 1 :] += 1
        assert (generator(far)[:, :8] == whole[:, :8]).all() and (generator(far) != whole).any()


def test_samples_come_as_they_are_computed(base):
    whole = base.decode(CODES, dur_pred=False, not_dedup_code=True)
    pieces = list(base.stream(CODES, dur_pred=False, not_dedup_code=True, tile=10))
    assert [len(piece) for piece in pieces] == [6400, 6400, 3200]
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=0, atol=1e-5)


def test_repeats_are_dropped_unless_kept(base):
    codes = [4, 5] * 12 + [4]
    plain = base.decode(codes, dur_pred=False)
    assert (base.decode([5 if c == 5 else 4 for c in codes for _ in (0, 1)], dur_pred=False) == plain).all()
    assert (base.decode([-1, *codes, -1], dur_pred=False, not_dedup_code=True) == plain).all()
    assert base.decode([]).shape == (0,)


def test_speaker_and_style_change_the_voice(base):
    settings = {"code": CODES, "dur_pred": False, "not_dedup_code": True}
    plain = base.decode(**settings)
    assert (base.decode(**settings, speaker_id=2, style_id=8) == plain).all()
    assert (base.decode(**settings, speaker_id=1) != plain).any()
    assert (base.decode(**settings, style_id=1) != plain).any()
    assert base.styles[8] == "conv-default" and base.speakers == list("abcd") and not base.expressive


def test_expressive_streams_condition_in_order(expressive):
    numbers = [[1, 2, 2, 4, 1] * 5, [5, 5, 6, 6, 9] * 5, [7, 7, 8, 8, 3] * 5]
    units = {name: " ".join(map(str, n)) for name, n in zip(("hubert", "pitch", "style"), numbers, strict=True)}
    found = expressive.decode(units, dur_pred=False, not_dedup_code=True, speaker_id=3)
    table = {name: module.weight for name, module in expressive.tables.items()}
    rows = [table[name][n] for name, n in zip(("dict", "f0_dict", "style_dict"), numbers, strict=True)]
    with torch.no_grad():
        x = torch.cat([*rows, table["spkr"][[3] * 25]], dim=1).t()[None]
        assert (expressive.generator(x)[0].numpy() == found).all()
    assert expressive.expressive


def test_streams_of_an_encoder_are_stretched(expressive):
    codes = " ".join(map(str, range(25)))
    units = {"hubert": codes, "pitch": " ".join(map(str, range(12))), "style": "1"}
    found = expressive.decode(units, not_dedup_code=True)
    assert len(found) == 25 * 640
    pitch = " ".join(str(min(i // 2, 11)) for i in range(25))
    spelled = {"hubert": codes, "pitch": pitch, "style": "1 " * 25}
    assert (expressive.decode(spelled, dur_pred=False, not_dedup_code=True) == found).all()


def test_streams_of_long_audio_stay_in_step(expressive):
    """100 s have 2499 codes, 1250 pitches and 100 styles: after 410 s pitch and style are 4 codes longer."""
    pieces = [(2499, 1250, 100)] * 4 + [(250, 125, 10)]
    rng = np.random.default_rng(1)
    codes, pitches, styles = ([rng.integers(0, n, p[i]) for p in pieces] for i, n in enumerate((25, 64, 4)))

    def stretched(*parts):
        return expressive._stretched(
            {
                name: torch.from_numpy(np.concatenate(part))
                for name, part in zip(("hubert", "pitch", "style"), parts, strict=True)
            }
        )

    found = stretched(codes, pitches, styles)
    alone = [stretched([c], [p], [s]) for c, p, s in zip(codes, pitches, styles, strict=True)]
    for name in found:
        assert torch.equal(found[name], torch.cat([piece[name] for piece in alone]))
    with pytest.raises(UserError, match="do not go with"):
        stretched(codes[:4], pitches, styles)


@pytest.mark.parametrize(
    ("units", "match"),
    [
        ({"hubert": "1"}, "without pitch and style"),
        ({"hubert": "1 2", "pitch": "64 1", "style": "1 1"}, "pitch 64"),
        ({"hubert": "1 30", "pitch": "1 1", "style": "1 1"}, "hubert 30"),
        ({"hubert": "1 2", "pitch": "1 x", "style": "1 1"}, "no unit"),
        ({"hubert": "1 2 3 4 5 6 7 8 9", "pitch": "1", "style": "1"}, "1 pitch units"),
    ],
)
def test_wrong_units_are_refused(expressive, units, match):
    with pytest.raises(UserError, match=match):
        expressive.decode(units, not_dedup_code=True)


def test_wrong_speakers_and_files_are_refused(base, tmp_path):
    for wrong in ({"speaker_id": 4}, {"style_id": 12}, {"speaker_id": -1}):
        with pytest.raises(UserError, match="does not exist"):
            base.decode(CODES, **wrong)
    folder = write_vocoder(tmp_path / "v")
    for change, match in (({"upsample_rates": [5, 4, 4, 4, 4]}, "640"), ({"model_in_dim": 64}, "channels")):
        (folder / "config.json").write_text(json.dumps(TINY["cfg"] | change))
        with pytest.raises(UserError, match=match):
            Vocoder(folder)
