"""Every mode but exec: what it prints and what it changes."""

import json
import os
import subprocess

import pytest
from tapes_by_hand import Place

TAPE = """
task prep > out :: text=(Lang: en="it's \\"here\\"" de="$(no) code") {
  echo "$text" > $out
}
task train < in=$out@prep data=data.txt > model :: seed=3 {
  cat $in $data > $model
}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("modes"))
    place.tape(TAPE)
    (place.folder / "data.txt").write_text("data\n")
    assert place.run("-y").returncode == 0
    return place


@pytest.fixture
def fresh(tmp_path):
    place = Place(tmp_path)
    place.tape(TAPE)
    (place.folder / "data.txt").write_text("data\n")
    assert place.run("-y").returncode == 0
    return place


def test_list(made):
    assert made.run("list").stdout.splitlines()[0] == "prep Baseline.baseline"
    rows = json.loads(made.run("list", "--json").stdout)
    assert len(rows) == 4 and rows[1]["full_name"] == "Lang.de"


def test_env(made):
    text = made.run("env", "train", "Lang.de").stdout
    assert text.startswith("# train Lang.de:\nin=") and "\nseed=3\n" in text and text.endswith("\n\n")
    assert json.loads(made.run("env", "prep", "*", "--json").stdout)["prep/Lang.de"]["text"] == "$(no) code"


def test_commands_can_be_pasted(made):
    text = made.run("commands", "prep", "Lang.de").stdout
    done = subprocess.run(["bash", "-c", text + '\ncat "$out"'], capture_output=True, text=True)
    assert done.stdout == "$(no) code\n"


def test_viz(made):
    text = made.run("viz").stdout
    assert text.startswith("digraph") and '"prep/Lang.de" -> "train/Lang.de" [label="in=$out@prep"];' in text
    assert made.run("viz", "-T", "packed").stdout.count("->") == 1


def test_status(made):
    assert made.run("status").stdout.splitlines()[0].startswith("complete   prep/Baseline.baseline  (0.")
    row = json.loads(made.run("status", "train", "Lang.de", "--json").stdout)[0]
    assert row["status"] == "complete" and row["reasons"] == [] and row["locked_by"] is None


def test_explain(made):
    text = made.run("explain").stdout
    assert "prep: 2 realizations, needed by train\n    Lang: en de\n" in text


def test_report(made):
    lines = made.run("report").stdout.splitlines()
    assert lines[0].split() == ["task", "realization", "wall", "cpu", "memory", "outputs"]
    assert lines[-3].split()[:2] == ["prep", "2"] and "4 of 4 tasks" in lines[-1]
    assert json.loads(made.run("report", "--json").stdout)[0]["cpu_seconds"] >= 0


def test_why_goes_back_to_the_sources(made):
    text = made.run("why", "out/train/Lang.de/model").stdout
    assert "made by train/Lang.de" in text and 'param seed = "3"' in text
    assert "data.txt (from outside" in text and "input in = out of prep/Lang.de" in text
    assert text.index("made by train") < text.index("made by prep")
    assert list(json.loads(made.run("why", "out/train/Lang.de", "--json").stdout)) == ["train/Lang.de", "prep/Lang.de"]


def test_versions(made):
    assert made.run("versions").stdout.startswith("run 1 ")
    run = json.loads(made.run("versions", "--json").stdout)["runs"][0]
    assert run["todo"][0] == "prep/Baseline.baseline/1" and run["files"] == ["x.tape"]
    assert ":" in run["by"] and run["running"] is False


def test_invalidate_takes_descendants_with_it(fresh):
    assert "doing nothing" in fresh.run("invalidate", "prep", "Lang.de").stderr
    assert "nothing to do" in fresh.run().stderr
    fresh.run("invalidate", "prep", "Lang.de", answer="y\n")
    dry = fresh.run("--dry-run").stderr
    assert "2 of 4 tasks would run" in dry and "incomplete: invalidated by hand" in dry
    assert "MOVE TO ATTIC: out/prep/Lang.de" in dry
    assert "2 made" in fresh.run("-y").stderr


def test_purge_deletes(fresh):
    fresh.run("purge", "prep", "Lang.de", "-y")
    assert not (fresh.folder / "out/train/Lang.de").exists()
    assert (fresh.folder / "out/train/Baseline.baseline").exists()
    fresh.run("purge", "*", "*", "-y")
    assert not [p for p in (fresh.folder / "out").iterdir() if p.name[0] != "."]


def test_mark_done_needs_the_outputs(tmp_path):
    place = Place(tmp_path)
    place.tape("task a > out {\n  exit 1\n}\ntask b < in=$out@a > out {\n  cat $in > $out\n}\n")
    place.run("-y")
    refused = place.run("mark_done", "a")
    assert refused.returncode == 1 and "output out is missing" in refused.stderr
    (tmp_path / "out/a/Baseline.baseline/out").write_text("by hand\n")
    assert place.run("mark_done", "a").returncode == 0
    assert place.run("-y").returncode == 0 and place.read("b/Baseline.baseline/out") == "by hand\n"
    assert "marked done by hand" in place.run("why", "out/b/Baseline.baseline").stdout


def test_unlock(fresh):
    lock = fresh.folder / "out/prep/Lang.de.LOCK"
    lock.write_text("another-host:1\n")
    assert "nothing to do" in fresh.run("unlock", "prep", "Baseline.baseline", "-y").stderr
    assert "held by another-host:1" in fresh.run("unlock", "-y").stderr
    assert not lock.exists()


def test_moving_the_results_elsewhere_keeps_them(fresh):
    os.rename(fresh.folder / "out", fresh.folder / "moved")
    assert "nothing to do" in fresh.run("-O", "moved").stderr


def test_a_changed_data_file_is_named(fresh):
    (fresh.folder / "data.txt").write_text("more data\n")
    assert "input data changed (" in fresh.run("status").stdout


SUMMARY = """
summary sizes {
  of train > bytes lines {
    wc -c < $model > $bytes
    wc -l < $model > $lines
  }
  of prep > words {
    wc -w < $out > $words
    test -d $TASK_DIR
  }
}
"""


def test_summary(fresh):
    fresh.tape(TAPE + SUMMARY)
    lines = fresh.run("summary").stdout.splitlines()
    assert lines == ["# Variable branch points: Lang", "Lang\tbytes\tlines\twords", "en\t17\t2\t2", "de\t16\t2\t2"]
    fresh.run("purge", "train", "Lang.de", "-y")
    assert fresh.run("summary", "sizes").stdout.splitlines()[-1] == "de\t--\t--\t2"
    assert json.loads(fresh.run("summary", "--json").stdout)["sizes"][1]["values"]["bytes"] is None
    fresh.tape(TAPE + SUMMARY.replace("wc -w < $out > $words", "printf 'a\\nb\\n' > $words"))
    broken = fresh.run("summary")
    assert broken.returncode == 1 and "words must have exactly one line, not 2" in broken.stderr
    assert "unknown summary 'x'" in fresh.run("summary", "x").stderr


def test_versions_lists_what_each_run_found_and_made(fresh):
    fresh.tape(TAPE.replace("seed=3", "seed=4"))
    fresh.run("-y")
    lines = fresh.run("versions", "2").stdout.splitlines()
    assert lines[0].endswith(" existing=2 todo=2") and lines[0].startswith("run 2 ")
    assert lines[1:] == [
        "  existing prep/Baseline.baseline/1",
        "  existing prep/Lang.de/1",
        "  todo train/Baseline.baseline/2",
        "  todo train/Lang.de/2",
    ]
    assert "there is no run '7'" in fresh.run("versions", "7").stderr
