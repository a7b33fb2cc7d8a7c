import pytest

from gru_complete.runtime.result_iterator import ResultIterator


def numbers(limit):
    total = 0
    for number in range(limit):
        yield number
        total += number
    return total


@pytest.mark.parametrize("limit", [0, 4])
def test_a_loop_yields_the_items_and_keeps_the_result(limit):
    iterator = ResultIterator(numbers(limit))
    assert list(iterator) == list(range(limit))
    assert iterator.result == sum(range(limit))


def test_there_is_no_result_before_the_end():
    iterator = ResultIterator(numbers(4))
    assert next(iter(iterator)) == 0
    assert not hasattr(iterator, "result")
