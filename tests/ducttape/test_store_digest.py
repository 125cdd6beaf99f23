"""Digests see every change of content, and nothing else; an unchanged file is read once."""

import os
import shutil
import time

from blake3 import blake3

from ducttape.store.digest import DigestCache


def settled(path):
    """Make a file look old enough that its digest may be remembered."""
    old = time.time() - 100
    os.utime(path, (old, old))


def test_a_file_digest_is_blake3_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    assert DigestCache(tmp_path, None).path(tmp_path / "a") == blake3(b"abc" * 1000).hexdigest()


def test_nothing_there_has_no_digest(tmp_path):
    cache = DigestCache(tmp_path, None)
    assert cache.path(tmp_path / "a") is None
    (tmp_path / "link").symlink_to("nowhere")
    assert cache.path(tmp_path / "link") is None


def test_a_directory_digest_sees_content_names_and_empty_folders(tmp_path):
    def digest():
        return DigestCache(tmp_path, None).path(tmp_path / "d")

    (tmp_path / "d/x").mkdir(parents=True)
    (tmp_path / "d/x/f").write_text("1")
    seen = [digest()]
    (tmp_path / "d/x/f").write_text("2")
    seen.append(digest())
    (tmp_path / "d/x/f").rename(tmp_path / "d/x/g")
    seen.append(digest())
    (tmp_path / "d/e").mkdir()
    seen.append(digest())
    (tmp_path / "d/link").symlink_to("nowhere")
    seen.append(digest())
    assert len(set(seen)) == len(seen)
    shutil.copytree(tmp_path / "d", tmp_path / "copy", symlinks=True)
    assert DigestCache(tmp_path, None).path(tmp_path / "copy") == seen[-1], "only content counts, not where it lies"


def test_links_that_form_a_circle_end(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/up").symlink_to("..")
    assert DigestCache(tmp_path, None).path(tmp_path / "d")


def test_names_cannot_be_confused_with_contents(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/x").write_text("1")
    (tmp_path / "a/y").write_text("")
    (tmp_path / "b/x").write_text("")
    (tmp_path / "b/y").write_text("1")
    cache = DigestCache(tmp_path, None)
    assert cache.path(tmp_path / "a") != cache.path(tmp_path / "b")


def test_an_unchanged_file_is_not_read_again_even_by_another_process(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("x")
    settled(tmp_path / "a")
    first = DigestCache(tmp_path, tmp_path / ".digests")
    expected = first.path(tmp_path / "a")
    first.flush()
    monkeypatch.setattr("ducttape.store.digest.blake3", None)
    assert DigestCache(tmp_path, tmp_path / ".digests").path(tmp_path / "a") == expected


def test_the_memory_survives_moving_the_base(tmp_path, monkeypatch):
    base = tmp_path / "one"
    base.mkdir()
    (base / "a").write_text("x")
    settled(base / "a")
    first = DigestCache(base, base / ".digests")
    expected = first.path(base / "a")
    first.flush()
    base.rename(tmp_path / "two")
    monkeypatch.setattr("ducttape.store.digest.blake3", None)
    assert DigestCache(tmp_path / "two", tmp_path / "two/.digests").path(tmp_path / "two/a") == expected


def test_two_writes_within_one_clock_tick_are_told_apart(tmp_path):
    cache = DigestCache(tmp_path, None)
    (tmp_path / "a").write_text("1")
    stat = os.stat(tmp_path / "a")
    one = cache.path(tmp_path / "a")
    (tmp_path / "a").write_text("2")
    os.utime(tmp_path / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.path(tmp_path / "a") != one


def test_a_torn_memory_is_only_slower(tmp_path):
    (tmp_path / "a").write_text("x")
    settled(tmp_path / "a")
    first = DigestCache(tmp_path, tmp_path / ".digests")
    expected = first.path(tmp_path / "a")
    first.flush()
    memory = tmp_path / ".digests/files.jsonl"
    memory.write_bytes(memory.read_bytes()[:-30] + b"\xff{[\n" + b'["a"]\n[1,2,3,4,5]\n')
    assert DigestCache(tmp_path, tmp_path / ".digests").path(tmp_path / "a") == expected


def test_a_pattern_digests_all_matches(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    one = DigestCache(tmp_path, None).pattern(tmp_path / "*.txt")
    (tmp_path / "b.txt").write_text("c")
    two = DigestCache(tmp_path, None).pattern(tmp_path / "*.txt")
    assert one and two and one != two
    assert DigestCache(tmp_path, None).pattern(tmp_path / "*.wav") is None
