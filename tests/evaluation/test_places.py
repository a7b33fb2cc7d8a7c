import pytest

from gru_complete.evaluation.places import evenly_spaced, places_in_parts


def test_places_are_the_middles_of_equal_parts():
    assert evenly_spaced(12, 3) == [2, 6, 10]
    assert evenly_spaced(6, 6) == [0, 1, 2, 3, 4, 5]
    assert evenly_spaced(5, 0) == []


@pytest.mark.parametrize("count", [0, 1, 3, 8, 100])
def test_places_in_parts_are_those_of_the_whole(count):
    sizes = [3, 0, 5, 0]
    parts = places_in_parts(sizes, count)
    assert list(map(len, parts))[1::2] == [0, 0]  # nothing is in an empty part
    assert parts[0] + [3 + place for place in parts[2]] == evenly_spaced(8, min(count, 8))


def test_without_parts_there_are_no_places():
    assert places_in_parts([], 3) == []
