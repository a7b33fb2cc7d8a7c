import pytest

from gru_complete.comparison.claims import claims, longest_half_life, shown_half_life
from gru_complete.comparison.results import CellResult
from gru_complete.evaluation.gradients import GradientFlow


def flow(half_life, steps=128):
    return GradientFlow([[2 ** (-step / half_life) for step in range(steps + 1)]])


def result(cell, *, far=None, bits=1.0, parameters=300, half_life=None, start=None, recall=None, speed=1.0):
    pairs = None if far is None else {"far": {"accuracy": far, "pairs": 100}, "by_distance": {}}
    recall = None if recall is None else {"right": [recall, 0, 1], "chance": 0.125, "length": 200}
    return CellResult(
        cell,
        64,
        1000,
        parameters,
        bits_per_byte=bits,
        pairs=pairs,
        trained=None if half_life is None else flow(half_life),
        at_start=None if start is None else flow(start),
        recall=recall,
        training_tokens_per_second=speed,
        completion_tokens_per_second=speed,
    )


def claim(name, results, **options):
    (found,) = [claim for claim in claims(results, **{"same_width": True} | options) if name in claim.text]
    return found


@pytest.mark.parametrize(("gru", "lstm", "held"), [(0.85, 0.99, True), (0.84, 0.99, False), (0.99, 0.84, False)])
def test_every_gated_cell_must_be_ahead_at_a_distance(gru, lstm, held):
    results = [result("rnn", far=0.70), result("gru", far=gru), result("lstm", far=lstm)]
    found = claim("points ahead", results)
    assert found.held is held
    assert f"gru {100 * gru:.1f} %" in found.figures


def test_parameters_are_counted_only_where_the_width_is_the_same():
    results = [result("gru", parameters=300), result("lstm", parameters=400)]
    assert claim("parameters", results).held is True
    assert claim("parameters", [results[0], result("lstm", parameters=330)]).held is False
    assert not [claim for claim in claims(results, same_width=False) if "parameters" in claim.text]


@pytest.mark.parametrize(("rnn", "gru", "held"), [(3, 15, True), (3, 14, False), (25, 1e9, True), (26, 1e9, None)])
def test_a_half_life_beyond_what_was_followed_is_at_least_that_long(rnn, gru, held):
    found = claim("after training", [result("rnn", half_life=rnn), result("gru", half_life=gru)])
    assert found.held is held
    assert ("> 128" in found.figures) == (gru > 128)


def test_half_lives_are_those_of_the_layer_that_keeps_longest():
    both = GradientFlow([flow(2).shares[0], flow(8).shares[0]])
    assert longest_half_life(both) == pytest.approx(8)
    assert (shown_half_life(both), shown_half_life(None), shown_half_life(flow(1e9))) == ("8.0", "", "> 128")


@pytest.mark.parametrize(("rnn", "gru", "held"), [(0.13, 0.995, True), (0.3, 0.995, False), (0.13, 0.98, False)])
def test_copying_is_solved_by_one_and_a_guess_of_the_other(rnn, gru, held):
    assert claim("copies", [result("rnn", recall=rnn), result("gru", recall=gru)]).held is held


def test_claims_are_only_of_cells_that_were_compared_and_came_out():
    assert claims([result("gru", far=1.0, half_life=9, recall=1.0)], same_width=True) == []
    gone = CellResult("rnn", 64, 1000, 100, diverged="training diverged")
    assert claims([gone, result("gru", far=1.0, half_life=9)], same_width=True) == []


def test_less_is_better_where_bits_are_and_more_where_speed_is():
    rnn, relu, gru = result("rnn", bits=1.2), result("rnn-relu", bits=1.009), result("gru", bits=1.0, speed=3.0)
    assert claim("predict the text better", [rnn, gru]).held is True
    assert claim("rectified", [relu, gru]).held is True
    assert claim("rectified", [rnn, relu, result("gru", bits=0.9)]).held is False
    assert claim("trains quicker", [gru, result("lstm", speed=2.0)]).held is True
    assert claim("completes quicker", [gru, result("lstm", speed=4.0)]).held is False
