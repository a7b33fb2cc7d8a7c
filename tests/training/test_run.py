import dataclasses
import time

import pytest

from gru_complete import files
from gru_complete.config import load_config
from gru_complete.errors import (
    BusyError,
    CorpusError,
    DivergedError,
    EnvironmentFailure,
    InterruptedRun,
    ModelError,
    UsageError,
)
from gru_complete.model_dir import find_model, load_model
from gru_complete.training import events
from gru_complete.training.checkpoint import CheckpointStore
from gru_complete.training.learner import Learner
from gru_complete.training.run import TrainingRequest, run_training


@pytest.fixture
def request_for(corpus_path, tmp_path, tiny_config):
    """Make a request to train ``tmp_path/NAME``; keyword arguments change its fields."""

    def make(name="model", **changes):
        request = TrainingRequest([str(corpus_path)], tmp_path / name, tiny_config, False, time.monotonic())
        return dataclasses.replace(request, **changes)

    return make


def train(request, *, stop_after=None):
    """Run to the end, or until the signal that comes with step ``stop_after``; returns the events."""
    seen = []

    def stop_signal():
        is_time = bool(seen) and isinstance(seen[-1], events.Stepped | events.Looked) and seen[-1].step == stop_after
        return 2 if is_time else None

    for event in run_training(request, stop_signal=stop_signal):
        seen.append(event)
    return seen


def interrupt(request, step):
    with pytest.raises(InterruptedRun) as caught:
        train(request, stop_after=step)
    return caught.value


def of_type(seen, kind):
    return [event for event in seen if isinstance(event, kind)]


def weights_sha256(path):
    return files.sha256_hex((path / "weights.safetensors").read_bytes())


def test_a_training_tells_its_steps_and_leaves_a_model(request_for, tmp_path):
    seen = train(request_for())
    assert [event.step for event in of_type(seen, events.Stepped)] == list(range(1, 25))
    assert [event.step for event in of_type(seen, events.Looked)] == [6, 12, 18, 24]
    assert isinstance(seen[-1], events.Finished)
    model = load_model(tmp_path / "model")
    assert (model.manifest.arch.hidden_size, model.manifest.training["steps"]) == (24, 24)
    assert model.manifest.training["finished"] is True
    assert find_model(None) == tmp_path / "model"


def test_training_lowers_the_loss(request_for, tiny_config):
    training = tiny_config.training.model_copy(update={"steps": 120, "learning_rate": 0.02})
    looks = of_type(train(request_for(config=tiny_config.model_copy(update={"training": training}))), events.Looked)
    assert looks[-1].tuning_bits_per_byte < looks[0].tuning_bits_per_byte - 0.1


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(request_for, tmp_path, tiny_overrides):
    for name in ("one", "two"):
        train(request_for(name))
    train(request_for("three", config=load_config(None, [*tiny_overrides, "training.seed=1"])))
    assert weights_sha256(tmp_path / "one") == weights_sha256(tmp_path / "two")
    assert weights_sha256(tmp_path / "one") != weights_sha256(tmp_path / "three")


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_run_interrupted_three_times_ends_as_one_that_was_not(request_for, tmp_path, dropout, tiny_overrides):
    config = load_config(None, [*tiny_overrides, f"model.dropout={dropout}"])
    train(request_for("straight", config=config))
    for step in (1, 7, 18):
        error = interrupt(request_for("broken", config=config), step)
        assert error.exit_code == 130
        assert f"interrupted at step {step} of 24" in str(error)
    train(request_for("broken", config=config))
    assert weights_sha256(tmp_path / "straight") == weights_sha256(tmp_path / "broken")


def test_an_interrupted_run_leaves_a_usable_model_that_says_so(request_for, tmp_path):
    interrupt(request_for(), 7)
    manifest = load_model(tmp_path / "model").manifest
    assert (manifest.training["steps"], manifest.training["finished"]) == (7, False)


def test_a_killed_run_goes_on_from_its_last_look(request_for, tmp_path):
    """As after kill -9: nothing runs after the step, and the generator's clean-up is not what saves it."""
    train(request_for("straight"))
    run = run_training(request_for("killed"), stop_signal=lambda: None)
    for event in run:
        if isinstance(event, events.Stepped) and event.step == 15:
            break
    run.close()
    seen = train(request_for("killed"))
    assert of_type(seen, events.Planned)[0].step == 12
    assert of_type(seen, events.Stepped)[0].step == 13
    assert weights_sha256(tmp_path / "straight") == weights_sha256(tmp_path / "killed")


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_note(request_for, tmp_path):
    train(request_for("straight"))
    interrupt(request_for("damaged"), 15)
    newest = tmp_path / "damaged.run/checkpoints/step-00000015/optimizer.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    seen = train(request_for("damaged"))
    assert "the checkpoint of step 15 is damaged" in of_type(seen, events.Note)[0].message
    assert weights_sha256(tmp_path / "straight") == weights_sha256(tmp_path / "damaged")


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew(request_for, tmp_path):
    interrupt(request_for(), 15)
    for manifest in (tmp_path / "model.run/checkpoints").glob("*/manifest.json"):
        manifest.write_bytes(b"{}")
    with pytest.raises(ModelError, match="no usable checkpoint") as caught:
        train(request_for())
    assert "--replace" in caught.value.hint


def test_only_the_best_and_the_last_two_checkpoints_are_kept(request_for, tmp_path):
    train(request_for())
    steps = sorted(path.name for path in (tmp_path / "model.run/checkpoints").iterdir())
    assert steps[-2:] == ["step-00000018", "step-00000024"]
    assert len(steps) <= 3


def test_a_finished_model_is_not_overwritten(request_for, tmp_path, tiny_overrides):
    train(request_for())
    before = weights_sha256(tmp_path / "model")
    with pytest.raises(UsageError, match="exists") as caught:
        train(request_for())
    assert "--replace" in caught.value.hint
    train(request_for(replace=True, config=load_config(None, [*tiny_overrides, "training.seed=5"])))
    assert weights_sha256(tmp_path / "model") != before


def test_an_unfinished_run_of_another_corpus_is_refused(request_for, corpus_path, tmp_path):
    interrupt(request_for(), 3)
    corpus_path.write_text(corpus_path.read_text() + "One more line.\n")
    with pytest.raises(UsageError, match="other settings: the corpus"):
        train(request_for())
    assert of_type(train(request_for(replace=True)), events.Stepped)[0].step == 1


def test_an_unfinished_run_with_other_settings_is_refused_and_they_are_named(request_for, tiny_overrides):
    interrupt(request_for(), 3)
    other = load_config(None, [*tiny_overrides, "model.hidden_size=32"])
    with pytest.raises(UsageError, match=r"model\.hidden_size \(24 -> 32\)"):
        train(request_for(config=other))


def test_the_number_of_threads_may_change_with_a_note(request_for, tiny_overrides):
    interrupt(request_for(), 3)
    seen = train(request_for(config=load_config(None, [*tiny_overrides, "training.threads=2"])))
    assert "threads: 1 -> 2" in of_type(seen, events.Note)[0].message


def test_a_second_training_of_the_same_model_is_refused_while_the_first_runs(request_for):
    first = run_training(request_for(), stop_signal=lambda: None)
    next(first)
    with pytest.raises(BusyError, match="is in use"):
        train(request_for())
    first.close()


def test_a_corpus_that_cannot_be_used_leaves_nothing_behind(request_for, corpus_path, tmp_path):
    corpus_path.write_bytes(b"  \n")
    with pytest.raises(CorpusError):
        train(request_for())
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["corpus.txt"]


def test_a_corpus_inside_the_run_directory_is_refused(request_for, tmp_path):
    inside = tmp_path / "model.run" / "corpus.txt"
    with pytest.raises(UsageError, match="lies inside"):
        train(request_for(sources=[str(inside)]))


def test_numbers_that_are_not_finite_send_the_run_back_at_half_the_rate(request_for, monkeypatch):
    update = Learner.update
    calls = []

    def once_nan(self, *args, **kwargs):
        calls.append(kwargs["learning_rate"])
        result = update(self, *args, **kwargs)
        return dataclasses.replace(result, loss=float("nan")) if len(calls) == 15 else result

    monkeypatch.setattr(Learner, "update", once_nan)
    seen = train(request_for())
    assert of_type(seen, events.WentBack) == [events.WentBack(step=15, to_step=12, rate_scale=0.5)]
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


def test_a_full_disk_at_a_look_is_noted_and_training_goes_on(request_for, monkeypatch):
    save = CheckpointStore.save

    def full_at_step_12(self, learner, state, loop, **kwargs):
        if loop.step == 12:
            raise EnvironmentFailure("cannot write step-00000012: no space left on device")
        return save(self, learner, state, loop, **kwargs)

    monkeypatch.setattr(CheckpointStore, "save", full_at_step_12)
    seen = train(request_for())
    assert "step 12 was not saved" in of_type(seen, events.Note)[0].message
    assert [event.checkpoint is None for event in of_type(seen, events.Looked)] == [False, True, False, False]


def test_a_log_that_cannot_be_written_does_not_stop_the_training(request_for, monkeypatch):
    def refuse(path, line):
        raise EnvironmentFailure("cannot write metrics.jsonl: no space left on device")

    monkeypatch.setattr(files, "append_line", refuse)
    seen = train(request_for())
    assert ["no more metrics.jsonl" in note.message for note in of_type(seen, events.Note)] == [True]
    assert isinstance(seen[-1], events.Finished)


def test_training_stops_early_when_the_tuning_part_is_no_longer_predicted_better(request_for, tiny_overrides):
    config = load_config(None, [*tiny_overrides, "training.patience=1", "training.learning_rate=1e-12"])
    finished = train(request_for(config=config))[-1]
    assert finished.stopped_early
    assert finished.step < 24


def test_minutes_make_a_plan_that_fits_them(request_for, tiny_overrides):
    overrides = [setting for setting in tiny_overrides if "steps" not in setting]
    started = time.monotonic()
    config = load_config(None, [*overrides, "training.minutes=0.15"])
    seen = train(request_for(config=config, started=started))
    plan = of_type(seen, events.Planned)[0].plan
    assert plan.max_steps > 24
    assert 0 < plan.budget_seconds < 9
    assert seen[-1].seconds < 20  # a guard against no budget at all; how well it is kept is a benchmark's matter


def test_no_file_of_a_model_holds_a_path_or_a_name(request_for, tmp_path):
    train(request_for())
    for path in (tmp_path / "model").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
        assert b"corpus.txt" not in path.read_bytes()
