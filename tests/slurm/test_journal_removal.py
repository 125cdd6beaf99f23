"""A submission whose removal is interrupted is gone, rather than one whose jobs never ended."""

import shutil

import pytest

from ducttape.plan.tasks import TaskKey
from ducttape.run.slurm_journal import Journal


def test_a_kill_while_a_submission_is_removed_leaves_no_job_in_flight(tmp_path, monkeypatch):
    journal = Journal(tmp_path / ".jobs")
    key = TaskKey("a", "Baseline.baseline")
    submission = journal.create("a", {0: {"key": [key.task, key.realization]}}, False, [])
    submission.note_job("7")
    assert Journal(journal.folder).find(key) is not None
    (submission.folder / "results/0.json").write_text("{}")

    def killed(folder, **options):
        (folder / "collected").unlink()
        (folder / "results/0.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        submission.collect([0])
    later = Journal(journal.folder)
    assert later.find(key) is None and later.submissions() == []
    later.sweep()
    assert list(journal.folder.iterdir()) == []
