"""What the choice between a base and nothing is made from."""

import pytest

from gru_complete.model.directory import load_model
from gru_complete.training.base_choice import BaseChoice, choose_base
from tests.conftest import small_text


def test_the_base_is_taken_where_it_needs_fewer_bits():
    assert BaseChoice(1.5, counts_bits=3.0).takes_base
    assert not BaseChoice(3.0, counts_bits=1.5).takes_base


@pytest.mark.parametrize(
    "text", [small_text(2_000, seed=3), "Ђурђевак је пролећни цвет. " * 2_000], ids=["own", "other"]
)
def test_a_text_of_its_own_kind_costs_a_base_little_and_another_much(trained_model, tmp_path, text):
    path = tmp_path / "text"
    path.write_text(text)
    choice = choose_base(load_model(trained_model), path, path.stat().st_size)
    assert (choice.base_bits < 2 * choice.counts_bits) == text.isascii()
    assert 0 < choice.counts_bits < 3


@pytest.mark.parametrize("size", [1, 2, 17, 300, 5_000])
def test_a_text_of_any_size_can_be_judged(trained_model, tmp_path, size):
    path = tmp_path / "text"
    path.write_text(small_text()[:size])
    choice = choose_base(load_model(trained_model), path, path.stat().st_size)
    assert choice.base_bits > 0
    assert choice.counts_bits > 0
