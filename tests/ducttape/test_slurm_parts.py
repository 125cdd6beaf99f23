"""The parts of the Slurm cluster by themselves: options, answers, groups, the journal, the calls."""

import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest
from hand_plans import BASELINE, PYTHON
from slurm_by_hand import task

from ducttape.plan.tasks import TaskKey
from ducttape.run import job_files
from ducttape.run.slurm_commands import Answer, Commands, job_number
from ducttape.run.slurm_groups import dependency, group
from ducttape.run.slurm_journal import Journal
from ducttape.run.slurm_options import options
from ducttape.run.slurm_specs import NAMES, Request
from ducttape.run.slurm_states import Seen, read_completion_log, read_config, read_sacct, read_squeue
from ducttape.store.record import Identity
from ducttape.syntax.diagnostics import TapeError


def arguments(**dots) -> list[str]:
    return options(task("a", "", **dots)).arguments()


@pytest.mark.parametrize(
    ("dots", "expected"),
    [
        ({}, ["--requeue", "--signal=B:USR1@60"]),
        ({"mem": "4G"}, ["--mem=4096M"]),
        ({"mem": "300"}, ["--mem=300M"]),
        ({"mem": "1K"}, ["--mem=1M"]),
        ({"cpus": 4}, ["--cpus-per-task=4"]),
        ({"gpus": 2}, ["--gres=gpu:2"]),
        ({"gpus": 1, "gres": "shard:3"}, ["--gres=shard:3,gpu:1"]),
        ({"gres": "gpu:a100:2"}, ["--gres=gpu:a100:2"]),
        ({"time": "2-12"}, ["--time=2-12", "--signal=B:USR1@180"]),
        ({"time": "1"}, ["--time=1", "--signal=B:USR1@15"]),
        ({"nodes": "2-4", "ntasks": 8}, ["--nodes=2-4", "--ntasks=8"]),
        ({"requeue": "no"}, ["--no-requeue"]),
        ({"partition": "-p x", "account": "a,b", "constraint": "a&b"}, ["--partition=-p x", "--account=a,b"]),
    ],
)
def test_dot_params_become_options(dots, expected):
    assert set(expected) <= set(arguments(**dots))


@pytest.mark.parametrize(
    "dots",
    [
        {"mem": "much"}, {"mem_cap": "x"}, {"time": "soon"}, {"requeue": "often"}, {"nodes": "0"}, {"nodes": "two"},
        {"ntasks": "-1"}, {"array_limit": "few"}, {"gpus": 1, "gres": "gpu:1"}, {"partition": "a\nb"},
    ],
)  # fmt: skip
def test_dot_params_without_meaning(dots):
    with pytest.raises(TapeError, match=rf"\.({'|'.join(dots)}) must be"):
        options(task("a", "", **dots))


def test_memory_grows_to_its_cap():
    asked, seen = options(task("a", "", mem="3G")), []
    while asked is not None:
        seen.append(asked.memory >> 30)
        asked = asked.with_more_memory()
    assert seen == [3, 6, 12]
    assert options(task("a", "")).with_more_memory() is None


@pytest.mark.parametrize(
    ("out", "number"),
    [
        ("12\n", "12"),
        ("12;cluster\n", "12"),
        ("Submitted batch job 12\n", "12"),
        ("sbatch: warning: 3 of your jobs wait\n12\n", "12"),
        ("12\n12\n", "12"),
        ("", None),
        ("warning 12 things\n", None),
    ],
)
def test_the_number_of_a_job_is_found_among_warnings(out, number):
    assert job_number(Answer(0, out, "", 0.0)) == number


@pytest.mark.parametrize(
    ("err", "busy", "full"),
    [
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True, False),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", True, False),
        ("squeue: error: Unable to contact slurm controller (connect failure)", True, False),
        ("slurm_load_jobs error: Zero Bytes were transmitted or received", True, False),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", False, True),
        (
            "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit,",
            False,
            True,
        ),
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", False, False),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", False, False),
    ],
)
def test_what_may_be_asked_again(err, busy, full):
    answer = Answer(1, "", err, 0.0)
    assert (answer.is_busy, answer.is_full) == (busy, full)


def test_squeue_is_read_whatever_stands_around_it():
    text = """
squeue: warning: something
8|0|RUNNING|None|n1|a.t1
8|1,3-5%2|PENDING|Resources||a.t1
9|N/A|COMPLETED|None|n0|b.t2
9|N/A|RUNNING|None|n0|b.t2
8|0|COMPLETED|None|n1|a.t1
10|N/A|NONSENSE|None|n0|c
|||||
"""
    queue = read_squeue(text)
    assert sorted(queue.jobs) == [("8", 0), ("8", 1), ("8", 3), ("8", 4), ("8", 5), ("9", None)]
    # An attempt that ended does not hide the one that runs.
    assert queue.jobs["9", None].alive and queue.jobs["8", 0].alive
    assert queue.names == {"a.t1": ["8"], "b.t2": ["9"]}
    assert queue.jobs["8", 4].text == "pending (Resources)" and queue.jobs["8", 0].text == "running on n1"
    assert read_squeue("").jobs == {} and read_squeue("garbage\n") is None


def test_accounting_and_the_completion_log_are_read(tmp_path):
    found = read_sacct("5_0|COMPLETED|0:0|n0\n5_[1-2]|PENDING|0:0|None assigned\n7|CANCELLED by 0|0:15|n1\nx|y\n")
    assert found["5", 0] == Seen("COMPLETED", "", "n0", 0) and found["7", None].state == "CANCELLED"
    assert found["5", 2].alive
    log = tmp_path / "jobcomp.txt"
    line = (
        "JobId={} UserId=root(0) Name=tr.tok1 JobState={} Partition=main ArrayJobId={} ArrayTaskId={} ExitCode={}:0 \n"
    )
    log.write_text(
        line.format(4, "PENDING", 1, 1, 0) + line.format(4, "FAILED", 1, 1, 7) + line.format(9, "FAILED", 9, 0, 1)
    )
    assert read_completion_log(log, {"1"}) == {("1", 1): Seen("FAILED", "", "", 7)}
    assert read_completion_log(tmp_path / "none", {"1"}) == {}


def test_the_configuration_of_a_site():
    text = "AccountingStorageType   = accounting_storage/none\nMaxArraySize            = 1001\n"
    site = read_config(text + "JobCompType = jobcomp/filetxt\nJobCompLoc = /x/jobcomp\n")
    assert (site.largest_index, site.accounting, site.completion_log) == (1000, False, Path("/x/jobcomp"))
    assert read_config("MaxArraySize = 0\n").largest_index == 0
    assert read_config("").accounting and read_config("").completion_log is None


# --- groups ---------------------------------------------------------------------------------------------------------


def requests(*rows, **dots) -> list[Request]:
    """Of rows of (task, realization, parents as TaskKeys)."""
    return [
        Request(TaskKey(name, real), {}, options(task(name, "", real=real, **dots)), tuple(waits))
        for name, real, waits in rows
    ]


def nowhere(key):
    return None


def test_equal_options_are_one_group_and_other_options_another():
    made = group(requests(*(("a", str(i), ()) for i in range(5))) + requests(("b", "x", ()), cpus=2), nowhere, 100)
    assert [sorted(g.requests) for g in made] == [[0, 1, 2, 3, 4], [0]] and [g.name for g in made] == ["a", "b"]
    assert [len(g.requests) for g in group(requests(*(("a", str(i), ()) for i in range(7))), nowhere, 2)] == [3, 3, 1]
    assert [len(g.requests) for g in group(requests(("a", "x", ()), ("b", "x", ())), nowhere, 0)] == [1, 1]


def test_every_task_is_in_one_group_behind_what_it_waits_for():
    """Random graphs: each parent of a task is awaited, in its group or by the task of its own index."""
    for seed in range(60):
        rng = random.Random(seed)
        rows, keys = [], []
        for level in range(rng.randint(1, 4)):
            fresh = []
            for i in range(rng.randint(1, 6)):
                waits = rng.sample(keys, min(len(keys), rng.randint(0, 3))) if level else []
                if level and rng.random() < 0.5:
                    waits = [k for k in keys if k.realization == str(i)][:2]
                fresh.append((f"t{level}", str(i), waits))
            rows += fresh
            keys += [TaskKey(name, real) for name, real, _ in fresh]
        made = group(requests(*rows), nowhere, rng.choice([0, 2, 100]))
        where = {r.key: (g, i) for g in made for i, r in g.requests.items()}
        assert len(where) == len(rows)
        for one in made:
            for index, request in one.requests.items():
                awaited = set(one.after) | {(other, index) for other in one.alongside}
                assert {where[key] for key in request.waits} <= awaited
                assert all(made.index(g) < made.index(one) for g, _ in awaited)
                # Nothing waits for a task of another chain.
                assert not one.alongside or len(one.requests) <= max(len(g.requests) for g in one.alongside)


def test_dependencies_are_written_short():
    assert dependency([("7", True, i, 3) for i in range(3)], ["9"]) == [
        "--dependency=afterok:7,aftercorr:9",
        "--kill-on-invalid-dep=yes",
    ]
    assert dependency([("7", True, 2, 3), ("8", False, 0, 1)], [])[0] == "--dependency=afterok:7_2,afterok:8"
    assert dependency([], []) == []


# --- the journal and the files of a job -----------------------------------------------------------------------------


def spec(name: str, real: str = BASELINE) -> dict:
    return {"key": [name, real], "text": "\udce4 ü\n" + "x" * 100}


def test_the_journal_finds_what_another_controller_sent(tmp_path):
    one, two = Journal(tmp_path / ".jobs"), Journal(tmp_path / ".jobs")
    assert two.find(TaskKey("a", BASELINE)) is None
    sent = one.create("a", {0: spec("a"), 3: spec("b")}, True, ["--mem=1M"])
    sent.note_job("77")
    found, index = two.find(TaskKey("b", BASELINE))
    assert (found.job_text(index), found.spec(3)["key"]) == ("slurm 77_3", ["b", BASELINE])
    assert job_files.read_spec(str(found.folder / "tasks.jsonl"), 3) == spec("b")
    (found.folder / "results" / "3.json").write_text("{}")
    assert two.find(TaskKey("b", BASELINE)) is None and two.find(TaskKey("a", BASELINE)) is not None
    sent.collect([0])
    assert sent.folder.exists()
    found.collect([3])
    assert not sent.folder.exists() and one.find(TaskKey("a", BASELINE)) is None


def test_a_torn_journal_is_no_submission(tmp_path):
    journal = Journal(tmp_path / ".jobs")
    sent = journal.create("a", {0: spec("a")}, True, [])
    (sent.folder / "submission.json").write_text('{"format": 1, "na')
    assert Journal(tmp_path / ".jobs").submissions() == []


def test_the_script_quotes_every_path(tmp_path):
    sent = Journal(tmp_path / "a b'$(touch evil)").create("a", {0: spec("a")}, True, [])
    script = (sent.folder / "job.sh").read_text().replace("exec ", "printf '%s\\n' ")
    env = {**os.environ, "SLURM_ARRAY_TASK_ID": "5"}
    words = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, cwd=tmp_path).stdout
    assert words.splitlines()[-2:] == [str(sent.folder / "tasks.jsonl"), "5"] and not (tmp_path / "evil").exists()


def test_jobs_run_the_engine_as_it_was_when_they_were_sent(tmp_path):
    import blake3

    sent = Journal(tmp_path).create("a", {0: spec("a")}, True, [])
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; import ducttape.run.job, ducttape.store.attic as a; print(a.__file__)"
    )
    places = [str(sent.folder / "runner"), str(Path(blake3.__file__).parents[1])]
    found = subprocess.check_output([PYTHON, "-I", "-S", "-c", code, *places], text=True)
    assert found.strip() == str(sent.folder / "runner" / "ducttape" / "store" / "attic.py")


def test_the_fingerprint_of_a_record_is_that_of_the_engine():
    identity = Identity("echo ü  # c\ncat", {"p": "1"}, {"k": "v"}, {"x": ["aa", "bb"]}, {"out": "out"})
    data = {name: getattr(identity, name) for name in ("params", "packages", "inputs", "outputs")}
    assert job_files.fingerprint(data | {"commands": list(identity.commands)}) == identity.fingerprint()


def test_attempts_are_claimed_once(tmp_path):
    code = "import sys; from ducttape.run import job_files\nfor _ in range(50): print(job_files.claim(sys.argv[1])[0])"
    command = [PYTHON, "-I", "-c", code, str(tmp_path / "t.attempts")]
    claims = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    numbers = [int(n) for p in claims for n in p.communicate()[0].split()]
    assert sorted(numbers) == list(range(1, 151))


def test_of_two_attempts_the_first_wins_and_a_newer_run_is_never_undone(tmp_path):
    identity = {"body": "b", "commands": ["b"], "params": {}, "packages": {}, "inputs": {}, "outputs": {"out": "out"}}

    def attempt(number: int, version: int, text: str = "x", param: str = "") -> tuple[str, dict, str]:
        mine = identity | {"params": {"p": param}}
        folder = tmp_path / "t.attempts" / str(number)
        folder.mkdir(parents=True)
        (folder / "out").write_text(text)
        (folder / NAMES["version"]).write_text(str(version))
        (folder / NAMES["start"]).write_text("{}")
        record = {"format": 1, "identity": mine, "output_sizes": {"out": len(text)}, "output_digests": {"out": "d"}}
        job_files.write_json(str(folder / NAMES["record"]), record)
        given = {"base": str(tmp_path), "flat": False, "versioned": False, "key": ["t", "r"]}
        given |= {"final": str(tmp_path / "t" / "r"), "names": NAMES, "version": version}
        return str(folder), given, job_files.fingerprint(mine)

    def size(path: str) -> int:
        return os.stat(path).st_size

    assert job_files.publish(*attempt(1, 2, "one"), size) == "complete"
    assert job_files.publish(*attempt(2, 2, "two"), size) == "kept"
    assert job_files.publish(*attempt(3, 1, "old", "other"), size) == "superseded"
    assert (tmp_path / "t" / "r" / "out").read_text() == "one"
    # A truncated result is none.
    (tmp_path / "t" / "r" / "out").write_text("o")
    assert job_files.publish(*attempt(4, 2, "four"), size) == "complete"
    assert job_files.publish(*attempt(5, 3, "five", "other"), size) == "complete"
    assert (tmp_path / "t" / "r" / "out").read_text() == "five"
    assert len(list((tmp_path / ".attic").glob("2/t/*"))) == 2


# --- calls ----------------------------------------------------------------------------------------------------------


def program(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def answers(commands: Commands, command: list[str], count: int) -> list[Answer]:
    found: list[Answer] = []
    deadline = time.monotonic() + 10
    while len(found) < count:
        assert time.monotonic() < deadline
        if commands.idle:
            commands.start(command, found.append)
        commands.poll()
        time.sleep(0.005)
    return found


def test_calls_are_spaced_and_back_off_while_nobody_answers(tmp_path):
    calm, busy = Commands(0.1), Commands(0.1)
    fine = answers(calm, [program(tmp_path, "echo x")], 3)
    assert all(b.began - a.began >= 0.1 for a, b in zip(fine, fine[1:], strict=False))
    late = answers(busy, [program(tmp_path, "echo 'Socket timed out' >&2; exit 1")], 4)
    gaps = [b.began - a.began for a, b in zip(late, late[1:], strict=False)]
    assert gaps[0] > 0.2 and gaps[1] > 0.4 and gaps[2] > 0.8 and busy.trouble == 4


def test_a_call_that_hangs_is_ended(tmp_path):
    found = answers(Commands(0.0, patience=0.3), [program(tmp_path, "exec sleep 60")], 1)[0]
    assert found.late and found.is_busy and not found.ok and found.complaint == "no answer in time"


def test_a_program_that_has_gone_is_tried_again_later(tmp_path):
    commands = Commands(0.0)
    assert answers(commands, [str(tmp_path / "gone")], 1)[0].is_busy and commands.trouble == 1


def test_calls_do_not_inherit_the_job_of_the_controller(tmp_path, monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_MEM_PER_CPU"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    out = answers(Commands(0.0), [program(tmp_path, "env")], 1)[0].out.splitlines()
    assert "SLURM_CONF=/etc/slurm.conf" in out and "SLURM_BITSTR_LEN=0" in out
    assert not any(line.startswith(("SLURM_JOB", "SLURM_MEM")) for line in out)


def test_a_site_file_sends_every_task_that_does_not_say_otherwise(tmp_path):
    import ducttape

    (tmp_path / "t.tape").write_text(
        "global {\n  ducttape_experimental_submitters=true\n}\n"
        "task a > out {\n  echo > $out\n}\n"
        "task b > out :: .submitter=shell {\n  echo > $out\n}\n"
        "task c > out :: .mem=1G {\n  echo > $out\n}\n"
    )
    (tmp_path / "site.tconf").write_text(
        'config {\n  ducttape_default_submitter=slurm\n  ducttape_default_mem=2G\n  ducttape_default_qos=""\n}\n'
    )
    plan = ducttape.plan(ducttape.load(tmp_path / "t.tape", [tmp_path / "site.tconf"]))
    found = {t.key.task: {p.name: p.value for p in t.params if p.dot} for t in plan.tasks.values()}
    assert found == {
        "a": {"submitter": "slurm", "mem": "2G"},
        "b": {"submitter": "shell"},
        "c": {"mem": "1G", "submitter": "slurm"},
    }
    shipped = Path(__file__).parents[2] / "configs" / "slurm.tconf"
    plan = ducttape.plan(ducttape.load(tmp_path / "t.tape", [shipped]))
    for one in plan.tasks.values():
        if one.key.task != "b":
            assert "--time=1:00:00" in options(one).arguments() and json.dumps(options(one).memory)
