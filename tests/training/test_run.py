import dataclasses
import itertools
import sys
import time

import pytest

from gru_complete.cli.signals import StopNow
from gru_complete.config import load_config
from gru_complete.errors import (
    BusyError,
    ConfigError,
    CorpusError,
    DivergedError,
    EnvironmentFailure,
    InterruptedRun,
    ModelError,
    UsageError,
)
from gru_complete.model.directory import load_model
from gru_complete.model.home import find_model, remove_model
from gru_complete.nn import kernel
from gru_complete.storage import atomic, lock, untrusted
from gru_complete.text.shards import read_shard
from gru_complete.training import events, probe, run
from gru_complete.training.checkpoint import CheckpointStore, LoopState
from gru_complete.training.device import out_of_memory_hint
from gru_complete.training.learner import Learner
from gru_complete.training.loop import TuningScore, TuningSplit, _steps_that_fit
from gru_complete.training.run import TrainingRequest, run_training


@pytest.fixture
def request_for(corpus_path, tmp_path, tiny_config):
    """Make a request to train ``tmp_path/NAME``; keyword arguments change its fields."""

    def make(name="model", **changes):
        request = TrainingRequest([str(corpus_path)], tmp_path / name, tiny_config, started=time.monotonic())
        return dataclasses.replace(request, **changes)

    return make


def train(request, *, stop_after=None):
    """Run to the end, or until the signal that comes with step ``stop_after``; returns the events."""
    seen = []

    def stop_signal():
        is_time = bool(seen) and isinstance(seen[-1], events.Stepped | events.Evaluated) and seen[-1].step == stop_after
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
    return untrusted.sha256_hex((path / "weights.safetensors").read_bytes())


def test_a_training_tells_its_steps_and_leaves_a_model(request_for, tmp_path):
    seen = train(request_for())
    assert [event.step for event in of_type(seen, events.Stepped)] == list(range(1, 25))
    assert [event.step for event in of_type(seen, events.Evaluated)] == [6, 12, 18, 24]
    assert isinstance(seen[-1], events.Finished)
    model = load_model(tmp_path / "model")
    assert (model.manifest.arch.hidden_size, model.manifest.training["steps"]) == (24, 24)
    assert model.manifest.training["finished"] is True
    assert find_model(None) == tmp_path / "model"


def test_training_lowers_the_loss(request_for, tiny_config):
    training = tiny_config.training.model_copy(update={"steps": 120, "learning_rate": 0.02})
    looks = of_type(train(request_for(config=tiny_config.model_copy(update={"training": training}))), events.Evaluated)
    assert looks[-1].tuning_bits_per_byte < looks[0].tuning_bits_per_byte - 0.1


def test_what_else_is_measured_is_of_a_model_that_has_not_seen_the_tuning_part(request_for, tmp_path):
    seen = []

    def measure(model, texts):
        seen.append((model, texts))
        return {"something": 0.5}

    events_seen = train(request_for(measure=measure))
    ((model, texts),) = seen
    finished = load_model(tmp_path / "model")
    assert (finished.manifest.metrics["something"], events_seen[-1].metrics["something"]) == (0.5, 0.5)
    assert model.manifest.arch == finished.manifest.arch
    assert {name: array.tolist() for name, array in model.weights.items()} == {
        name: array.tolist() for name, array in finished.weights.items()
    }
    assert model.mixture.ngrams.num_bytes < finished.mixture.ngrams.num_bytes
    tuning, _ = read_shard(tmp_path / "model.run" / "tuning.tokens")
    assert texts == [model.tokenizer.decode(tuning.tolist()).decode().rpartition(" ")[0]]
    assert texts[0]


def test_an_interrupted_training_measures_nothing_else(request_for):
    with pytest.raises(InterruptedRun):
        train(request_for(measure=lambda model, texts: pytest.fail("measured")), stop_after=7)


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


def test_an_interrupted_run_ends_with_the_same_bits_in_the_compiled_kernel(request_for, tmp_path, monkeypatch):
    monkeypatch.delenv(kernel.SWITCH)
    try:
        train(request_for("straight"))
        interrupt(request_for("broken"), 7)
        train(request_for("broken"))
    finally:
        kernel.disable()
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


def test_a_damaged_checkpoint_is_not_in_the_way_of_the_next_interruption(request_for, tmp_path):
    interrupt(request_for(), 15)
    (tmp_path / "model.run/checkpoints/step-00000015/loop.json").write_bytes(b"{}")
    error = interrupt(request_for(), 13)
    assert "interrupted at step 13 of 24" in str(error)
    assert load_model(tmp_path / "model").manifest.training["steps"] == 13


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew_before_it_is_removed(request_for, tmp_path):
    interrupt(request_for(), 15)
    for manifest in (tmp_path / "model.run/checkpoints").glob("*/manifest.json"):
        manifest.write_bytes(b"{}")
    with pytest.raises(ModelError, match="no usable checkpoint") as caught:
        train(request_for())
    assert f"models remove {tmp_path / 'model'} --run" in caught.value.hint
    remove_model(tmp_path / "model", run_only=True)
    assert isinstance(train(request_for(replace=True))[-1], events.Finished)


def test_a_damaged_plan_is_only_thrown_away_with_replace(request_for, tmp_path):
    interrupt(request_for(), 3)
    (tmp_path / "model.run/plan.json").write_bytes(b"{}")
    with pytest.raises(ModelError, match=r"plan\.json") as caught:
        train(request_for())
    assert "--replace" in caught.value.hint
    assert isinstance(train(request_for(replace=True))[-1], events.Finished)


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


def test_a_corpus_inside_the_run_directory_and_a_model_inside_the_corpus_are_refused(request_for, tmp_path):
    for source in (tmp_path / "model.run" / "corpus.txt", tmp_path):
        with pytest.raises(UsageError, match="lie inside each other"):
            train(request_for(sources=[str(source)]))


@pytest.mark.parametrize("name", ["model", "model.run"])
def test_what_is_no_model_is_not_replaced_even_with_replace(request_for, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious.txt").write_text("x")
    with pytest.raises(UsageError, match="was not made by gru-complete"):
        train(request_for(replace=True))
    assert (tmp_path / name / "precious.txt").exists()


def test_interrupting_a_replacement_leaves_the_finished_model_alone(request_for, tmp_path, tiny_overrides):
    train(request_for())
    before = weights_sha256(tmp_path / "model")
    other = request_for(replace=True, config=load_config(None, [*tiny_overrides, "training.seed=5"]))
    assert "can be used" not in str(interrupt(other, 5))
    assert weights_sha256(tmp_path / "model") == before
    train(other)
    assert weights_sha256(tmp_path / "model") != before


def test_a_home_that_cannot_be_written_does_not_undo_a_finished_training(request_for, monkeypatch, tmp_path):
    monkeypatch.setenv("GRU_COMPLETE_HOME", str(tmp_path / "corpus.txt" / "no"))
    seen = train(request_for())
    assert isinstance(seen[-1], events.Finished)
    assert "name the model with -m" in of_type(seen, events.Note)[-1].message


def test_a_size_that_no_model_may_have_is_a_config_error_before_any_step(request_for, tiny_overrides, tmp_path):
    large = load_config(None, [*tiny_overrides, "model.hidden_size=8192", "model.num_layers=16"])
    with pytest.raises(ConfigError, match="the model would be too large"):
        train(request_for(config=large))
    assert not (tmp_path / "model.run").exists()


def test_a_tuning_loss_that_is_not_finite_sends_the_run_back(request_for, monkeypatch):
    score = TuningSplit.score
    scores = []

    def once_nan(self, learner):
        scores.append(score(self, learner))
        return TuningScore(float("nan"), float("nan")) if len(scores) == 2 else scores[-1]

    monkeypatch.setattr(TuningSplit, "score", once_nan)
    assert of_type(train(request_for()), events.RolledBack) == [events.RolledBack(step=12, to_step=6, rate_scale=0.5)]


def test_a_best_look_that_was_not_saved_does_not_cost_the_best_that_was(request_for, monkeypatch, tmp_path):
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


@pytest.mark.parametrize(("seconds_per_step", "expected"), [(0.02, 50), (0.04, 25), (0.0204, 50), (0.01, 60)])
def test_steps_are_counted_anew_when_the_speed_is_off_by_more_than_five_percent(seconds_per_step, expected):
    state = LoopState(step=10, max_steps=50, step_seconds=10 * seconds_per_step)
    assert _steps_that_fit(state, 1.0, 60) == expected


def test_a_machine_slower_than_probed_gets_fewer_steps_once(request_for, monkeypatch, tiny_overrides):
    overrides = [setting for setting in tiny_overrides if "steps" not in setting]
    monkeypatch.setattr(probe, "probe_step_seconds", lambda *_, **__: 0.0001)
    config = load_config(None, [*overrides, "training.minutes=0.08"])
    seen = train(request_for(config=config, started=time.monotonic()))
    replanned = of_type(seen, events.Replanned)
    assert len(replanned) == 1
    assert replanned[0].max_steps == seen[-1].step < of_type(seen, events.Planned)[0].plan.max_steps


def test_numbers_that_are_not_finite_send_the_run_back_at_half_the_rate(request_for, monkeypatch):
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


def test_a_full_disk_at_a_look_is_noted_and_training_goes_on(request_for, monkeypatch):
    save = CheckpointStore.save

    def full_at_step_12(self, learner, state, loop, **kwargs):
        if loop.step == 12:
            raise EnvironmentFailure("cannot write step-00000012: no space left on device")
        return save(self, learner, state, loop, **kwargs)

    monkeypatch.setattr(CheckpointStore, "save", full_at_step_12)
    seen = train(request_for())
    assert "step 12 was not saved" in of_type(seen, events.Note)[0].message
    assert [event.checkpoint is None for event in of_type(seen, events.Evaluated)] == [False, True, False, False]


def test_a_log_that_cannot_be_written_does_not_stop_the_training(request_for, monkeypatch):
    def refuse(path, line):
        raise EnvironmentFailure("cannot write metrics.jsonl: no space left on device")

    monkeypatch.setattr(atomic, "append_line", refuse)
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


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to")]
)
def test_memory_that_runs_out_says_what_to_make_smaller(error):
    with pytest.raises(EnvironmentFailure, match="out of memory") as caught, out_of_memory_hint():
        raise error
    assert "training.batch_size" in caught.value.hint


def test_other_errors_of_torch_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="illegal memory access"), out_of_memory_hint():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_signal_anywhere_before_the_work_begins_leaves_nothing(tmp_path, request_for):
    """It may come between any two lines, which a tracer plays."""
    missing = request_for("m", sources=[str(tmp_path / "missing.txt")])
    here = {function.__code__ for function in (run_training, atomic.make_directory, lock.DirectoryLock.__enter__)}
    for number in itertools.count():
        lines = itertools.count()
        has_begun = False

        def trace(frame, event, _, lines=lines, number=number):
            nonlocal has_begun
            has_begun = has_begun or frame.f_code is run._run_locked.__code__
            if frame.f_code not in here or has_begun:
                return None
            if event == "line" and next(lines) == number:
                sys.settrace(None)
                raise StopNow(2)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            with pytest.raises((StopNow, CorpusError)):
                list(run_training(missing, stop_signal=lambda: None))
        finally:
            sys.settrace(before)
        assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]
        if has_begun:
            break
    assert number > 10
