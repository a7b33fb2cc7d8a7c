from gru_complete.model.architecture import Architecture
from gru_complete.training.automatic import (
    TOKENS_PER_WEIGHT,
    WIDTHS,
    automatic_dropout,
    automatic_hidden_size,
    automatic_weight_dropout,
    is_wide,
    widest_hidden_size,
)


def weights(hidden_size):
    return Architecture("gru", 1281, min(256, hidden_size), hidden_size, 1).num_parameters


def test_more_time_buys_a_wider_network_up_to_what_the_text_fills():
    chosen = [automatic_hidden_size(1_000_000, 400_000, weights, tokens) for tokens in (1e3, 2e5, 1e6, 3e6, 1e7, 1e9)]
    assert chosen == sorted(chosen)
    assert chosen[0] == min(WIDTHS)
    assert chosen[-1] == widest_hidden_size(1_000_000, 1e9)


def test_the_width_chosen_reads_enough_tokens_for_each_weight():
    tokens = 4e6
    width = automatic_hidden_size(100_000_000, 40_000_000, weights, tokens)
    for candidate in WIDTHS:
        would_read = tokens * weights(256) / weights(candidate)
        assert (would_read >= TOKENS_PER_WEIGHT * weights(candidate)) == (candidate <= width)


def test_more_text_fills_a_wider_network():
    widest = [widest_hidden_size(num_bytes, 10) for num_bytes in (1_000, 100_000, 300_000, 2_000_000, 20_000_000)]
    assert widest == sorted(set(widest))


def test_a_text_that_is_read_often_gets_a_wider_network_of_which_more_is_dropped():
    assert widest_hidden_size(2_400_000, 30) > widest_hidden_size(2_400_000, 10)
    assert is_wide(widest_hidden_size(2_400_000, 30), 2_400_000)
    assert not is_wide(widest_hidden_size(2_400_000, 10), 2_400_000)
    assert automatic_dropout(30) > automatic_dropout(10)
    assert automatic_weight_dropout(30, wide=True) > automatic_weight_dropout(30, wide=False) == 0


def test_a_wide_network_that_reads_a_text_once_drops_nothing():
    assert automatic_dropout(1) == automatic_weight_dropout(1, wide=True) == 0
