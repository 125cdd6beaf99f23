"""What progress says about hours of audio."""

from spire import progress
from spire.progress import AudioProgress


def lines(capsys, clock, monkeypatch, steps, **options):
    now = iter(clock)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with AudioProgress("label x", **options) as p:
        for seconds, size in steps:
            p.advance_audio(seconds, size)
    return capsys.readouterr().err.splitlines()


def test_hours_rate_and_time_left(capsys, monkeypatch):
    out = lines(capsys, [0, 10, 20, 20], monkeypatch, [(3600, 100), (7200, 100)], total=400)
    assert out == [
        "label x: 1.00 h of audio (25.0% done), 360 h/h, 30 s left",
        "label x: 3.00 h of audio (50.0% done), 540 h/h, 20 s left",
        "label x: 3.00 h of audio (50.0% done), 540 h/h, 20.0 s",
    ]


def test_what_an_earlier_run_did_counts_in_the_share_only(capsys, monkeypatch):
    out = lines(capsys, [0, 10, 10], monkeypatch, [(3600, 100)], total=400, before=200)
    assert out[0] == "label x: 1.00 h of audio (75.0% done), 360 h/h, 10 s left"


def test_without_a_total(capsys, monkeypatch):
    assert lines(capsys, [0, 3600, 3600], monkeypatch, [(360_000, 1)])[0] == "label x: 100 h of audio, 100 h/h"
