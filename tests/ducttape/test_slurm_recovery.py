"""Crashes of nodes, time limits, preemption, memory; controllers that die; people who cancel."""

import time

import hand_plans
import pytest
from hand_plans import BASELINE, read
from slurm_by_hand import HASTY, Gone, Run, cluster, make, reasons, record, task

from ducttape.plan.tasks import TaskKey
from ducttape.run.slurm_journal import Submission

SHORT = "sleep 0.4; echo $DUCTTAPE_ATTEMPT > $out"
# Ends at once when it is not the first attempt.
SECOND = (
    'if [[ $DUCTTAPE_PREVIOUS ]]; then cat "$DUCTTAPE_PREVIOUS/progress" > $out; else echo 7 > progress; sleep 60; fi'
)


def running(slurm, name: str = "") -> list[dict]:
    return [j for j in slurm.jobs() if j["state"] == "RUNNING" and j["name"].startswith(name)]


def when_running(slurm, what, count: int = 1, after: float = 0.4):
    """A `stop` for `Run` that does something once to the first job that has run for a while."""
    done = []

    def stop(reporter) -> bool:
        jobs = [j for j in running(slurm) if time.time() > j["start"] + after]
        if jobs and len(done) < count and jobs[0]["start"] not in done:
            done.append(jobs[0]["start"])
            what(jobs[0])
        return False

    return stop


def empty(base) -> bool:
    return list((base / ".jobs").iterdir()) == [] and not list(base.rglob("*.attempts"))


@pytest.mark.parametrize("event", ["crash", "preemption", "requeue"])
def test_an_interrupted_task_starts_again_and_sees_what_it_left(fake_slurm, tmp_path, event):
    def hit(job) -> None:
        if event == "crash":
            fake_slurm.tell("kill-node", "n0")
        elif event == "preemption":
            fake_slurm.tell("preempt", job["id"])
        else:
            import subprocess

            subprocess.run(["scontrol", "requeue", job["id"]], check=True)

    assert make(tmp_path, task("a", SECOND), reporter=Run(when_running(fake_slurm, hit))).ok
    assert read(tmp_path, "a") == "7\n" and empty(tmp_path)
    made = record(tmp_path, "a")
    assert made.attempts == 2 and len(fake_slurm.calls("sbatch")) == 1
    assert len(made.notes) == 1 and made.notes[0].startswith("attempt 1 on ")


@pytest.mark.parametrize("event", ["preempt", "kill-node"])
def test_without_slurms_requeue_the_controller_sends_it_again(fake_slurm, tmp_path, event):
    """Slurm may be told not to requeue (here by `scontrol` on the job; on a site by JobRequeue=0)."""
    one = task("a", SECOND)

    def hit(job) -> None:
        fake_slurm.set(ignore_requeue=True)
        fake_slurm.tell(event, job["id"] if event == "preempt" else "n0")

    fake_slurm.lie("scontrol", "empty", match="requeue")
    outcome = make(tmp_path, one, reporter=Run(when_running(fake_slurm, hit)))
    assert outcome.ok and read(tmp_path, "a") == "7\n" and empty(tmp_path)


def test_a_time_limit_warns_the_body_and_starts_again(fake_slurm, tmp_path):
    body = """
    n=0
    if [[ $DUCTTAPE_PREVIOUS ]]; then n=$(cat "$(head -n 1 <<< "$DUCTTAPE_PREVIOUS")/progress"); fi
    trap 'echo $n > progress; exit 0' TERM
    while (( n < 30 )); do sleep 0.1; n=$((n+1)); done
    echo $n > $out
    """
    assert make(tmp_path, task("a", body, time="0:03")).ok
    assert read(tmp_path, "a") == "30\n" and empty(tmp_path)
    made = record(tmp_path, "a")
    assert made.attempts >= 2 and any("its time limit was near" in note for note in made.notes)


def test_a_time_limit_is_not_extended_for_ever(fake_slurm, tmp_path):
    outcome = make(tmp_path, task("a", "sleep 60", time="0:02", requeue=1))
    assert len(reasons(outcome)) == 1 and "time limit" in reasons(outcome)[0]
    assert outcome.failed[0].directory.name == "2"
    outcome = make(tmp_path, task("b", "trap '' TERM; sleep 60", time="0:02", requeue="no"))
    assert reasons(outcome) == ["its time limit was reached (.requeue=no)"]


def test_memory_is_doubled_up_to_the_cap(fake_slurm, tmp_path):
    fake_slurm.set(oom={"below_mib": 350, "after": 0.1})
    assert make(tmp_path, task("a", SHORT, mem="100M")).ok
    sent = [next(a for a in c["argv"] if a.startswith("--mem=")) for c in fake_slurm.calls("sbatch")]
    assert sent == ["--mem=100M", "--mem=200M", "--mem=400M"]
    assert record(tmp_path, "a").notes[:1] == ["out of memory with 100M, sent again with 200M"]
    assert empty(tmp_path)
    outcome = make(tmp_path, task("b", SHORT, mem="100M", mem_cap="150M"))
    assert reasons(outcome) == ["out of memory with 150M, as much as it may have (.mem_cap)"]
    fake_slurm.set(oom={"below_mib": 9999, "after": 0.1})
    assert "give it more" in reasons(make(tmp_path, task("c", SHORT)))[0]


def test_a_victim_of_the_memory_killer_is_told_from_a_plain_kill(fake_slurm, tmp_path):
    victim = task("a", "sleep 60; echo > $out", mem="1G", mem_cap="1G")
    hit = when_running(fake_slurm, lambda job: fake_slurm.tell("oom", job["id"], "leaf"))
    assert "out of memory with 1G" in reasons(make(tmp_path, victim, reporter=Run(hit)))[0]
    assert reasons(make(tmp_path, task("b", "kill -9 $$"))) == ["exit code 137 (killed by SIGKILL)"]


def test_preemption_has_an_end(fake_slurm, tmp_path):
    hit = when_running(fake_slurm, lambda job: fake_slurm.tell("preempt", job["id"]), count=9)
    outcome = make(tmp_path, task("a", "sleep 60", requeue=2), reporter=Run(hit))
    assert reasons(outcome) == ["interrupted 3 times by time limits, preemption or failing nodes (see .requeue)"]


def test_two_attempts_at_once_never_mix(fake_slurm, tmp_path):
    """A node is cut off: Slurm starts the task elsewhere while the first attempt goes on and writes."""
    body = """
    for i in 1 2 3 4 5 6 7 8; do echo $DUCTTAPE_ATTEMPT >> $out; sleep 0.2; done
    """
    hit = when_running(fake_slurm, lambda job: fake_slurm.tell("lose-node", "n0"))
    assert make(tmp_path, task("a", body), reporter=Run(hit)).ok
    lines = read(tmp_path, "a").split()
    assert len(lines) == 8 and len(set(lines)) == 1
    assert record(tmp_path, "a").output_sizes == {"out": 16}
    time.sleep(1.0)
    assert read(tmp_path, "a").split() == lines


def test_a_new_controller_adopts_what_runs_and_what_waits(fake_slurm, tmp_path):
    fake_slurm.set(cpus=1, nodes=1)
    tasks = [task("a", f"{SHORT}; echo {i} >> $out", real=f"N.{i}") for i in range(4)]
    tasks += [task("b", "cat $x > $out", {"x": ("a", "out", f"N.{i}")}, real=f"N.{i}") for i in range(4)]
    for count in (1, 2):
        with pytest.raises(Gone):
            make(tmp_path, *tasks, reporter=Run(lambda r, n=count: len(list(tmp_path.glob("a/N.?"))) >= n))
    assert make(tmp_path, *tasks).ok
    assert [read(tmp_path, "b", real=f"N.{i}") for i in range(4)] == [f"1\n{i}\n" for i in range(4)]
    assert len(fake_slurm.jobs()) == 8 and not list(tmp_path.rglob("*.attempts"))


def test_what_ended_while_nobody_looked_is_collected(fake_slurm, tmp_path):
    tasks = [task("a", "sleep 0.3; echo $DUCTTAPE_ATTEMPT > $out"), task("b", "sleep 0.3; exit 2")]
    with pytest.raises(Gone):
        make(tmp_path, *tasks, reporter=Run(lambda r: len(running(fake_slurm)) == 2))
    deadline = time.monotonic() + 20
    while len(list(tmp_path.glob(".jobs/*/results/?.json"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # A failure of which nobody was told is no obstacle: the same command tries again.
    outcome = make(tmp_path, *tasks)
    assert reasons(outcome) == ["exit code 2"] and hand_plans.names(
        outcome.failed[0:1] and [outcome.failed[0].key]
    ) == ["b"]
    assert read(tmp_path, "a") == "1\n" and len(fake_slurm.jobs()) == 3


def test_a_controller_that_dies_between_the_call_and_its_answer(fake_slurm, tmp_path, monkeypatch):
    """Slurm has the jobs, and the number was never written down: they are found by their name."""

    def die(self, job):
        raise Gone

    with monkeypatch.context() as patch:
        patch.setattr(Submission, "note_job", die)
        with pytest.raises(Gone):
            make(tmp_path, task("a", "sleep 1.5; echo $DUCTTAPE_ATTEMPT > $out"))
    assert make(tmp_path, task("a", "sleep 1.5; echo $DUCTTAPE_ATTEMPT > $out")).ok
    assert read(tmp_path, "a") == "1\n" and len(fake_slurm.jobs()) == 1 and empty(tmp_path)


def test_a_controller_that_dies_before_the_call(fake_slurm, tmp_path):
    """Only the intent is there: Slurm is asked a few times, then the task is sent."""
    fake_slurm.lie("sbatch", "empty", times=1)
    with pytest.raises(Gone):
        make(tmp_path, task("a", SHORT), reporter=Run(lambda r: bool(fake_slurm.calls("sbatch"))))
    assert len(list(tmp_path.glob(".jobs/*/submission.json"))) == 1 and fake_slurm.jobs() == []
    assert make(tmp_path, task("a", SHORT)).ok
    assert len(fake_slurm.jobs()) == 1 and empty(tmp_path)


def test_a_job_that_a_person_cancels_has_failed(fake_slurm, tmp_path):
    import subprocess

    hit = when_running(fake_slurm, lambda job: subprocess.run(["scancel", job["id"]], check=True))
    outcome = make(tmp_path, task("a", "sleep 60"), task("b", "cat $x > $out", {"x": ("a", "out")}), reporter=Run(hit))
    assert reasons(outcome) == ["cancelled"] and hand_plans.names(outcome.blocked) == ["b"]
    assert list((tmp_path / ".jobs").iterdir()) == []


def test_cancel_ends_what_any_controller_has_sent(fake_slurm, tmp_path):
    tasks = [task("a", "sleep 60", real=f"N.{i}") for i in range(12)] + [task("b", "echo > $out")]
    with pytest.raises(Gone):
        make(tmp_path, *tasks, reporter=Run(lambda r: len(running(fake_slurm, "a")) >= 4))
    slurm = cluster(tmp_path)
    found = [key for key in slurm.all_in_flight() if key.task == "a"]
    assert len(found) == 12
    slurm.cancel(found[:6])
    settled = wait_for(slurm, 6)
    assert {s.reason for s in settled} == {"cancelled"} and not any(s.ok for s in settled)
    slurm.cancel(found[6:])
    wait_for(slurm, 6)
    slurm.close()
    assert [j["state"] for j in fake_slurm.jobs()[:12]] == ["CANCELLED"] * 12
    assert [key for key in cluster(tmp_path).all_in_flight() if key.task == "a"] == []


def wait_for(slurm, count: int) -> list:
    found, deadline = [], time.monotonic() + 20
    while len(found) < count:
        assert time.monotonic() < deadline, slurm.running()
        found += slurm.poll()
        time.sleep(slurm.wait_hint())
    return found


def test_two_controllers_share_a_submission(fake_slurm, tmp_path):
    """One cancels what the other watches: that one is told."""
    other = []

    def stop(reporter) -> bool:
        if len(running(fake_slurm)) == 2 and not other:
            other.append(cluster(tmp_path))
            other[0].cancel([TaskKey("a", "N.0"), TaskKey("a", "N.1")])
        for slurm in other:
            slurm.poll()
        return False

    outcome = make(tmp_path, *(task("a", "sleep 60", real=f"N.{i}") for i in range(2)), reporter=Run(stop))
    assert len(reasons(outcome)) == 2 and all("cancelled" in reason for reason in reasons(outcome))
    assert BASELINE not in str(outcome.failed[0].directory) and HASTY.answers == 3
