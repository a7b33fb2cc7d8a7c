import dataclasses
import time

import pytest

from gru_complete.config import load_config
from gru_complete.errors import (
    DivergedError,
    EnvironmentFailure,
)
from gru_complete.model.directory import load_model
from gru_complete.training import events, probe
from gru_complete.training.checkpoint import CheckpointStore
from gru_complete.training.learner import Learner
from gru_complete.training.loop import TuningScore, TuningSplit
from gru_complete.training.pace import ClockPace
from gru_complete.training.probe import Duration
from tests.training.runs import of_type, train


def test_training_lowers_the_loss(request_for, tiny_config):
    training = tiny_config.training.model_copy(update={"steps": 120, "learning_rate": 0.02})
    looks = of_type(train(request_for(config=tiny_config.model_copy(update={"training": training}))), events.Evaluated)
    assert looks[-1].tuning_bits_per_byte < looks[0].tuning_bits_per_byte - 0.1


def test_a_tuning_loss_that_is_not_finite_rolls_the_run_back(request_for, monkeypatch):
    score = TuningSplit.score
    scores = []

    def once_nan(self, learner):
        scores.append(score(self, learner))
        return TuningScore(float("nan"), float("nan")) if len(scores) == 2 else scores[-1]

    monkeypatch.setattr(TuningSplit, "score", once_nan)
    assert of_type(train(request_for()), events.RolledBack) == [events.RolledBack(step=12, to_step=6, rate_scale=0.5)]


def test_a_best_evaluation_that_was_not_saved_does_not_displace_the_best_that_was(request_for, monkeypatch, tmp_path):
    save = CheckpointStore.save

    def full_at_step_12(self, learner, state, loop, **kwargs):
        if loop.step == 12:
            raise EnvironmentFailure("no space left on device")
        return save(self, learner, state, loop, **kwargs)

    score = TuningSplit.score
    losses = iter([5.0, 1.0, 6.0, 7.0])  # step 12 is best and lost, so step 6 is

    def scripted(self, learner):
        loss = next(losses, None)
        return TuningScore(loss, loss) if loss is not None else score(self, learner)

    monkeypatch.setattr(CheckpointStore, "save", full_at_step_12)
    monkeypatch.setattr(TuningSplit, "score", scripted)
    train(request_for())
    assert sorted(path.name for path in (tmp_path / "model.run/checkpoints").iterdir()) == [
        "step-00000006",
        "step-00000018",
        "step-00000024",
    ]


def test_a_machine_slower_than_probed_makes_fewer_steps_and_ends_in_time(request_for, monkeypatch, tiny_overrides):
    overrides = [setting for setting in tiny_overrides if "steps" not in setting]
    monkeypatch.setattr(probe, "probe_step_seconds", lambda *_, **__: Duration(0.0001, 0.0001))
    config = load_config(None, [*overrides, "training.minutes=0.08"])
    seen = train(request_for(config=config, started=time.monotonic()))
    assert 0 < seen[-1].step < of_type(seen, events.Planned)[0].plan.max_steps / 2
    assert not seen[-1].stopped_early
    rates = [event.learning_rate for event in of_type(seen, events.Stepped)]
    assert rates[-1] < 0.1 * max(rates)


def test_a_number_of_steps_that_changes_much_is_told_once(request_for, monkeypatch, tiny_overrides):
    overrides = [setting for setting in tiny_overrides if "steps" not in setting]
    monkeypatch.setattr(probe, "probe_step_seconds", lambda *_, **__: Duration(0.1, 0.1))
    monkeypatch.setattr(ClockPace, "estimated_steps", lambda self, loop: 1234)
    monkeypatch.setattr(ClockPace, "next_progress", lambda self, loop: (loop.step + 1) / 8)
    config = load_config(None, [*overrides, "training.minutes=0.5"])
    seen = train(request_for(config=config, started=time.monotonic()))
    assert of_type(seen, events.Replanned) == [events.Replanned(step=1, max_steps=1234)]


def test_numbers_that_are_not_finite_roll_the_run_back_at_half_the_learning_rate(request_for, monkeypatch):
    update = Learner.update
    calls = []

    def once_nan(self, *args, **kwargs):
        calls.append(kwargs["learning_rate"])
        result = update(self, *args, **kwargs)
        return dataclasses.replace(result, loss=float("nan")) if len(calls) == 15 else result

    monkeypatch.setattr(Learner, "update", once_nan)
    seen = train(request_for())
    assert of_type(seen, events.RolledBack) == [events.RolledBack(step=15, to_step=12, rate_scale=0.5)]
    assert calls[15] == pytest.approx(calls[12] / 2)  # step 13 again
    assert isinstance(seen[-1], events.Finished)


def test_a_training_that_stays_not_finite_ends_as_diverged_with_its_good_checkpoint(request_for, monkeypatch, tmp_path):
    update = Learner.update

    def nan_from_step_8(self, *args, **kwargs):
        result = update(self, *args, **kwargs)
        nan_from_step_8.calls += 1
        return dataclasses.replace(result, grad_norm=float("inf")) if nan_from_step_8.calls >= 8 else result

    nan_from_step_8.calls = 0
    monkeypatch.setattr(Learner, "update", nan_from_step_8)
    with pytest.raises(DivergedError, match="diverged at step 7") as caught:
        train(request_for())
    assert "step 6 is good" in caught.value.hint
    load_model(tmp_path / "model.run/checkpoints/step-00000006")


def test_a_learning_rate_that_explodes_never_writes_weights_that_are_not_finite(request_for, tmp_path, tiny_overrides):
    config = load_config(None, [*tiny_overrides, "training.learning_rate=1e30", "training.max_grad_norm=1e30"])
    with pytest.raises(DivergedError):
        train(request_for(config=config))
    for checkpoint in (tmp_path / "model.run/checkpoints").iterdir():
        load_model(checkpoint)  # refuses weights that are not finite


def test_a_full_disk_at_an_evaluation_is_noted_and_training_continues(request_for, monkeypatch):
    save = CheckpointStore.save

    def full_at_step_12(self, learner, state, loop, **kwargs):
        if loop.step == 12:
            raise EnvironmentFailure("cannot write step-00000012: no space left on device")
        return save(self, learner, state, loop, **kwargs)

    monkeypatch.setattr(CheckpointStore, "save", full_at_step_12)
    seen = train(request_for())
    assert "step 12 was not saved" in of_type(seen, events.Note)[0].message
    assert [event.checkpoint is None for event in of_type(seen, events.Evaluated)] == [False, True, False, False]


def test_training_stops_early_when_the_tuning_loss_no_longer_falls(request_for, tiny_overrides):
    config = load_config(None, [*tiny_overrides, "training.patience=1", "training.learning_rate=1e-12"])
    finished = train(request_for(config=config))[-1]
    assert finished.stopped_early
    assert finished.step < 24
