"""F0 frame error and cents are what their definitions say; contours on disk come back as they were."""

import json
import math

import numpy as np
import pytest

from spire.errors import UserError
from spiritlm.pitch.errors import PitchErrors, pitch_errors, total
from spiritlm.pitch.f0_files import F0Folder, TrackedF0, write_f0


def contour(*values):
    f0 = np.array(values, np.float32)
    return f0, (f0 > 0).astype(np.float32)


def test_each_kind_of_error_is_counted():
    found = pitch_errors(contour(100, 100, 100, 0, 0, 100), contour(100, 119, 121, 0, 90, 0))
    assert (found.frames, found.voicing, found.both, found.gross) == (6, 2, 3, 1)
    assert found.frame_error == pytest.approx(3 / 6) and found.voicing_error == pytest.approx(2 / 6)
    assert found.gross_error == pytest.approx(1 / 3)
    squares = [0, (1200 * math.log2(1.19)) ** 2, (1200 * math.log2(1.21)) ** 2]
    assert found.cents == pytest.approx(math.sqrt(sum(squares) / 3))
    assert found.fine_cents == pytest.approx(math.sqrt(sum(squares[:2]) / 2))


def test_an_octave_is_1200_cents_and_wrong_throughout():
    found = pitch_errors(contour(100, 200), contour(200, 400))
    assert found.cents == pytest.approx(1200) and found.frame_error == 1.0 and math.isnan(found.fine_cents)


def test_a_contour_that_ends_earlier_is_unvoiced_from_there_on():
    longer, shorter = contour(100, 100, 100, 0), contour(100, 100)
    for found in (pitch_errors(longer, shorter), pitch_errors(shorter, longer)):
        assert (found.frames, found.voicing, found.both) == (4, 1, 2)


def test_f0_of_unvoiced_frames_does_not_count():
    f0, voicing = np.array([100, 300, 100], np.float32), np.array([1, 0, 1], np.float32)
    assert pitch_errors(contour(100, 0, 100), (f0, voicing)).frame_error == 0


def test_sums_over_utterances():
    a, b = pitch_errors(contour(100), contour(100)), pitch_errors(contour(0, 0, 0), contour(0, 9, 0))
    assert total([a, b]).frame_error == pytest.approx(1 / 4) and total([]) == PitchErrors()
    assert total([]).frame_error == 0 and math.isnan(total([]).cents)


def test_wrong_contours_are_refused():
    with pytest.raises(ValueError, match="shape"):
        pitch_errors(contour(1), (np.zeros(2), np.zeros(3)))
    with pytest.raises(ValueError, match="positive"):
        pitch_errors(contour(1), (np.zeros(2), np.ones(2)))


def tracked(name, values):
    rng = np.random.default_rng(values)
    return TrackedF0(name, "a", rng.random(values, np.float32) * 100, rng.integers(0, 2, values).astype(np.float32))


def test_contours_on_disk(tmp_path):
    items = [tracked("x", 5), tracked("y", 0), tracked("z", 7)]
    write_f0(tmp_path / "one", items[:1], "fcpe")
    write_f0(tmp_path / "two", items[1:], "fcpe")
    found = F0Folder([tmp_path / "one", tmp_path / "two"])
    assert found.ids == ["x", "y", "z"] and len(found) == 3 and found.backend == "fcpe"
    for ours, theirs in zip(items, found, strict=True):
        assert np.array_equal(ours.f0, theirs.f0) and np.array_equal(ours.voicing, theirs.voicing)
    write_f0(tmp_path / "none", [], "fcpe")
    assert len(F0Folder(tmp_path / "none")) == 0


def test_broken_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="no complete"):
        F0Folder(tmp_path)
    write_f0(tmp_path / "a", [tracked("x", 5)], "fcpe")
    write_f0(tmp_path / "b", [tracked("x", 5)], "pyaapt")
    with pytest.raises(UserError, match="trackers"):
        F0Folder([tmp_path / "a", tmp_path / "b"])
    (tmp_path / "a" / "values.f32").write_bytes(b"1234")
    with pytest.raises(UserError, match="do not fit"):
        F0Folder(tmp_path / "a")
    (tmp_path / "b" / "f0.json").write_text(json.dumps([]))
    with pytest.raises(UserError, match="no complete"):
        F0Folder(tmp_path / "b")


def test_nothing_is_left_when_tracking_fails(tmp_path):
    def broken():
        yield tracked("x", 5)
        raise UserError("unreadable")

    with pytest.raises(UserError):
        write_f0(tmp_path / "f0", broken(), "fcpe")
    assert not list(tmp_path.iterdir())
