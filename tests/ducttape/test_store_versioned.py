"""`ducttape_versioned_tasks=true`: a directory for every run that made a task, and the one asked for is found again."""

import pytest
from tapes_by_hand import Place

TAPE = """
global {
  ducttape_versioned_tasks=true
}
task a > out :: x=(X: 1 2) y=0 {
  echo $x$y > $out
}
task b < in=$out@a > out {
  cat $in > $out
}
"""


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.tape(TAPE)
    done = place.run("-y")
    assert done.returncode == 0, done.stderr
    return place


def found(place: Place) -> list[str]:
    return sorted(str(p.relative_to(place.folder / "out")) for p in (place.folder / "out").glob("[ab]/*/*/out"))


def test_every_run_has_directories_of_its_own(place):
    assert place.read("b/X.2/1/out") == "20\n"
    place.tape(TAPE.replace("y=0", "y=5"))
    dry = place.run("--dry-run").stderr
    assert "param y 0 -> 5" in dry and "ATTIC" not in dry
    place.run("-y")
    assert place.read("b/X.2/1/out") == "20\n" and place.read("b/X.2/2/out") == "25\n"
    assert place.read("b/X.2/2/ducttape_version.txt") == "2\n"
    assert not (place.folder / "out/.attic").exists()


def test_an_earlier_version_that_is_what_is_asked_for_counts(place):
    place.tape(TAPE.replace("y=0", "y=5"))
    place.run("-y")
    place.tape(TAPE)
    assert "nothing to do" in place.run().stderr
    assert "out/b/X.2/1/out\n" in place.run("env", "b", "X.2").stdout
    place.tape(TAPE.replace("cat $in", "cat $in $in"))
    place.run("-y")
    assert place.read("b/X.2/3/out") == "20\n20\n" and not (place.folder / "out/a/X.2/3").exists()
    manifest = (place.folder / "out/.versions/3/manifest.txt").read_text().splitlines()
    assert "existing\ta/X.2/1" in manifest and "todo\tb/X.2/3" in manifest


def test_a_failed_version_does_not_hide_a_good_one(place):
    place.tape(TAPE.replace("echo $x$y > $out", "exit 1"))
    place.run("-y")
    place.tape(TAPE)
    assert "nothing to do" in place.run().stderr


def test_invalidate_and_purge_take_all_versions(place):
    place.tape(TAPE.replace("y=0", "y=5"))
    place.run("-y")
    place.run("invalidate", "a", "X.2", "-y")
    assert "2 of 4 tasks would run" in place.run("--dry-run").stderr
    place.tape(TAPE)
    assert "2 of 4 tasks would run" in place.run("--dry-run").stderr
    place.run("-y")
    assert place.read("b/X.2/3/out") == "20\n"
    place.run("purge", "*", "*", "-y")
    assert found(place) == [] and not (place.folder / "out/a").exists()


def test_the_flat_layout_too(tmp_path):
    place = Place(tmp_path)
    flat = TAPE.replace("(X: 1 2)", "1").replace("true\n", "true\n  ducttape_structure=flat\n")
    place.tape(flat)
    assert place.run("-y").returncode == 0 and place.read("b/1/out") == "10\n"
    place.tape(flat.replace("y=0", "y=1"))
    assert place.run("-y").returncode == 0 and place.read("b/2/out") == "11\n"
