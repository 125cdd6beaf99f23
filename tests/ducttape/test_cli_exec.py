"""The `ducttape` command as people type it: what it says, what it exits with, what it does again."""

import json
import os
import time

import pytest
from tapes_by_hand import Place

from ducttape.cli import main as cli

TAPE = """
global {
  steps=10
}
task prep > out :: text=(Lang: en="hello world" de="hallo welt") {
  # prepare
  echo $text > $out
}
task train < in=$out@prep > model :: steps=@ {
  cat $in > $model
  echo $steps >> $model
}
task score < model=@train > score {
  wc -w < $model > $score
}
"""


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.tape(TAPE)
    return place


def test_the_first_run_the_second_run_and_an_edit(place):
    first = place.run("-y")
    assert first.returncode == 0 and "6 made" in first.stderr and first.stdout == ""
    assert place.read("score/Lang.de/score") == "3\n"
    second = place.run()
    assert second.returncode == 0 and second.stderr == "nothing to do: 6 tasks complete\n"
    place.tape(TAPE.replace("# prepare", "# prepare it well\n"))
    assert "nothing to do" in place.run().stderr
    place.tape(TAPE.replace("steps=10", "steps=20"))
    dry = place.run("--dry-run").stderr
    assert "MOVE TO ATTIC: out/train/Lang.de (Lang.de)" in dry
    assert "RUN: out/train/Lang.de (Lang.de)\n    stale: param steps 10 -> 20" in dry
    assert "RUN: out/score/Lang.de (Lang.de)\n    only if train/Lang.de comes out different" in dry
    third = place.run("-y").stderr
    assert "4 made" in third
    place.tape(TAPE.replace("steps=10", "steps=20").replace("echo $text > $out", 'printf "%s\\n" "$text" > $out'))
    assert "2 made, 4 already complete" in place.run("-y").stderr, "equal bytes stop there"


def test_the_question(place):
    for answer, ran in (("", False), ("n\n", False), ("perhaps\n", False), ("y\n", True)):
        done = place.run(answer=answer)
        assert done.returncode == 0 and "Run 6 tasks? [y/n]" in done.stderr
        assert ("doing nothing" in done.stderr) != ran
        assert ("hint: -y answers yes" in done.stderr) == (answer == "")
    assert not (place.folder / "out/.versions/2").exists()


def test_nothing_is_written_before_the_answer(place):
    place.run("--dry-run")
    place.run(answer="n\n")
    place.run("status")
    assert not (place.folder / "out").exists()


def test_options_and_modes_mix(place):
    assert place.run("list", "-D", "steps=1", "train", "--json").returncode == 0
    listed = place.run("-j2", "list", "tr*").stdout
    assert listed == "train Baseline.baseline\ntrain Lang.de\n"


def test_only_what_was_asked_and_what_it_needs(place):
    assert "2 made" in place.run("-y", "exec", "train", "Lang.de").stderr
    assert sorted(p.name for p in (place.folder / "out").iterdir() if p.name[0] != ".") == ["prep", "train"]


def test_task_output_has_a_prefix_and_its_own_stream(tmp_path):
    place = Place(tmp_path)
    place.tape("task a > out {\n  echo to out; echo to err >&2; printf half; touch $out\n}\n")
    done = place.run("-y")
    assert done.stdout == "a/Baseline.baseline: to out\na/Baseline.baseline: half\n"
    assert "a/Baseline.baseline: to err\n" in done.stderr


def test_a_failure_is_summed_up_with_its_log(place):
    place.tape(TAPE.replace("cat $in > $model", 'echo "cannot learn this" >&2; exit 3'))
    done = place.run("-y")
    assert done.returncode == 1
    assert "failed train/Lang.de: exit code 3" in done.stderr and "| cannot learn this" in done.stderr
    assert "2 made, 2 failed, 2 not tried" in done.stderr
    again = place.run("--dry-run").stderr
    assert "DELETE: out/train/Lang.de" in again and "incomplete: failed with exit code 3" in again


def test_a_failed_task_that_made_its_output_does_not_count(place):
    place.tape(TAPE.replace("echo $steps >> $model", "exit 1"))
    place.run("-y")
    place.tape(TAPE)
    assert place.run("-y").returncode == 0
    assert place.read("train/Baseline.baseline/model") == "hello world\n10\n"


def test_stale_keep_and_fail(place):
    place.run("-y")
    assert place.run("--stale=fail", "-D", "steps=20").returncode == 1
    kept = place.run("-y", "--stale=keep", "-D", "steps=20")
    assert "KEEP: " in kept.stderr and "nothing to do" in kept.stderr
    assert place.read("train/Lang.de/model").endswith("10\n")
    assert "nothing to do" in place.run("-D", "steps=20").stderr
    record = json.loads(place.read("train/Lang.de/ducttape_record.json"))
    assert "param steps 10 -> 20" in record["notes"][0]


def test_keeping_a_result_shows_that_those_after_it_are_stale_too_and_keeps_them(place):
    place.run("-y")
    (place.folder / "out/prep/Lang.de/out").write_text("by hand\n")
    kept = place.run("-y", "--stale=keep").stderr
    assert [line for line in kept.splitlines() if line.startswith("KEEP")] == [
        "KEEP: prep/Lang.de",
        "KEEP: train/Lang.de",
    ]
    assert "output out was changed" in kept and "input in changed (out of prep/Lang.de)" in kept
    assert "nothing to do: 6 tasks complete" in kept and place.run().stderr == "nothing to do: 6 tasks complete\n"


def test_a_missing_input_file_is_found_before_anything_runs(tmp_path):
    place = Place(tmp_path)
    place.tape("task a > out {\n  touch $out\n}\ntask b < in=no/such.txt > out {\n  touch $out\n}\n")
    done = place.run("-y")
    assert done.returncode == 1 and not (tmp_path / "out/a").exists()
    assert (
        "x.tape:4:" in done.stderr and "no/such.txt" in done.stderr and "hint: " in done.stderr and "^" in done.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["x.tape", "lst"], 2, "did you mean 'list'?"),
        (["x.tape", "--no-such-option"], 2, "no-such-option"),
        (["x.tape", "list", "--no_color", "nope"], 1, "nope"),
        (["x.tape", "-j", "0"], 2, "-j must be at least 1"),
        (["x.tape", "--keep-going", "--fail-fast"], 2, "contradict each other"),
        ([], 2, "ducttape --help"),
        (["no.tape"], 1, "no.tape"),
        (["x.tape", "-D", "steps"], 1, "NAME=VALUE"),
        (["x.tape", "-p", "nope"], 1, "nope"),
        (["x.tape", "list", "nope"], 1, "nope"),
        (["x.tape", "env"], 1, "needs to know which tasks"),
        (["x.tape", "why"], 1, "needs one path"),
        (["x.tape", "why", "x.tape"], 1, "not made by a task"),
    ],
)
def test_wrong_usage_is_explained(place, monkeypatch, capsys, arguments, code, text):
    monkeypatch.chdir(place.folder)
    assert cli.main(arguments) == code
    assert text in capsys.readouterr().err


def test_help_and_version_are_quick(monkeypatch, capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) < 60 and all(mode in said for mode in cli.MODES)
    assert cli.main(["--version"]) == 0


def test_a_reader_that_goes_away_is_no_error(place):
    import subprocess

    from tapes_by_hand import command, environment

    pipe = f"{' '.join(command('x.tape', 'list'))} | true"
    done = subprocess.run(["bash", "-c", pipe], cwd=place.folder, env=environment(), capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Broken" not in done.stderr


def test_a_run_goes_on_when_nobody_reads_it_any_more(tmp_path):
    import subprocess

    from tapes_by_hand import command, environment

    place = Place(tmp_path)
    place.tape("task a > out {\n  for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done\n  echo end > $out\n}\n")
    pipe = f"({' '.join(command('x.tape', '-O', 'out', '-y'))}; echo $? > code) 2>&1 | head -n 1"
    subprocess.run(["bash", "-c", pipe], cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL)
    assert place.read("a/Baseline.baseline/out") == "end\n" and (tmp_path / "code").read_text() == "0\n"


def test_colours_only_on_terminals(place):
    assert "\x1b" not in place.run("--dry-run", NO_COLOR="").stderr


def test_many_tasks_are_shown_as_a_tree_with_counts(tmp_path):
    place = Place(tmp_path)
    place.tape(
        "task a > out :: x=(X: 1..60) {\n  echo $x > $out\n}\ntask b < in=$out@a > out {\n  cat $in > $out\n}\n"
        "plan {\n  reach b via (X: *)\n}\n"
    )
    said = place.run("--dry-run").stderr
    assert len(said.splitlines()) < 10 and "RUN: a  60 realizations" in said and "  60  not made yet" in said


def test_nothing_to_do_is_quick_although_outputs_are_large(tmp_path):
    place = Place(tmp_path)
    place.tape("task a > big :: x=(X: 1..60) {\n  head -c 1G /dev/zero > $big\n}\nplan {\n  reach a via (X: *)\n}\n")
    for i in range(1, 61):
        directory = tmp_path / "out/a" / ("Baseline.baseline" if i == 1 else f"X.{i}")
        directory.mkdir(parents=True)
        os.truncate(os.open(directory / "big", os.O_CREAT | os.O_WRONLY), 100_000_000 if i < 3 else 1000)
        for name in ("ducttape_stdout.txt", "ducttape_stderr.txt"):
            (directory / name).touch()
        (directory / "ducttape_exit_code.txt").write_text("0")
        os.utime(directory / "big", (1, 1))
    assert "adopted 60 results" in place.run().stderr
    digests = (tmp_path / "out/.digests/files.jsonl").read_text()
    assert len([line for line in digests.splitlines() if line]) == 60
    began = time.monotonic()
    assert "nothing to do: 60 tasks" in place.run().stderr
    assert time.monotonic() - began < 3, "about 0.3 s on an idle machine"
    assert (tmp_path / "out/.digests/files.jsonl").read_text() == digests, "nothing was read again"


def test_the_original_layout_is_written(place):
    place.run("-y", "-D", "steps=5")
    directory = place.folder / "out/train/Lang.de"
    names = {p.name for p in directory.iterdir()}
    assert names >= {
        "ducttape_task.sh",
        "ducttape_stdout.txt",
        "ducttape_stderr.txt",
        "ducttape_exit_code.txt",
        "model",
    }
    assert (directory / "ducttape_exit_code.txt").read_text() == "0"
    assert (directory / "ducttape_version.txt").read_text() == "1\n"
    assert os.readlink(place.folder / "out/prep/Lang.en") == "Baseline.baseline"
    assert place.read(".versions/1/manifest.txt").startswith("todo\tprep/Baseline.baseline/1\n")
    assert "task train" in place.read(".versions/1/workflow.tape")


def test_the_archived_script_runs_by_hand(place):
    place.run("-y")
    script = place.folder / "out/score/Lang.de/ducttape_task.sh"
    (place.folder / "out/score/Lang.de/score").unlink()
    assert os.system(f"bash {script}") == 0 and place.read("score/Lang.de/score") == "3\n"


def test_the_library_does_the_same(place, monkeypatch):
    import ducttape

    monkeypatch.setenv("HOME", "/nonexistent")
    workflow = ducttape.load(place.folder / "x.tape", defines={"steps": "7"})
    outcome = ducttape.run(workflow, ducttape.plan(workflow), output=place.folder / "out", jobs=2)
    assert outcome.ok and len(outcome.made) == 6
    again = ducttape.run(workflow, output=place.folder / "out")
    assert again.ok and len(again.reused) == 6 and not again.made
