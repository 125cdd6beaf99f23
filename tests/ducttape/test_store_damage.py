"""Outputs that were damaged: found before use when size or time shows it, and by `verify` when nothing does."""

import os
import random

import pytest
from inside import Inside

TAPE = """
task a > out dir :: n=(N: 1 2 3) {
  printf '%0200d' $n > $out
  mkdir -p $dir/sub
  printf '%0300d' $n > $dir/sub/x
  printf '%0300d' 9 > $dir/y
}
task b < in=$dir@a[N:*] > out {
  for d in $in; do cat $d/sub/x $d/y; done > $out
}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = Inside(tmp_path_factory.mktemp("damage"))
    place.tape(TAPE)
    assert place.run("-y").returncode == 0
    for path in (place.folder / "out").rglob("*"):
        os.utime(path, (1e9, 1e9))
    place.run("status")
    return place


def damage(rng, files):
    """Change one file in one of the ways in which disks and people do; the file."""
    path = rng.choice(files)
    data = bytearray(path.read_bytes())
    way = rng.choice(("flip", "truncate", "empty", "grow", "zeros", "replace", "delete", "other"))
    if way == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == "truncate":
        del data[rng.randrange(1, len(data)) :]
    elif way == "empty":
        data.clear()
    elif way == "grow":
        data += b"\0"
    elif way == "zeros":
        start = rng.randrange(len(data) - 64)
        data[start : start + 64] = bytes(64)
    elif way == "replace":
        data[:] = rng.randbytes(len(data))
    elif way == "other":
        data[:] = rng.choice([f for f in files if f.read_bytes() != bytes(data)]).read_bytes()
    path.unlink()
    if way != "delete":
        path.write_bytes(bytes(data))
    return path, way


def output_files(place):
    found = (path for path in sorted((place.folder / "out").rglob("*")) if path.is_file())
    return [p for p in found if not p.name.startswith("ducttape_") and not any(f.startswith(".") for f in p.parts)]


def task_of(place, path):
    return "/".join(path.relative_to(place.folder / "out").parts[:2])


@pytest.mark.parametrize("seed", range(24))
def test_damage_in_the_disguise_of_the_old_time_is_found(made, seed):
    rng = random.Random(seed)
    whole = {path: path.read_bytes() for path in output_files(made)}
    path, way = damage(rng, list(whole))
    if way != "delete":
        os.utime(path, (1e9, 1e9))
    said = made.run("verify")
    found = {line.split()[1].rstrip(":") for line in said.stdout.splitlines() if line.startswith("damaged ")}
    assert said.returncode == 1 and found == {task_of(made, path)}, (way, said.stdout)
    status = made.run("status").stdout
    assert any(line.startswith(("stale", "incomplete")) and task_of(made, path) in line for line in status.splitlines())
    path.write_bytes(whole[path])
    os.utime(path, (1e9, 1e9))
    assert made.run("verify").returncode == 0, "the old bytes are as good as ever"


@pytest.mark.parametrize("seed", range(24, 36))
def test_damage_that_size_or_time_shows_is_found_before_use(made, seed):
    rng = random.Random(seed)
    whole = {path: path.read_bytes() for path in output_files(made)}
    path, way = damage(rng, list(whole))
    dry = made.run("--dry-run").stderr
    assert f"out/{task_of(made, path)} (" in dry and "would run" in dry, (way, dry)
    path.write_bytes(whole[path])
    os.utime(path, (1e9, 1e9))
    assert "nothing to do" in made.run().stderr
