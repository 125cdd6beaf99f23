"""Tasks on a cluster: what they see, what they leave, how they are sent together, and how they fail."""

import json
import os
import time
from dataclasses import replace

import hand_plans
from hand_plans import BASELINE, read
from slurm_by_hand import HASTY, Run, make, reasons, record, task

from ducttape.store.layout import EXIT_CODE, RECORD, START


def test_a_chain_of_arrays_is_complete_and_leaves_nothing_else(fake_slurm, tmp_path):
    base = tmp_path / "out"
    first = [task("a", "echo $n > $out", params={"n": str(i)}, real=f"N.{i}") for i in range(6)]
    second = [
        task("b", "cat $x > $out; echo b >> $out", {"x": ("a", "out", f"N.{i}")}, real=f"N.{i}") for i in range(6)
    ]
    reporter = Run()
    outcome = make(base, *first, *second, reporter=reporter)
    assert outcome.ok and len(outcome.made) == 12 and outcome.cpu_seconds > 0
    assert [read(base, "b", real=f"N.{i}") for i in range(6)] == [f"{i}\nb\n" for i in range(6)]
    assert list((base / ".jobs").iterdir()) == []
    assert not [p for p in base.rglob("*") if "attempts" in p.name or p.name.startswith(".ducttape")]
    made = record(base, "b", "N.5")
    assert made.job.startswith("slurm ") and made.attempts == 1 and made.output_sizes == {"out": 4}
    # A run after it finds all complete, from the digests that the jobs handed over.
    assert make(base, *first, *second).made == []
    assert len(fake_slurm.calls("sbatch")) <= 4
    assert any(line.startswith("sent a/N.3") for line in reporter.lines)


def test_one_call_sends_all_that_is_alike(fake_slurm, tmp_path):
    tasks = [task("a", "echo > $out", real=f"N.{i}") for i in range(30)]
    tasks += [task("b", "echo > $out", real=f"N.{i}", cpus=2, array_limit=3) for i in range(10)]
    assert make(tmp_path / "out", *tasks).ok
    sent = [call["argv"] for call in fake_slurm.calls("sbatch")]
    assert len(sent) == 2
    assert "--array=0-29" in sent[0] and "--array=0-9%3" in sent[1] and "--cpus-per-task=2" in sent[1]


def test_a_result_made_on_a_cluster_is_the_one_made_here(fake_slurm, tmp_path):
    (tmp_path / "file").write_text("x")
    body = 'mkdir $dir; echo "$value" > $dir/f; cat $file > $out'
    inputs, outputs, params = {"file": tmp_path / "file"}, ("out", "dir"), {"value": "v", "seed": "3"}
    there = task("a", body, inputs, outputs, params)
    here = hand_plans.task("a", body, inputs, outputs, params, full="Point.first")
    there = replace(there, realization=here.realization)
    assert make(tmp_path / "there", there).ok and hand_plans.run(tmp_path / "here", here, version=1).ok
    one, two = record(tmp_path / "there", "a"), record(tmp_path / "here", "a")
    assert one.identity == two.identity and one.identity.fingerprint() == two.identity.fingerprint()
    assert (one.output_digests, one.output_sizes) == (two.output_digests, two.output_sizes)
    assert (one.sources, one.seed, one.full_name) == (two.sources, two.seed, two.full_name)
    # Complete for a plan that runs it here, and the other way round: how a task runs is no part of what it makes.
    assert hand_plans.run(tmp_path / "there", here).made == [] and make(tmp_path / "here", there).made == []
    files = [sorted(p.name for p in (tmp_path / where / "a" / BASELINE).iterdir()) for where in ("here", "there")]
    assert files[0] == files[1]
    assert all(os.readlink(tmp_path / where / "a/Point.first") == BASELINE for where in ("here", "there"))


def test_values_reach_the_body_as_they_are(fake_slurm, tmp_path):
    nasty = ["$(touch evil)", "a'b\"c", "line\nbreak", "-rf", "ünïcödé ✓", "x" * 10_000, "%a %j", "../../up", "a|b,c"]
    tasks = [
        task("a", 'printf %s "$v" > "$out"; pwd > place', params={"v": value}, real=f"V.{i}")
        for i, value in enumerate(nasty)
    ]
    base = tmp_path / "out $(touch evil) 'q' %a"
    assert make(base, *tasks).ok
    assert [read(base, "a", real=f"V.{i}") for i in range(len(nasty))] == nasty
    assert not list(tmp_path.rglob("evil"))


def test_what_a_body_is_told(fake_slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("FROM_OUTSIDE", "seen")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")
    body = """
    echo "$TASK $REALIZATION $DUCTTAPE_ATTEMPT [$DUCTTAPE_PREVIOUS] $FROM_OUTSIDE $OMP_NUM_THREADS" > $out
    echo "${SLURM_JOB_ID:-none} ${SLURM_MEM_PER_NODE:-none} $PWD" >> $out
    printf '%s' "$TASK_VARIABLES" >> $out
    cat >> $out
    """
    assert make(tmp_path, task("a", body, cpus=3, params={"p": "1"})).ok
    first, second, *variables = read(tmp_path, "a").splitlines()
    assert first == f"a {BASELINE} 1 [] seen 3"
    job, memory, place = second.split()
    # The controller may itself run in a job, whose variables are none of this one's.
    assert job not in ("77", "none") and memory != "1" and place.endswith(".attempts/1")
    assert "p=1" in variables and f"out={place}/out" in variables


def test_failures_are_told_and_cost_only_what_follows(fake_slurm, tmp_path):
    bad = task("bad", "echo sorry >&2; exit 3")
    lazy = task("lazy", "true")
    good = task("good", "echo > $out")
    after = task("after", "echo > $out", {"x": ("bad", "out")})
    outcome = make(tmp_path, bad, lazy, good, after)
    found = dict(zip(hand_plans.names(f.key for f in outcome.failed), reasons(outcome), strict=True))
    assert found["bad"] == "exit code 3" and "did not make its output out" in found["lazy"]
    assert hand_plans.names(outcome.made) == ["good"] and hand_plans.names(outcome.blocked) == ["after"]
    directory = tmp_path / "bad" / BASELINE
    assert (directory / EXIT_CODE).read_text() == "3" and "sorry" in (directory / "ducttape_stderr.txt").read_text()
    assert not (directory / RECORD).exists() and list((tmp_path / ".jobs").iterdir()) == []
    assert all(failure.directory == tmp_path / failure.key.task / BASELINE for failure in outcome.failed)
    assert not list(tmp_path.rglob("*.attempts"))
    # The same command tries again.
    assert hand_plans.names(make(tmp_path, task("bad", "echo > $out"), lazy, good, after).made) == ["bad", "after"]


def test_a_failed_body_is_tried_again(fake_slurm, tmp_path):
    mark = tmp_path / "mark"
    body = f"if [[ -e {mark} ]]; then echo > $out; else touch {mark}; exit 1; fi"
    assert make(tmp_path / "out", task("a", body, retries=1, retry_delay=0.1)).ok
    assert reasons(make(tmp_path / "out", task("b", "exit 4", retries=1, retry_delay=0.1))) == [
        "exit code 4 (tried 2 times)"
    ]


def test_what_slurm_refuses_is_told_with_its_words(fake_slurm, tmp_path):
    outcome = make(tmp_path, task("a", "echo", partition="nope"), task("b", "echo > $out"))
    assert reasons(outcome) == ["Slurm refused it: Batch job submission failed: Invalid partition name specified"]
    assert hand_plans.names(outcome.made) == ["b"] and list((tmp_path / ".jobs").iterdir()) == []


def test_dot_params_without_meaning_are_refused(fake_slurm, tmp_path):
    outcome = make(tmp_path, task("a", "echo", requeue="often"))
    assert reasons(outcome) == ["task a: .requeue must be a whole number, yes or no, not 'often'"]
    assert fake_slurm.calls("sbatch") == []


def test_without_slurm_the_task_fails_with_a_hint(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    outcome = make(tmp_path, task("a", "echo"))
    assert "this machine has no 'sbatch'" in reasons(outcome)[0] and "login node" in reasons(outcome)[0]


def test_an_input_that_the_node_does_not_see_is_named(fake_slurm, tmp_path):
    (tmp_path / "file").write_text("x")
    a = task("a", "cat $x > $out", {"x": tmp_path / "file"})
    fake_slurm.set(nodes=0)
    gone = []

    def stop(reporter) -> bool:
        if not gone and any("pending" in text for text in reporter.seen):
            gone.append((tmp_path / "file").unlink())
            fake_slurm.set(nodes=2)
        return False

    outcome = make(tmp_path / "out", a, reporter=Run(stop))
    if gone:
        assert "input x does not exist on" in reasons(outcome)[0] and "shared file system" in reasons(outcome)[0]


def test_files_that_appear_late_are_waited_for(fake_slurm, tmp_path):
    """The job of `b` starts while the node does not see yet what `a` made."""
    a, b = task("a", "echo 1 > $out"), task("b", "cat $x > $out", {"x": ("a", "out")})
    assert make(tmp_path, a).ok
    hidden, place = tmp_path / "hidden", tmp_path / "a" / BASELINE

    def stop(reporter) -> bool:
        jobs = [j for j in fake_slurm.jobs() if j["name"].startswith("b.")]
        if jobs and jobs[0]["state"] == "PENDING" and not hidden.exists() and place.exists():
            place.rename(hidden)
        if jobs and jobs[0]["state"] == "RUNNING" and hidden.exists() and time.time() > jobs[0]["start"] + 0.5:
            hidden.rename(place)
        return False

    outcome = make(tmp_path, a, b, reporter=Run(stop))
    assert outcome.ok and read(tmp_path, "b") == "1\n"


def test_the_runner_is_light(fake_slurm, tmp_path):
    """A start mark and a record, and no module that takes long to import."""
    names = ("dataclasses", "inspect", "difflib", "tree_sitter", "ducttape.plan.tasks", "ducttape.store.layout")
    code = f"import sys, ducttape.run.job; print([n for n in {names} if n in sys.modules])"
    import subprocess

    assert subprocess.check_output([hand_plans.PYTHON, "-I", "-c", code], text=True) == "[]\n"
    assert make(tmp_path, task("a", "echo > $out")).ok
    mark = json.loads((tmp_path / "a" / BASELINE / START).read_text())
    assert mark["job"] == record(tmp_path, "a").job and mark["attempt"] == 1 and mark["pid"] != os.getpid()


def test_slurm_is_not_asked_more_often_than_it_may_be(fake_slurm, tmp_path):
    from dataclasses import replace

    tasks = [task(f"t{i}", "echo > $out", cpus=1 + i % 3) for i in range(6)]
    tasks.append(task("slow", "sleep 1.2; echo > $out"))
    assert make(tmp_path, *tasks, patience=replace(HASTY, interval=0.4)).ok
    times = [call["time"] for call in fake_slurm.calls()]
    assert 4 <= len(times) <= 2 + (times[-1] - times[0]) / 0.4
