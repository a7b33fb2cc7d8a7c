import json
import math

import pytest
import torch

from gru_complete.comparison import compare as compare_module
from gru_complete.comparison import measuring, speeds
from gru_complete.comparison.compare import compare
from gru_complete.comparison.events import CellsCompared, CellStarted, CellTrained, RecallProgress
from gru_complete.comparison.request import ComparisonRequest
from gru_complete.comparison.settings import read_settings
from gru_complete.config import load_config
from gru_complete.errors import CorpusError, DivergedError, InterruptedRun, ModelError, UsageError
from gru_complete.evaluation.pairs import Pair
from gru_complete.model.architecture import CELLS, Architecture
from gru_complete.model.directory import load_model
from gru_complete.model.home import find_model
from gru_complete.nn.language_model import LanguageModel, export_weights
from gru_complete.storage import atomic
from gru_complete.training import events
from gru_complete.training.closing_time import CLOSING_SECONDS
from gru_complete.training.probe import Duration

PAIRS = [Pair("The cat ate the bird.", "The cat ate ate bird.", "verb", distance) for distance in (1, 19, 20, 45)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(speeds, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(speeds, "SPEED_TOKENS", 5)
    monkeypatch.setattr("gru_complete.training.probe.PROBE_SECONDS", 0.02)


@pytest.fixture
def request_for(corpus_path, tmp_path, tiny_overrides):
    def make(*overrides, cells=("rnn", "gru"), **changes):
        config = load_config(None, [*tiny_overrides, "ngrams.order=0", "data.held_out=0.2", *overrides])
        return ComparisonRequest([str(corpus_path)], tmp_path / "c.compare", config, cells, **changes)

    return make


def run(request, *, stop_at=None):
    """All events; ``stop_at`` is the number of the step event at which a signal comes."""
    seen = []

    def stop_signal():
        return 2 if stop_at is not None and len(of_type(seen, events.Stepped)) >= stop_at else None

    for event in compare(request, stop_signal=stop_signal):
        seen.append(event)
    return seen


def of_type(seen, kind):
    return [event for event in seen if isinstance(event, kind)]


def results_of(seen):
    return {result.cell: result for result in seen[-1].results}


def test_every_cell_is_trained_in_the_same_way_and_measured(request_for, tmp_path):
    seen = run(request_for(cells=("rnn", "rnn-relu", "gru", "lstm"), pairs=PAIRS))
    assert [(event.cell, event.number) for event in of_type(seen, CellStarted)] == [
        ("rnn", 1),
        ("rnn-relu", 2),
        ("gru", 3),
        ("lstm", 4),
    ]
    assert len(of_type(seen, CellTrained)) == 4
    assert len({event.max_steps for event in of_type(seen, events.Stepped)}) == 1
    tokenizers = set()
    for cell, result in results_of(seen).items():
        model = load_model(tmp_path / "c.compare" / cell)
        tokenizers.add(model.tokenizer.sha256)
        assert model.mixture is None
        assert model.manifest.arch == Architecture(cell, model.tokenizer.vocab_size, 16, 24, 1)
        assert result.num_parameters == model.manifest.arch.num_parameters
        assert result.steps == 24
        assert 1 < result.bits_per_byte < 8
        assert result.training_tokens_per_second > 0
        assert result.completion_tokens_per_second > 0
        assert [point.step for point in result.evaluations] == [6, 12, 18, 24]
        assert result.pairs["far"]["pairs"] == 2  # of 20 words and more
        assert math.isfinite(result.trained.half_lives[0])
        json.dumps(result.to_json())
    assert len(tokenizers) == 1
    assert results_of(seen)["gru"].num_cell_parameters == 3 * 24 * (24 + 16 + 1)
    with pytest.raises(ModelError):
        find_model(None)  # what `complete` takes by default is not touched


def test_gradient_flow_at_the_start_is_of_the_very_weights_that_are_trained(request_for, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("gru_complete.training.run.Learner", lambda model, *_: drawn.append(export_weights(model)))
    request = request_for("model.chrono_length=9", cells=("gru",))
    with pytest.raises(AttributeError):  # there is no learner to continue with
        run(request)
    settings = read_settings(tmp_path / "c.compare" / "compare.json")
    initial = measuring.initial_network(settings, "gru")
    assert isinstance(initial, LanguageModel)
    for name, array in export_weights(initial).items():
        assert (array == drawn[0][name]).all()


def test_a_finished_cell_is_neither_trained_nor_measured_again(request_for, monkeypatch):
    first = results_of(run(request_for(pairs=PAIRS)))
    monkeypatch.setattr(measuring, "measure_text", None)
    monkeypatch.setattr(measuring, "measure_pairs", None)
    seen = run(request_for(pairs=PAIRS))
    assert of_type(seen, events.Stepped) == []
    assert results_of(seen)["gru"].bits_per_byte == first["gru"].bits_per_byte
    assert results_of(seen)["gru"].trained == first["gru"].trained


def test_a_comparison_can_be_extended_by_another_cell(request_for):
    run(request_for())
    seen = run(request_for(cells=("rnn", "gru", "lstm")))
    assert {event.plan.config.model.cell for event in of_type(seen, events.Planned)} == {"lstm"}
    assert set(results_of(seen)) == {"rnn", "gru", "lstm"}


def test_an_interrupted_comparison_ends_like_an_uninterrupted_one(request_for, tmp_path, corpus_path):
    straight = results_of(run(request_for()))
    atomic.remove_directory(tmp_path / "c.compare")
    for stop_at in (5, 24):
        with pytest.raises(InterruptedRun):
            run(request_for(), stop_at=stop_at)
    seen = run(request_for())
    for cell, result in results_of(seen).items():
        assert result.bits_per_byte == straight[cell].bits_per_byte
        assert result.evaluations[-1].bits_per_byte == straight[cell].evaluations[-1].bits_per_byte


def test_another_text_or_other_settings_are_refused_unless_replaced(request_for, corpus_path):
    run(request_for(cells=("rnn",)))
    with pytest.raises(UsageError, match="is of other settings"):
        run(request_for("training.learning_rate=0.001", cells=("rnn",)))
    with pytest.raises(UsageError, match="is of other settings"):
        run(request_for(cells=("rnn",), match="parameters"))
    corpus_path.write_text(corpus_path.read_text()[:-100])
    with pytest.raises(UsageError, match="is of another corpus") as caught:
        run(request_for(cells=("rnn",)))
    assert "--replace" in caught.value.hint
    seen = run(request_for("training.steps=12", cells=("rnn",), replace=True))
    assert results_of(seen)["rnn"].steps == 12


def test_cells_matched_by_parameters_have_nearly_as_many(request_for):
    seen = run(request_for("training.steps=2", cells=CELLS, match="parameters"))
    results = results_of(seen)
    assert results["gru"].hidden_size == 24
    assert results["rnn"].hidden_size > 24 > results["lstm"].hidden_size
    sizes = [result.num_parameters for result in results.values()]
    assert max(sizes) / min(sizes) < 1.02


def test_with_minutes_every_cell_makes_the_steps_of_the_slowest_unless_time_is_matched(request_for, monkeypatch):
    seconds = {"rnn": Duration(0.01, 0.01), "gru": Duration(0.04, 0.04)}
    for module in ("gru_complete.training.probe", "gru_complete.comparison.settings"):
        monkeypatch.setattr(
            f"{module}.probe_step_seconds",
            lambda model, *_, **__: seconds[model.cell],
        )
    overrides = ("training.steps=null", "training.minutes=0.05")
    planned = of_type(run(request_for(*overrides)), events.Planned)
    assert {event.plan.max_steps for event in planned} == {int((3 - CLOSING_SECONDS) / (0.04 * 1.04))}
    assert {event.plan.config.model.dropout for event in planned} == {planned[0].plan.config.model.dropout}
    planned = of_type(run(request_for(*overrides, match="time", replace=True)), events.Planned)
    rnn, gru = (event.plan for event in planned)
    assert rnn.max_steps > 2 * gru.max_steps
    assert rnn.config.model.hidden_size == gru.config.model.hidden_size


def test_the_recall_task_is_trained_once_for_each_cell(request_for, monkeypatch):
    options = {"recall_length": 4, "recall_seconds": 0.1, "cells": ("gru",)}
    seen = run(request_for(**options))
    first = results_of(seen)["gru"].recall
    reported = of_type(seen, RecallProgress)
    assert [event.progress.update for event in reported] == list(range(1, first["updates"] + 1))
    assert {(event.cell, event.seconds) for event in reported} == {("gru", 0.1)}
    assert (first["task"], first["length"], first["chance"]) == ("copy", 4, 0.125)
    monkeypatch.setattr(measuring, "measure_recall", None)
    assert results_of(run(request_for(**options)))["gru"].recall == first


def test_a_cell_that_diverges_leaves_the_others_their_results(request_for, monkeypatch):
    real = compare_module.run_training

    def diverging(request, **options):
        if request.config.model.cell == "rnn":
            raise DivergedError("training diverged at step 3")
        return real(request, **options)

    monkeypatch.setattr(compare_module, "run_training", diverging)
    results = results_of(run(request_for()))
    assert results["rnn"].diverged == "training diverged at step 3"
    assert results["rnn"].to_json()["diverged"] == "training diverged at step 3"
    assert 1 < results["gru"].bits_per_byte < 8


def test_standard_input_and_a_foreign_directory_are_refused(request_for, tmp_path):
    with pytest.raises(UsageError, match="once for each cell"):
        run(ComparisonRequest(["-"], tmp_path / "c.compare", load_config(None, [])))
    (tmp_path / "c.compare").mkdir()
    (tmp_path / "c.compare" / "letter.txt").write_text("Dear")
    with pytest.raises(UsageError, match="is not a comparison"):
        run(request_for(replace=True))
    assert (tmp_path / "c.compare" / "letter.txt").exists()


def test_an_unusable_text_leaves_no_directory_behind(request_for, tmp_path, corpus_path):
    corpus_path.write_text("short")
    with pytest.raises(CorpusError, match="at least 1024"):
        run(request_for())
    assert not (tmp_path / "c.compare").exists()


def test_the_number_of_threads_is_the_same_afterwards(request_for):
    before = torch.get_num_threads()
    seen = run(request_for("training.steps=2"))
    assert isinstance(seen[-1], CellsCompared)
    assert torch.get_num_threads() == before
