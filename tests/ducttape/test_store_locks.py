"""A lock of a live controller is respected, one of a dead controller is taken over, and never by two."""

import os
import subprocess
import sys
import textwrap

from ducttape.store.locks import Locks, Owner, read_owner

HERE = Owner.here()


def write(path, owner):
    path.write_text(owner.text())


def test_a_lock_excludes_and_is_released(tmp_path):
    one = Locks(tmp_path / ".locks")
    two = Locks(tmp_path / ".locks")
    lock = tmp_path / "t.LOCK"
    assert one.acquire(lock) is None
    assert two.acquire(lock).pid == os.getpid()
    one.release(lock)
    assert two.acquire(lock) is None
    two.release_all()
    one.release_all()
    assert not lock.exists() and not any(p.name != "takeover" for p in (tmp_path / ".locks").iterdir())


def test_a_dead_owner_is_replaced(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead = [
        Owner(HERE.host, ended.pid, "1", HERE.boot, HERE.namespace),
        Owner(HERE.host, os.getpid(), "1", HERE.boot, HERE.namespace),
        Owner(HERE.host, os.getpid(), HERE.start, "another-boot", HERE.namespace),
        Owner(HERE.host, ended.pid),
    ]
    for i, owner in enumerate(dead):
        lock = tmp_path / f"{i}.LOCK"
        write(lock, owner)
        assert owner.is_gone()
        assert Locks(tmp_path / ".locks").acquire(lock) is None


def test_an_owner_that_may_live_is_respected(tmp_path):
    alive = [
        HERE,
        Owner("another-host", 1, "1", HERE.boot, HERE.namespace),
        Owner(HERE.host, 2**22 + 5, "1", HERE.boot, "another-namespace"),
    ]
    for i, owner in enumerate(alive):
        lock = tmp_path / f"{i}.LOCK"
        write(lock, owner)
        assert not owner.is_gone()
        assert Locks(tmp_path / ".locks").acquire(lock) == owner


def test_a_lock_that_cannot_be_read_is_respected(tmp_path):
    (tmp_path / "t.LOCK").write_text("nonsense")
    assert Locks(tmp_path / ".locks").acquire(tmp_path / "t.LOCK") is not None


def test_the_original_format_is_understood(tmp_path):
    (tmp_path / "t.LOCK").write_text(f"{HERE.host}:{os.getpid()}\n")
    assert read_owner(tmp_path / "t.LOCK") == Owner(HERE.host, os.getpid())


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    one, two = Locks(tmp_path / ".locks"), Locks(tmp_path / ".locks")
    assert one.acquire(tmp_path / "t.LOCK") is None
    assert two.acquire(tmp_path / "t.LOCK").pid == os.getpid()
    one.release_all()
    assert two.acquire(tmp_path / "t.LOCK") is None


def test_many_processes_take_over_one_dead_lock_and_one_wins(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from ducttape.store.locks import Locks
        base = Path(sys.argv[1])
        while not (base / "go").exists():
            pass
        print("won" if Locks(base / ".locks").acquire(base / "t.LOCK") is None else "lost", flush=True)
        sys.stdin.read()
    """)
    write(tmp_path / "t.LOCK", Owner(HERE.host, ended.pid, "1", HERE.boot, HERE.namespace))
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    (tmp_path / "go").touch()
    answers = [r.stdout.readline().strip() for r in racers]
    for racer in racers:
        racer.communicate()
    assert answers.count("won") == 1
