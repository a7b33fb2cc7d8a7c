import math

import pytest
import torch

from gru_complete.comparison.recall import (
    DAYS,
    NUM_COPIED,
    NUM_SYMBOLS,
    RecallModel,
    RecallSettings,
    _is_right,
    _sample_world,
    tasks,
    train_recall,
)


def finish(training):
    """The steps of a training, and its result."""
    *steps, result = training
    return steps, result


@pytest.mark.parametrize("length", [2, 5, 30])
def test_copy_shows_symbols_then_blanks_and_wants_the_symbols_back(length):
    inputs, answers = tasks()["copy"].sample(4, length, 1)
    assert inputs.shape == (4, 2 * NUM_COPIED + length)
    assert torch.equal(inputs[:, :NUM_COPIED], answers)
    assert answers.min() >= 0
    assert answers.max() < NUM_SYMBOLS
    signal = inputs == NUM_SYMBOLS + 1
    assert signal.sum(1).tolist() == [1] * 4
    assert signal[:, NUM_COPIED + length - 1].all()
    assert (inputs[:, NUM_COPIED : NUM_COPIED + length - 1] == NUM_SYMBOLS).all()
    assert (inputs[:, NUM_COPIED + length :] == NUM_SYMBOLS).all()


def test_adding_wants_the_sum_of_one_number_from_each_half():
    inputs, answers = tasks()["adding"].sample(50, 9, 1)
    numbers, marks = inputs.unbind(-1)
    assert (marks[:, :4].sum(1) == 1).all()
    assert (marks[:, 4:].sum(1) == 1).all()
    assert torch.allclose((numbers * marks).sum(1), answers[:, 0])


def test_the_day_of_a_fact_occurs_once_and_is_the_answer():
    inputs, answers = tasks()["fact"].sample(20, 40, 1)
    _, ids = _sample_world()
    days = [ids[day] for day in DAYS]
    assert inputs.shape == (20, 5 + 40 + 3)
    for row, (answer,) in zip(inputs.tolist(), answers.tolist(), strict=True):
        assert row[4] == days[answer]
        assert not set(days) & {*row[:4], *row[5:]}


def test_chance_is_the_score_without_memory():
    _, sums = tasks()["adding"].sample(20_000, 4, 1)
    always_one = torch.ones(20_000, 1, 1)
    assert float(_is_right(always_one, sums).float().mean()) == pytest.approx(tasks()["adding"].chance, abs=0.006)
    for name in ("copy", "fact"):
        _, answers = tasks()[name].sample(3_000, 10, 1)
        share = float((answers == 3).float().mean())
        assert share == pytest.approx(tasks()[name].chance, abs=0.02)


def test_the_length_of_a_learnt_task_grows_to_its_whole_length():
    progress, result = finish(train_recall(tasks()["fact"], RecallSettings("gru", 12, hidden_size=32, seconds=60)))
    assert [step.update for step in progress] == list(range(1, result.updates + 1))
    assert sorted({step.length for step in progress}) == [5, 6, 7, 9, 11, 12]
    assert result.learnt_length == 12
    assert result.right.low > 0.9


def test_training_ends_in_time_and_a_cell_without_memory_stays_at_chance(monkeypatch):
    """A cell that forgets everything: its recurrent weights get no gradient, and are zero."""
    monkeypatch.setattr(torch.nn.init, "orthogonal_", lambda weights, generator=None: weights.zero_())
    monkeypatch.setattr(RecallModel, "parameters", lambda self: iter([self.head.weight, self.head.bias]))
    _, result = finish(train_recall(tasks()["copy"], RecallSettings("rnn", 20, hidden_size=8, seconds=1.0)))
    assert result.seconds < 30
    assert result.learnt_length == 0
    # It says one symbol throughout, which one depends on when time was up; each is about an eighth of the answers.
    assert result.right.value == pytest.approx(1 / NUM_SYMBOLS, abs=0.02)


def test_the_same_seed_gives_the_same_training():
    def shares(seed):
        training = train_recall(tasks()["copy"], RecallSettings("lstm", 6, hidden_size=8, seconds=60, seed=seed))
        return [next(training).right for _ in range(5)]

    assert shares(1) == shares(1)
    assert shares(1) != shares(2)


def test_chrono_biases_suit_the_length():
    torch.manual_seed(0)
    model = RecallModel(tasks()["copy"], cell="gru", hidden_size=500, chrono_length=201)
    spans = torch.exp(-model.cell.bias[:500].detach())
    assert 1 <= float(spans.min()) < 5
    assert 195 < float(spans.max()) <= 200
    assert math.isclose(float(spans.mean()), 100, rel_tol=0.1)
