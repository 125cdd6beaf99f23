"""What becomes of a job that ended without a word while no controller ran, and that slurmctld has forgotten since."""

import signal
import subprocess
import time

import pytest
from real_slurm import RealSlurm, missing
from tapes_by_hand import Place, command, environment

from ducttape.run.slurm_states import read_completion_log, read_config, read_sacct, sacct

pytestmark = pytest.mark.slow


def until(true, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)


@pytest.mark.parametrize("accounting", [False, True], ids=["completion-log", "accounting"])
def test_it_is_found_in_the_log_or_the_accounting(tmp_path, monkeypatch, accounting):
    if reason := missing(accounting):
        pytest.skip(reason)
    slurm = RealSlurm(tmp_path / "slurm", acct=int(accounting), age=2)
    try:
        for name, value in slurm.environment.items():
            monkeypatch.setenv(name, value)
        place = Place(tmp_path)
        # The parent of the body's shell is the runner, which says the last word.
        runs = f'"{tmp_path}/runs"'
        body = f"echo >> {runs}; if [ $(wc -l < {runs}) = 1 ]; then kill -9 $PPID; fi; echo > $out"
        place.tape(
            "global {\n  ducttape_experimental_submitters=true\n}\n"
            f"task a > out :: .submitter=slurm {{\n  {body}\n}}\n"
        )
        first = subprocess.Popen(command("x.tape", "-O", "out", "-y"), cwd=tmp_path, env=environment(), stderr=-3)
        until((tmp_path / "runs").exists)
        first.send_signal(signal.SIGKILL)
        first.wait()
        # It forgets once a minute.
        until(lambda: not slurm.jobs(), 200)
        site = read_config(slurm.run("scontrol", "show", "config"))
        assert site.accounting is accounting
        logged = read_completion_log(site.completion_log, {"1"})
        assert {seen.state for seen in logged.values()} == {"FAILED"}
        if accounting:
            told = read_sacct(slurm.run(*sacct(["1"], time.time())))
            assert {key: seen.state for key, seen in told.items()} == {key: "FAILED" for key in logged}
        done = place.run("-y")
    finally:
        slurm.close()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs").read_text() == "\n\n"
