"""Units as text: exact inverses, refusals, deduplication."""

import unicodedata

import pytest

from spire.errors import UserError
from spire.units.text import deduplicate, from_extra_ids, from_pua, to_extra_ids, to_pua


def test_pua_round_trip_and_category():
    ids = [0, 1, 4999, 65533, 0]
    text = to_pua(ids)
    assert from_pua(text) == ids and len(text) == len(ids)
    assert all(unicodedata.category(c) == "Co" for c in text), "a unit is a private-use character"
    assert ord(to_pua([4999])) == 0xF1387
    assert to_pua([]) == "" and from_pua("") == []


@pytest.mark.parametrize("bad", [-1, 65534])
def test_ids_outside_the_plane_are_refused(bad):
    with pytest.raises(ValueError, match="65533"):
        to_pua([3, bad])


@pytest.mark.parametrize("text", ["a", to_pua([1]) + " " + to_pua([2]), "\U000ffffe"])
def test_other_characters_are_refused_by_name(text):
    with pytest.raises(UserError, match=r"U\+"):
        from_pua(text)


def test_extra_ids_round_trip():
    assert to_extra_ids([3, 12]) == "<extra_id_3><extra_id_12>"
    assert from_extra_ids(to_extra_ids([3, 12])) == [3, 12]
    with pytest.raises(UserError):
        from_extra_ids("<extra_id_3> <extra_id_4>")


def test_padding_labels_go_before_repeats():
    assert deduplicate([5, 5, -1, 5, 2, 2, 7, -1]) == [5, 2, 7], "5 -1 5 is one 5"
    assert deduplicate([]) == deduplicate([-1, -1]) == []
