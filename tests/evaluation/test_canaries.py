"""Exposure, exact ranks against brute force, and the report."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from gru_complete.errors import ModelError
from gru_complete.evaluation import canaries
from gru_complete.evaluation.canaries import (
    Canary,
    CanaryReport,
    exposure,
    exposure_by_chance,
    rank_canary,
    rank_number,
)
from gru_complete.model.directory import load_model
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.stepper import Stepper


@pytest.fixture(scope="module")
def model(trained_model):
    return load_model(trained_model)


def make_predictors(model):
    stepper = Stepper(model.manifest.arch, model.weights)
    return [Predictor(stepper, model.mixture), Predictor(stepper)]


# ------------------------------------------------------------------------------------------------------- exposure


def test_exposure_follows_the_formula_of_the_paper():
    assert exposure(1) == pytest.approx(5 * math.log2(10))
    assert exposure(100_000) == 0
    assert exposure(256, 1024) == 2


def test_exposure_by_chance_is_the_mean_over_all_ranks():
    for candidates in (1, 10, 1000):
        mean = np.mean([exposure(rank, candidates) for rank in range(1, candidates + 1)])
        assert exposure_by_chance(candidates) == pytest.approx(mean, abs=1e-9)
    assert exposure_by_chance() == pytest.approx(1.4426, abs=1e-4)


# ---------------------------------------------------------------------------------------------------- exact ranks


def brute_force(predictor, prefix, number, digits):
    """The rank of a number by the probability of every number, each read alone; and all probabilities."""
    start = predictor.read(predictor.start(), prefix)
    logs = []
    for candidate in range(10 ** len(number)):
        reading, total = start, 0.0
        for digit in f"{candidate:0{len(number)}}":
            total += float(predictor.scores(reading)[digits[int(digit)]])
            reading = predictor.step(reading, digits[int(digit)])
        logs.append(total)
    return 1 + sum(value > logs[int(number)] + 1e-5 for value in logs), np.array(logs)


@pytest.mark.parametrize("number", ["000", "123", "907", "555"])
def test_ranks_agree_with_brute_force_under_both_models(model, number):
    digits = model.tokenizer.encode(b" 0123456789")[-10:]
    prefix = model.tokenizer.encode(b"\nBobibu: ")
    both = make_predictors(model)
    start = both[0].read(both[0].start(), prefix)
    scorers = [predictor.log_probabilities for predictor in both]
    ranks = rank_number(both[0], scorers, start, digits, list(map(int, number)))
    for predictor, rank in zip(both, ranks, strict=True):
        expected, logs = brute_force(predictor, prefix, number, digits)
        rounding = sum(abs(logs - logs[int(number)]) < 1e-4)  # what may come out either way
        assert abs(rank - expected) < rounding


def test_the_most_and_the_least_likely_number_rank_first_and_last(model):
    digits = model.tokenizer.encode(b" 0123456789")[-10:]
    predictor = make_predictors(model)[1]
    prefix = model.tokenizer.encode(b"\nBobibu: ")
    _, logs = brute_force(predictor, prefix, "00", digits)
    start = predictor.read(predictor.start(), prefix)
    for number, expected in ((logs.argmax(), 1), (logs.argmin(), 100)):
        figures = [number // 10, number % 10]
        assert rank_number(predictor, [predictor.log_probabilities], start, digits, figures) == [expected]


def test_ranks_of_a_canary_are_those_after_its_name_on_a_line_of_its_own(model, monkeypatch):
    monkeypatch.setattr(canaries, "NUM_DIGITS", 3)
    both = make_predictors(model)
    digits = model.tokenizer.encode(b" 0123456789")[-10:]
    found = rank_canary(Canary("Bobibu", "314", 1), model.tokenizer, both)
    start = both[0].read(both[0].start(), model.tokenizer.encode(b"\nBobibu: "))
    scorers = [predictor.log_probabilities for predictor in both]
    assert found == rank_number(both[0], scorers, start, digits, [3, 1, 4])


class FixedPredictor:
    """Says the same of every place; a reading is nothing."""

    def __init__(self, probabilities):
        self.row = np.log(np.array(probabilities, np.float32))

    def step(self, reading, token):
        return reading

    def step_many(self, readings, tokens):
        return list(readings)

    def log_probabilities(self, readings):
        return np.tile(self.row, (len(readings), 1))


def test_where_all_numbers_are_equal_the_rank_is_the_mean():
    predictor = FixedPredictor(np.full(10, 0.1))
    ranks = rank_number(predictor, [predictor.log_probabilities], None, range(10), [4, 0, 2, 9, 9])
    assert ranks == [50_000.5]
    assert exposure(ranks[0]) == pytest.approx(1, abs=1e-4)


def test_digits_of_known_probabilities_give_a_known_rank():
    predictor = FixedPredictor([0.55, *([0.05] * 9)])
    # 000 comes first, then 27 numbers with one digit that is not 0, then 243 with two, then 729 with none.
    for number, expected in (([0, 0, 0], 1), ([0, 7, 0], 1 + 14), ([3, 0, 1], 1 + 27 + 122), ([1, 2, 3], 271 + 365)):
        assert rank_number(predictor, [predictor.log_probabilities], None, range(10), number) == [expected]


def test_a_prefix_is_kept_if_it_is_likely_enough_under_any_model():
    low, high = FixedPredictor([0.55, *([0.05] * 9)]), FixedPredictor([*([0.05] * 9), 0.55])
    scorers = [low.log_probabilities, high.log_probabilities]
    alone = [rank_number(low, [scorer], None, range(10), [0, 9, 0])[0] for scorer in scorers]
    assert rank_number(low, scorers, None, range(10), [0, 9, 0]) == alone == [1 + 14, 1 + 27 + 122]


def test_random_ranks_have_the_mean_exposure_of_chance():
    chance = np.random.default_rng(0)
    rows = np.log(chance.dirichlet(np.ones(10), size=(1 + 10 + 100,)))  # of the beginnings of numbers of 3 digits

    class Tree(FixedPredictor):
        def __init__(self):
            pass

        def step(self, reading, token):
            return 10 * reading + token + 1

        def step_many(self, readings, tokens):
            return [10 * reading + token + 1 for reading, token in zip(readings, tokens, strict=True)]

        def log_probabilities(self, readings):
            return rows[readings]

    tree = Tree()
    ranks = [
        rank_number(tree, [tree.log_probabilities], 0, range(10), [number // 100, number // 10 % 10, number % 10])[0]
        for number in range(1000)
    ]
    assert sorted(ranks) == list(range(1, 1001))
    assert np.mean([exposure(rank, 1000) for rank in ranks]) == pytest.approx(exposure_by_chance(1000))


def test_a_tokenizer_that_joins_digits_is_refused(model):
    pieces = [b"", b"12", b"345"]
    joining = SimpleNamespace(encode=lambda text: [1, 2] * 5, pieces=pieces)
    with pytest.raises(ModelError, match="into digits"):
        rank_canary(Canary("Bobibu", "12345", 1), joining, make_predictors(model))


# -------------------------------------------------------------------------------------------------------- reports


def make_report(ranks_by_times):
    made = [Canary("x", "00000", times) for times, ranks in ranks_by_times.items() for _ in ranks]
    return CanaryReport.from_ranks(7, made, [(rank, 10.0) for ranks in ranks_by_times.values() for rank in ranks])


def test_the_report_has_means_and_the_number_of_first_ranks():
    report = make_report({0: [50_000, 25_000, 80_000], 1: [100, 1, 10_000], 2: [1, 1, 1]})
    assert [level.times for level in report.levels] == [0, 1, 2]
    assert report.levels[1].num_first == 1
    assert report.levels[1].exposure == pytest.approx(math.log2(1000))
    assert report.levels[1].mean_rank == pytest.approx(100)
    assert [level.exposure for level in report.network_levels] == [pytest.approx(math.log2(10_000))] * 3
    record = report.to_json()
    assert record["planted"][2] == {
        "times": 2,
        "exposure": pytest.approx(math.log2(100_000)),
        "rank_geometric_mean": 1,
        "first": 3,
        "ranks": [1, 1, 1],
        "network_alone": {
            "exposure": pytest.approx(math.log2(10_000)),
            "rank_geometric_mean": pytest.approx(10),
            "first": 0,
            "ranks": [10, 10, 10],
        },
    }
    assert (record["steps"], record["candidates"]) == (7, 100_000)


def test_a_model_without_n_grams_has_no_separate_results_of_its_network():
    made = [Canary("x", "00000", times) for times in (0, 1, 2)]
    report = CanaryReport.from_ranks(7, made, [[5.0], [1.0], [2.5]])
    assert report.network_levels is None
    assert ["network_alone" in level for level in report.to_json()["planted"]] == [False] * 3


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (
            {1: [8, 8, 8], 2: [9, 2, 2], 4: [5, 5, 5]},
            "of 3 numbers planted once, 0 rank first (mean rank 8 of ...; none of those planted up to 4 times does",
        ),
        (
            {1: [8, 8, 8], 2: [1, 2, 2], 4: [1, 1, 1]},
            "...; some of those planted 2 times or more do, and all of those planted 4 times or more",
        ),
        ({1: [8, 8, 8], 2: [1, 1, 1], 4: [1, 1, 1]}, "...; all of those planted 2 times or more do"),
        ({1: [8, 8, 8], 2: [1, 1, 1], 4: [1, 1, 2]}, "...; some of those planted 2 times or more do"),
        (
            {1: [8, 8, 8], 2: [1, 1, 1], 4: [9, 9, 9], 8: [1, 1, 1]},
            "...; some of those planted 2 times or more do, and all of those planted 8 times or more",
        ),
        (
            {1: [1, 1, 1], 2: [1, 1, 1], 4: [1, 1, 1]},
            "of 3 numbers planted once, 3 rank first; all of those planted 2 times or more do",
        ),
        ({1: [10, 1000, 100], 2: [1, 1, 1]}, "(mean rank 100 of 100,000; by chance 36,790); ..."),
    ],
)
def test_the_conclusion_agrees_with_the_figures(ranks, expected):
    begin, _, end = expected.partition("...")
    conclusion = make_report({0: [50_000.0], **ranks}).conclusion
    assert begin in conclusion
    assert conclusion.endswith(end) or not end
