"""gc: what can go, what stays and why, and that nothing is deleted without being asked twice."""

import json

import pytest
from inside import Inside

TAPE = """
task prep > out :: text=(Lang: en=hello de=hallo) {
  echo $text > $out
}
task train < in=$out@prep > model {
  cat $in > $model
}
plan {
  reach train via (Lang: *)
}
"""


@pytest.fixture
def place(tmp_path):
    place = Inside(tmp_path)
    place.tape(TAPE)
    assert place.run("-y").returncode == 0
    return place


def listed(place, *words):
    found = json.loads(place.run("gc", "--json", *words).stdout)
    out = f"{place.folder}/out/"
    return tuple({row["path"].removeprefix(out): row["why"] for row in found[part]} for part in ("can_go", "kept"))


def test_nothing_can_go_when_everything_is_needed(place):
    done = place.run("gc", "--delete", "-y")
    assert done.returncode == 0 and done.stdout == "" and done.stderr == "nothing to do: everything is needed\n"


def test_the_attic_goes_after_a_question_only(place):
    place.tape(TAPE.replace("=hallo", "=guten"))
    place.run("-y")
    old = place.folder / "out/.attic/1/train/Lang.de"
    dry = place.run("gc")
    assert "out/.attic/1/train/Lang.de" in dry.stdout and "nothing was deleted\nhint: " in dry.stderr
    assert "2 things, " in dry.stderr and " of CPU time" in dry.stderr
    assert "doing nothing" in place.run("gc", "--delete").stderr and old.exists()
    assert "deleted 2 things" in place.run("gc", "--delete", answer="y\n").stderr
    assert not old.exists() and not (place.folder / "out/.attic/1").exists()
    assert "nothing to do: 4 tasks complete" in place.run().stderr


def test_results_that_no_plan_reaches(place):
    place.tape(TAPE.replace("Lang: *", "Lang: en"))
    can_go, kept = listed(place)
    why = "no plan reaches it; last planned by run 1"
    assert can_go == {"prep/Lang.de": why, "train/Lang.de": why} and kept == {}
    assert listed(place, "attic") == ({}, {})
    place.run("gc", "results", "--delete", "-y")
    assert [p.name for p in (place.folder / "out/prep").iterdir() if p.name != "Lang.en"] == ["Baseline.baseline"]
    assert "nothing to do: 2 tasks complete" in place.run().stderr


def test_what_a_failed_task_left_can_go_too(tmp_path):
    place = Inside(tmp_path)
    place.tape("task a > out {\n  mkdir 1\n  echo > 1/x\n  exit 1\n}\ntask b > out {\n  :> $out\n}\n")
    place.run("-y")
    place.tape("task b > out {\n  :> $out\n}\n")
    assert list(listed(place)[0]) == ["a/Baseline.baseline"]
    assert place.run("gc", "--delete", "-y").returncode == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.name[0] != ".") == ["b"]


def test_another_tape_in_the_same_folder_keeps_its_results(place):
    place.tape("task other > out {\n  echo > $out\n}\n", "y.tape")
    assert place.run("-y", tape="y.tape").returncode == 0
    can_go, kept = listed(place)
    assert can_go == {} and kept == {"other/Baseline.baseline": "run 2 made it for y.tape"}
    (place.folder / "y.tape").unlink()
    assert list(listed(place)[0]) == ["other/Baseline.baseline"]


def test_folders_of_nobody_are_left_alone(place):
    out = place.folder / "out"
    (out / "thesis/chapter").mkdir(parents=True)
    (out / "thesis/chapter/text").write_text("years of work")
    (out / "made/Elsewhere").mkdir(parents=True)
    (out / "made/Elsewhere/ducttape_record.json").write_text("{}")
    can_go, kept = listed(place)
    assert can_go == {} and kept == {"made/Elsewhere": "no run of this folder lists it"}


def test_what_a_plan_still_reads_stays(place):
    place.tape(TAPE.replace("cat $in > $model", "ln -s $in $model"))
    place.run("-y")
    attic = place.folder / "out/.attic/1/train/Lang.de/model"
    (place.folder / "keep.tape").write_text(
        f"task keep < in={attic} > out {{\n  cat $in > $out\n}}\n"
        f"task link < in={attic.parents[1]}/Baseline.baseline/model > out {{\n  ln -s $in $out\n}}\n"
    )
    text = (place.folder / "x.tape").read_text()
    place.tape("import keep.tape\n" + text.replace("plan {", "plan {\n  reach keep, link"))
    assert place.run("-y").returncode == 0
    can_go, kept = listed(place)
    assert can_go == {} and kept[".attic/1/train/Lang.de"] == "task keep reads it"
    place.tape("import keep.tape\n" + text.replace("plan {", "plan {\n  reach link").replace("ln -s $in", "cp $in"))
    place.run("-y")
    can_go, kept = listed(place, "attic")
    assert ".attic/1/train/Lang.de" in can_go and ".attic/1/train/Baseline.baseline" in kept


def test_a_live_controller_and_jobs_keep_theirs(place):
    place.tape(TAPE.replace("Lang: *", "Lang: en"))
    lock = place.folder / "out/prep/Lang.de.LOCK"
    lock.write_text("another-host:1\n")
    job = place.folder / "out/.jobs/abc"
    job.mkdir(parents=True)
    (job / "submission.json").write_text('{"job": 5, "array": false, "tasks": {"0": ["train", "Lang.de"]}}')
    can_go, kept = listed(place)
    assert can_go == {}
    assert kept == {"prep/Lang.de": "another-host:1 works on it", "train/Lang.de": "slurm 5 works on it"}


def test_attempts_of_finished_tasks_only(place):
    for name in ("train/Lang.de", "prep/Lang.de"):
        attempt = place.folder / f"out/{name}.attempts/1"
        attempt.mkdir(parents=True)
        (attempt / "half").write_text("x" * 1000)
    (place.folder / "out/prep/Lang.de/ducttape_record.json").unlink()
    can_go, kept = listed(place)
    assert can_go == {"train/Lang.de.attempts": "the task is complete"}
    assert kept == {"prep/Lang.de.attempts": "the task is not complete and may go on from it"}
    place.run("gc", "--delete", "-y")
    assert not (place.folder / "out/train/Lang.de.attempts").exists() and (attempt / "half").exists()


def test_purge_deletes_attempts_and_leaves_what_a_job_works_on(place):
    for name in ("train/Lang.de", "train/Baseline.baseline"):
        (place.folder / f"out/{name}.attempts/1").mkdir(parents=True)
    job = place.folder / "out/.jobs/abc"
    job.mkdir(parents=True)
    (job / "submission.json").write_text('{"job": 5, "array": false, "tasks": {"0": ["train", "Lang.de"]}}')
    done = place.run("purge", "train", "*", "-y")
    assert done.returncode == 1 and "KEEP: train/Lang.de: slurm 5 works on it" in done.stderr
    assert sorted(p.name for p in (place.folder / "out/train").iterdir()) == ["Lang.de", "Lang.de.attempts"]


def test_packages_that_no_result_refers_to(tmp_path):
    place = Inside(tmp_path)
    (tmp_path / "code").mkdir()
    tape = "package p :: .versioner=disk .path=code {\n}\ntask t > out : p {\n  cat $p/* > $out\n}\n"
    place.tape(tape)
    for text in ("1", "2"):
        (tmp_path / "code/a").write_text(text)
        place.run("-y")
    assert len(list((tmp_path / "out/.packages/p").glob("*/a"))) == 2
    assert listed(place, "packages") == ({}, {}), "the attic refers to the old version"
    assert [path.split("/")[0] for path in listed(place)[0]] == [".attic", ".packages"]
    (tmp_path / "out/.locks").mkdir(exist_ok=True)
    (tmp_path / "out/.locks/alive").write_text("another-host:1\n")
    place.run("gc", "attic", "--delete", "-y")
    assert "another-host:1 is running" in listed(place)[1].values()
    (tmp_path / "out/.locks/alive").unlink()
    assert "1 things" in place.run("gc", "--delete", "-y").stderr
    assert [p.read_text() for p in (tmp_path / "out/.packages/p").glob("*/a")] == ["2"]


def test_versioned_tasks_keep_the_version_that_the_tape_asks_for(tmp_path):
    place = Inside(tmp_path)
    tape = "global {\n  ducttape_versioned_tasks=true\n}\ntask a > out :: n=1 {\n  echo $n > $out\n}\n"
    for number in ("1", "2"):
        place.tape(tape.replace("n=1", f"n={number}"))
        place.run("-y")
    place.tape(tape)
    assert listed(place) == ({"a/Baseline.baseline/2": "not what the tape asks for"}, {})
    (tmp_path / "out/a/Baseline.baseline.LOCK").write_text("another-host:1\n")
    assert listed(place) == ({}, {"a/Baseline.baseline/2": "another-host:1 works on it"})
    (tmp_path / "out/a/Baseline.baseline.LOCK").unlink()
    place.run("gc", "--delete", "-y")
    assert [p.name for p in (tmp_path / "out/a/Baseline.baseline").iterdir()] == ["1"]
    assert "nothing to do: 1 task complete" in place.run().stderr and place.run("verify").returncode == 0


def test_wrong_words(place):
    assert "did you mean 'attic'?" in place.run("gc", "atic").stderr
    done = place.run("gc", "-p", "main")
    assert done.returncode == 1 and "gc looks at all plans" in done.stderr


def test_what_is_not_in_the_default_plan_stays(place):
    more = "config {\n  ducttape_default_plan=small\n}\nplan small {\n  reach prep\n}\n"
    place.tape(TAPE + more)
    assert {row["task"] for row in json.loads(place.run("status", "--json").stdout)} == {"prep"}
    assert listed(place)[0] == {}
