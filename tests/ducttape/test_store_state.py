"""What counts as complete, and the reasons given when something does not."""

import json
import os
import shutil

import pytest
from hand_plans import BASELINE, names, plan, read, run, states, store, task

from ducttape.store import attic
from ducttape.store.layout import Layout, component
from ducttape.store.record import Identity
from ducttape.store.versions import list_versions, new_version


def chain(first="echo a > $out", params=None, second="cat $in > $out"):
    return task("a", first, params=params), task("b", second, inputs={"in": ("a", "out")})


def status(found):
    return {name.split("/")[0]: state.status.value for name, state in found.items()}


def reasons(found, name):
    return found[f"{name}/{BASELINE}"].reasons


def test_absent_then_complete(tmp_path):
    assert status(states(tmp_path, *chain())) == {"a": "absent", "b": "absent"}
    assert run(tmp_path, *chain()).ok
    assert status(states(tmp_path, *chain())) == {"a": "complete", "b": "complete"}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({"steps": "100"}, {"steps": "200"}, "param steps 100 -> 200"),
        ({"steps": "100"}, {}, "param steps removed (was 100)"),
        ({}, {"steps": "100"}, "param steps added: 100"),
        ({"steps": "1 2"}, {"steps": ""}, 'param steps "1 2" -> ""'),
    ],
)
def test_a_changed_param_makes_stale_and_is_named(tmp_path, before, after, reason):
    run(tmp_path, *chain(params=before))
    found = states(tmp_path, *chain(params=after))
    assert status(found) == {"a": "stale", "b": "waiting"}
    assert reasons(found, "a") == [reason]
    assert reasons(found, "b") == [f"only if a/{BASELINE} comes out different"]


def test_a_dot_param_changes_nothing(tmp_path):
    run(tmp_path, *chain(params={".cpus": "1"}))
    assert status(states(tmp_path, *chain(params={".cpus": "2"})))["a"] == "complete"


def test_a_changed_command_is_shown_and_a_comment_is_not(tmp_path):
    run(tmp_path, *chain("echo a > $out"))
    assert status(states(tmp_path, *chain("\n  # better\n  echo   a > $out")))["a"] == "complete"
    assert reasons(states(tmp_path, *chain("echo b > $out")), "a") == ['command "echo a > $out" -> "echo b > $out"']


def test_a_changed_outside_file_is_noticed_and_a_touched_one_is_not(tmp_path):
    source = tmp_path / "source"
    source.write_text("1")
    reader = task("a", "cat $in > $out", inputs={"in": source})
    run(tmp_path / "base", reader)
    os.utime(source, (1, 1))
    assert status(states(tmp_path / "base", reader)) == {"a": "complete"}
    source.write_text("2")
    assert reasons(states(tmp_path / "base", reader), "a") == [f"input in changed ({source})"]


def test_a_file_inside_a_directory_input_counts(tmp_path):
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f").write_text("1")
    reader = task("a", "ls $in > $out", inputs={"in": tmp_path / "d"})
    run(tmp_path / "base", reader)
    (tmp_path / "d/e/f").write_text("2")
    assert status(states(tmp_path / "base", reader)) == {"a": "stale"}


def test_an_input_that_is_gone_leaves_a_result_complete_but_an_unmade_task_reports_it(tmp_path):
    source = tmp_path / "source"
    source.write_text("1")
    reader = task("a", "cat $in > $out", inputs={"in": source})
    run(tmp_path / "base", reader)
    source.unlink()
    assert status(states(tmp_path / "base", reader)) == {"a": "complete"}
    s = store(tmp_path / "other", reader)
    assert [(t.key.task, name, f.path) for t, name, f in s.missing_files(s.plan.tasks)] == [("a", "in", source)]


def test_a_tampered_output_is_found(tmp_path):
    run(tmp_path, *chain())
    (tmp_path / "a" / BASELINE / "out").write_text("X")
    found = states(tmp_path, *chain())
    assert reasons(found, "a") == ["output out was changed after the task finished"]
    assert run(tmp_path, *chain()).ok and read(tmp_path, "a") == "a\n"


def test_a_missing_output_is_incomplete(tmp_path):
    run(tmp_path, *chain())
    (tmp_path / "a" / BASELINE / "out").unlink()
    assert reasons(states(tmp_path, *chain()), "a") == ["output out is missing"]


def test_a_record_that_is_cut_off_does_not_count(tmp_path):
    run(tmp_path, *chain())
    record = tmp_path / "a" / BASELINE / "ducttape_record.json"
    record.write_text(record.read_text()[:-20])
    assert reasons(states(tmp_path, *chain()), "a") == ["its record cannot be read"]


def test_moving_the_base_changes_nothing(tmp_path):
    run(tmp_path / "one", *chain())
    (tmp_path / "one").rename(tmp_path / "two")
    assert status(states(tmp_path / "two", *chain())) == {"a": "complete", "b": "complete"}
    shutil.copytree(tmp_path / "two", tmp_path / "three")
    assert status(states(tmp_path / "three", *chain())) == {"a": "complete", "b": "complete"}


def original_directory(base, name, code="0", outputs=("out",)):
    directory = base / name / BASELINE
    directory.mkdir(parents=True)
    for file in ("ducttape_stdout.txt", "ducttape_stderr.txt", *outputs):
        (directory / file).write_text("a\n")
    (directory / "ducttape_exit_code.txt").write_text(code)
    return directory


def test_a_directory_of_the_original_program_is_adopted_and_then_watched(tmp_path):
    original_directory(tmp_path, "a")
    found = states(tmp_path, *chain())
    assert status(found) == {"a": "complete", "b": "absent"} and found[f"a/{BASELINE}"].adopted
    s = store(tmp_path, *chain())
    key = next(iter(s.plan.tasks))
    s.adopt(s.plan.tasks[key], s.state(key, {}))
    assert status(states(tmp_path, *chain()))["a"] == "complete"
    assert reasons(states(tmp_path, *chain("echo z > $out")), "a") == ['command "echo a > $out" -> "echo z > $out"']


@pytest.mark.parametrize(
    ("code", "outputs", "reason"),
    [
        ("1", ("out",), "failed with exit code 1"),
        ("0", (), "output out is missing"),
        ("0", ("out", "ducttape_start.json"), None),
    ],
)
def test_what_the_original_left_unfinished_is_not_adopted(tmp_path, code, outputs, reason):
    original_directory(tmp_path, "a", code, outputs)
    assert reasons(states(tmp_path, *chain()), "a") == [reason or "interrupted before its record was written"]


def test_keeping_a_stale_result_notes_why(tmp_path):
    run(tmp_path, *chain(params={"x": "1"}))
    s = store(tmp_path, *chain(params={"x": "2"}))
    key = next(iter(s.plan.tasks))
    s.accept(s.plan.tasks[key], s.state(key, {}))
    assert status(states(tmp_path, *chain(params={"x": "2"}))) == {"a": "complete", "b": "complete"}
    notes = json.loads((tmp_path / "a" / BASELINE / "ducttape_record.json").read_text())["notes"]
    assert "param x 1 -> 2" in notes[0]


def test_a_survey_of_many_tasks_holds_what_a_run_needs_and_no_records(tmp_path):
    run(tmp_path, *chain())
    found = store(tmp_path, *chain()).survey().values()
    assert all(state.done and state.record is None and state.identity is None for state in found)
    assert all(len(state.outputs["out"]) == 64 and state.seconds >= 0 for state in found)


def test_the_record_holds_what_was_promised(tmp_path):
    run(tmp_path, task("a", "# c\necho $seed > $out", params={"seed": "7", ".mem": "1G"}))
    record = json.loads((tmp_path / "a" / BASELINE / "ducttape_record.json").read_text())
    assert record["identity"]["commands"] == ["echo $seed > $out"] and record["identity"]["body"].startswith("# c")
    assert record["seed"] == "7" and record["resources"] == {"mem": "1G"} and record["exit_code"] == 0
    assert record["end"] >= record["start"] and record["cpu_seconds"] >= 0 and record["peak_memory_bytes"] > 0
    assert record["host"] and record["engine_version"] and len(record["output_digests"]["out"]) == 64
    assert str(tmp_path) not in json.dumps(record["identity"])


def test_many_changed_commands_are_summed_up():
    def identity(body):
        return Identity(body, {}, {}, {}, {})

    old, new = "\n".join(f"echo {i}" for i in range(9)), "\n".join(f"printf {i}" for i in range(9))
    assert identity(old).differences(identity(new))[-1] == "and 6 more changed commands"


def test_a_finished_result_goes_to_the_attic_and_a_failed_one_is_cleared(tmp_path):
    run(tmp_path, *chain(), version=4)
    run(tmp_path, *chain("echo new > $out"), version=5)
    assert (tmp_path / ".attic/4/a" / BASELINE / "out").read_text() == "a\n"
    run(tmp_path, *chain("false"), version=6)
    run(tmp_path, *chain("echo a > $out"), version=7)
    assert sorted(p.name for p in (tmp_path / ".attic").iterdir()) == ["4", "5"]


def test_the_attic_never_overwrites(tmp_path):
    for text in "1234":
        run(tmp_path, task("a", f"echo {text} > $out"))
    kept = sorted(p.name for p in (tmp_path / ".attic/0/a").iterdir())
    assert kept == [BASELINE, f"{BASELINE}.2", f"{BASELINE}.3"]
    assert attic.move_away(Layout(tmp_path), task("zzz").key) is None


def test_names_never_leave_the_base():
    assert component("../../etc") == "..%2F..%2Fetc" and component("..") == "%2E%2E" and component("a.b") == "a.b"


def test_versions_are_numbered_and_never_shared(tmp_path):
    layout, tasks = Layout(tmp_path), plan(*chain()).tasks.values()
    numbers = [new_version(layout, {"x.tape": "task a"}, {"p": "1"}, [], tasks) for _ in range(3)]
    assert numbers == [1, 2, 3]
    last = list_versions(layout)[-1]
    assert last.manifest[0] == ("package", "p", "1") and last.manifest[1] == ("todo", f"a/{BASELINE}/3")
    assert (tmp_path / ".versions/1/workflow.tape").read_text().startswith("### x.tape ###\ntask a")


def test_early_cutoff_stops_at_equal_bytes(tmp_path):
    run(tmp_path, *chain("echo a > $out"))
    outcome = run(tmp_path, *chain("printf 'a\\n' > $out"))
    assert names(outcome.made) == ["a"] and names(outcome.reused) == ["b"]
    outcome = run(tmp_path, *chain("echo other > $out"))
    assert names(outcome.made) == ["a", "b"] and read(tmp_path, "b") == "other\n"


def test_a_folder_that_no_task_made_is_never_deleted(tmp_path):
    precious = tmp_path / "a" / BASELINE / "thesis.tex"
    precious.parent.mkdir(parents=True)
    precious.write_text("years")
    outcome = run(tmp_path, task("a", "echo > $out"), task("b", "echo > $out"))
    assert precious.read_text() == "years" and names(outcome.made) == ["b"]
    assert "no task made what is in it" in outcome.failed[0].reason and "hint: move it" in outcome.failed[0].reason


def test_a_new_output_is_missed_and_a_record_of_a_newer_engine_is_read(tmp_path):
    run(tmp_path, task("a", "echo > $out"))
    assert reasons(states(tmp_path, task("a", "echo > $out", outputs=("out", "more"))), "a") == [
        "output more is missing"
    ]
    record = tmp_path / "a" / BASELINE / "ducttape_record.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "energy_joules": 3}))
    assert status(states(tmp_path, task("a", "echo > $out"))) == {"a": "complete"}


def test_a_long_command_is_shown_where_it_changed():
    same = "python step.py " + "--same option " * 10
    before, after = (Identity(same + rate, {}, {}, {}, {}) for rate in ("--rate 1", "--rate 2"))
    [reason] = before.differences(after)
    assert "--rate 1" in reason and "--rate 2" in reason
