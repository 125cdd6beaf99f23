"""Versioners written in the language: when they are asked, what they make, and what is said when they fail."""

import base64
import hashlib
import json
import os
import subprocess
import time
import zipfile

import pytest
from tapes_by_hand import Place

from ducttape.store.locks import process_start

MINE = """
versioner mine :: from :: suffix=s {
  action checkout > dir {
    echo checkout >> asked
    cp "$from" "$dir/file"
    echo "$(head -n 1 "$version_file")" > "$dir/version"
  }
  action repo_version > version {
    echo version >> asked
    { echo "v$(cat "$from")$suffix"; echo "more"; } > $version
  }
  action local_version > version date {
    exit 1
  }
}
package p :: .versioner=mine .from=data.txt own=1 {
  echo "$own $PWD" > built
}
"""
TASK = "task a > out : p {\n  cat $p/file $p/version $p/built > $out\n}\n"


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.tape(MINE + TASK)
    (tmp_path / "data.txt").write_text("1\n")
    return place


def asked(place: Place) -> list[str]:
    path = place.folder / "asked"
    lines = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def versions(place: Place, package: str = "p") -> list[str]:
    found = (place.folder / "out/.packages" / package).iterdir()
    return sorted(path.name for path in found if path.is_dir() and path.name != "failed")


def test_a_versioner_is_asked_once_and_then_only_for_updates(place):
    done = place.run("-y")
    assert done.returncode == 0, done.stderr
    (version,) = versions(place)
    assert version.startswith("v1s-") and asked(place) == ["version", "checkout"]
    # The build ran where the package lies now.
    folder = place.folder / "out/.packages/p" / version
    assert place.read("a/Baseline.baseline/out") == f"1\nv1s\n1 {folder}\n"
    assert (folder.parent / "HEAD").read_text() == version + "\n"
    assert {"build_stdout.txt", "build_exit_code.txt", "checkout_stderr.txt"} <= {p.name for p in folder.iterdir()}
    (place.folder / "data.txt").write_text("2\n")
    assert "nothing to do" in place.run().stderr and asked(place) == []
    assert "BUILD: p v2s" in place.run("update").stderr and len(versions(place)) == 1
    assert place.run("update", "-y").returncode == 0 and len(versions(place)) == 2
    assert "package p v1s-" in place.run("--dry-run").stderr
    asked(place)
    place.run("-y")
    assert place.read("a/Baseline.baseline/out").startswith("2\n") and asked(place) == []
    assert "1 package is built" in place.run("update").stderr
    assert "unknown package 'q'" in place.run("update", "q").stderr


def test_auto_update_asks_every_time_and_may_go_back(place):
    place.tape(MINE + TASK + "global {\n  ducttape_auto_update_packages=true\n}\n")
    place.run("-y")
    (place.folder / "data.txt").write_text("2\n")
    assert "1 made" in place.run("-y").stderr
    (place.folder / "data.txt").write_text("1\n")
    assert "1 made" in place.run("-y").stderr and len(versions(place)) == 2
    place.tape(MINE + TASK)
    assert "nothing to do" in place.run().stderr


def test_another_source_is_asked_for_and_the_way_back_is_known(place):
    place.run("-y")
    (place.folder / "other.txt").write_text("9\n")
    place.tape((MINE + TASK).replace("data.txt", "other.txt"))
    assert "1 made" in place.run("-y").stderr and place.read("a/Baseline.baseline/out").startswith("9\n")
    asked(place)
    place.tape(MINE + TASK)
    assert "1 made" in place.run("-y").stderr and place.read("a/Baseline.baseline/out").startswith("1\n")
    assert asked(place) == []


def test_new_build_commands_build_the_same_version_again(place):
    place.run("-y")
    asked(place)
    place.tape((MINE + TASK).replace("own=1", "own=2").replace(".from", ".suffix=t .from"))
    place.run("-y")
    assert len(versions(place)) == 2 and asked(place) == ["version", "checkout"]
    place.tape((MINE + TASK).replace("own=1", "own=3").replace(".from", ".suffix=t .from"))
    place.run("-y")
    assert asked(place) == ["checkout"] and " 3 " not in place.read("a/Baseline.baseline/out")


@pytest.mark.parametrize(
    ("old", "new", "message", "log"),
    [
        ("echo version >> asked", "echo offline >&2; exit 7", "exit code 7: offline", "repo_version_stderr.txt"),
        ("echo checkout >> asked", "echo gone >&2; exit 8", "exit code 8: gone", "checkout_stderr.txt"),
        ('echo "$own $PWD"', "echo bad >&2; exit 9; echo", "exit code 9", "failed/build_stderr.txt"),
    ],
)
def test_failures_name_the_log(place, old, new, message, log):
    place.tape((MINE + TASK).replace(old, new))
    done = place.run("-y")
    path = place.folder / "out/.packages/p" / log
    assert done.returncode == 1 and message in done.stderr and f"hint: see {path}" in done.stderr, done.stderr
    assert path.read_text() in ("offline\n", "gone\n", "bad\n") and not (place.folder / "out/a").exists()
    assert versions(place) == []
    place.tape(MINE + TASK)
    assert place.run("-y").returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('{ echo "v$(cat "$from")$suffix"; echo "more"; } > $version', "true", "wrote no usable version"),
        ('echo "v$(cat', 'echo "..$(cat', "wrote no usable version"),
        ('cp "$from" "$dir/file"', 'rmdir "$dir"; ln -s "$PWD" "$dir"', "must fill the directory $dir"),
        (":: suffix=s", ":: suffix=s needed", "does not give the param '.needed' of versioner 'mine'"),
    ],
)
def test_bad_versioners(place, old, new, message):
    place.tape((MINE + TASK).replace(old, new))
    done = place.run("-y")
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert not (place.folder / "ducttape_package.json").exists()


def test_a_package_of_the_original_is_used(place):
    folder = place.folder / "out/.packages/p"
    (folder / "abc").mkdir(parents=True)
    for name, text in {"file": "f\n", "version": "v\n", "built": "b\n", "build_exit_code.txt": "0"}.items():
        (folder / "abc" / name).write_text(text)
    (folder / "HEAD").write_text("abc")
    assert place.run("-y").returncode == 0 and asked(place) == []
    assert place.read("a/Baseline.baseline/out") == "f\nv\nb\n"


def test_two_controllers_build_once(place):
    place.tape((MINE + TASK).replace("cp ", "sleep 0.5; cp "))
    runs = [place.start("-y"), place.start("-y")]
    assert [r.wait(timeout=60) for r in runs] == [0, 0]
    for r in runs:
        r.communicate()
    assert asked(place).count("checkout") == 1


def test_a_killed_build_starts_over(place):
    wait = "[ -e again ] || { echo $$ > new; mv new again; sleep 30; }; "
    place.tape((MINE + TASK).replace("cp ", wait + "cp "))
    first = place.start("-y")
    while not (place.folder / "again").exists():
        time.sleep(0.02)
    first.kill()
    first.communicate()
    deadline = time.monotonic() + 10
    while _is_running(int((place.folder / "again").read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(int((place.folder / "again").read_text())), "a build ends with its controller"
    assert place.run("-y").returncode == 0 and len(versions(place)) == 1


def _is_running(pid: int) -> bool:
    return process_start(pid) is not None


def test_a_tape_without_packages_asks_nobody(place):
    place.tape(MINE + TASK + "task b > out {\n  echo > $out\n}\n")
    assert place.run("-y", "exec", "b").returncode == 0 and asked(place) == []


def test_disk_leaves_out_git_and_the_results(tmp_path):
    place = Place(tmp_path)
    (tmp_path / ".git").mkdir()
    place.tape("package p :: .versioner=disk .path=. {\n}\ntask a > out : p {\n  ls -A $p > $out\n}\n")
    assert place.run("-y").returncode == 0
    assert place.read("a/Baseline.baseline/out").split() == ["ducttape_package.json", "x.tape"]
    (tmp_path / ".git/index").write_text("changed")
    assert "nothing to do" in place.run().stderr
    (tmp_path / "new.py").write_text("")
    assert "(new.py)" in place.run("--dry-run").stderr


def test_svn(tmp_path):
    place = Place(tmp_path)
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/svn"
    fake.write_text(
        '#!/usr/bin/env bash\necho "$*" >> log\nif [[ $1 = info ]]; then echo 41; else echo x > "${@: -1}/f"; fi\n'
    )
    fake.chmod(0o755)
    place.tape(
        'package p :: .versioner=svn .repo="https://svn.example.org/p" .rev=HEAD {\n}\n'
        "task a > out : p {\n  cat $p/f > $out\n}\n"
    )
    done = place.run("-y", PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert versions(place)[0].startswith("41-") and place.read("a/Baseline.baseline/out") == "x\n"
    log = (tmp_path / "log").read_text()
    assert "-r HEAD https://svn.example.org/p\n" in log and "-r 41 https://svn.example.org/p " in log


def wheel(folder, name: str, version: str, needs: str = "") -> None:
    """A distribution with one module and one command."""
    files = {
        f"{name}.py": f"VERSION = {version!r}\ndef main():\n    print(VERSION)\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{name}-{version}.dist-info/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text)}")
    files[f"{name}-{version}.dist-info/RECORD"] = "\n".join([*lines, f"{name}-{version}.dist-info/RECORD,,", ""])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


@pytest.mark.slow
def test_pip_makes_a_locked_environment(tmp_path):
    place = Place(tmp_path)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "toolbox", "1.0", "helper>=1")
    wheel(wheels, "helper", "1.0")
    place.tape(
        "package p :: .versioner=pip .package=toolbox .tag=1.0 {\n}\n"
        "task a > out : p {\n  $p/bin/toolbox > $out; $p/bin/python -c 'import helper; helper.main()' >> $out\n}\n"
    )
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_NO_CACHE_DIR": "1"}
    done = place.run("-y", **offline)
    assert done.returncode == 0, done.stderr
    assert place.read("a/Baseline.baseline/out") == "1.0\n1.0\n"
    (version,) = versions(place)
    lock = (tmp_path / "out/.packages/p" / version / "requirements.lock").read_text()
    assert version.startswith("toolbox-1.0-") and lock == "helper==1.0\ntoolbox==1.0\n"
    wheel(wheels, "helper", "1.1")
    assert "nothing to do" in place.run(**offline).stderr
    assert place.run("update", "-y", **offline).returncode == 0
    assert "1 made" in place.run("-y", **offline).stderr
    assert place.read("a/Baseline.baseline/out") == "1.0\n1.1\n"
    manifest = [json.loads(p.read_text()) for p in (tmp_path / "out/.packages/p").glob("*/ducttape_package.json")]
    assert len({m["source"] for m in manifest}) == 1 and len({m["version"] for m in manifest}) == 2
    place.tape("package q :: .versioner=pip .package=toolbox .tag=3.0 {\n}\ntask b > out : q {\n  echo > $out\n}\n")
    failed = place.run("-y", **offline)
    assert failed.returncode == 1 and "repo_version_stderr.txt" in failed.stderr and "toolbox" in failed.stderr


def test_git_builds_in_its_own_place(tmp_path):
    place, repo = Place(tmp_path), tmp_path / "repo"
    repo.mkdir()
    name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["init", "-q"], [*name, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *arguments], cwd=repo, check=True)
    place.tape(
        "package p :: .versioner=git .repo=repo .ref=HEAD {\n  echo $PWD > prefix\n}\n"
        "task a > out : p {\n  [ $(cat $p/prefix) = $p ]; echo > $out\n}\n"
    )
    assert place.run("-y").returncode == 0
    place.tape("package p :: .versioner=git .repo=nowhere .ref=HEAD {\n}\ntask a > out : p {\n  echo > $out\n}\n")
    done = place.run("-y")
    assert done.returncode == 1 and "'git ls-remote' ended with exit code 128" in done.stderr
    assert "repo_version_stderr.txt" in done.stderr
