"""A failed or interrupted write leaves what was there before, and nothing beside it."""

import pytest

from spire.files import replaced_file, replaced_folder


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep/a.txt"
    with replaced_file(path) as partial:
        partial.write_text("one")
        assert not path.exists()
    with pytest.raises(ValueError), replaced_file(path) as partial:
        partial.write_text("two")
        raise ValueError
    assert path.read_text() == "one" and [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with replaced_file(path) as first:
        with replaced_file(path) as second:
            second.write_text("second")
        first.write_text("first")
    assert path.read_text() == "first" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "d"
    with replaced_folder(path) as partial:
        (partial / "old").write_text("x")
    with pytest.raises(ValueError), replaced_folder(path) as partial:
        (partial / "new").write_text("x")
        raise ValueError
    assert [p.name for p in path.iterdir()] == ["old"]
    (tmp_path / ".d.dead.partial").mkdir()
    with replaced_folder(path) as partial:
        (partial / "new").write_text("x")
    assert [p.name for p in path.iterdir()] == ["new"] and [p.name for p in tmp_path.iterdir()] == ["d"]
