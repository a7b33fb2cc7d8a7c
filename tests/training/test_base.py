"""Trainings that start from a model: what comes from it, what is refused, and what is kept."""

import shutil

import numpy as np
import pytest

from gru_complete.config import load_config
from gru_complete.errors import ConfigError, ModelError, UsageError
from gru_complete.model.directory import load_model
from gru_complete.model.manifest import Base
from gru_complete.model.run_dir import RunDir
from gru_complete.ngrams.pair import NGramPair
from gru_complete.training import base, events
from gru_complete.training.base_choice import BaseChoice
from gru_complete.training.plan import read_plan
from tests.conftest import small_text
from tests.training.runs import interrupt, of_type, train, weights_sha256

FEW_STEPS = ["training.steps=6", "training.batch_size=4", "training.seq_len=16", "training.evaluations=2"]


def from_base(name, *overrides):
    return load_config(None, [*FEW_STEPS, f"training.base={name}", *overrides])


@pytest.fixture
def new_text(corpus_path):
    """The corpus of the requests: sentences of which the base has read none."""
    corpus_path.write_text(small_text(seed=5).replace("cat", "ox"))
    return corpus_path


def test_sizes_tokenizer_weights_and_counts_come_from_the_base(new_text, request_for, trained_model, tmp_path):
    train(request_for(config=from_base(trained_model)))
    model, before = load_model(tmp_path / "model"), load_model(trained_model)
    assert model.manifest.arch == before.manifest.arch
    assert model.tokenizer.model_bytes == before.tokenizer.model_bytes
    assert model.manifest.base == Base("tiny", before.fingerprint)
    for name, array in model.weights.items():
        difference = np.abs(array - before.weights[name]).max()
        assert 0 < difference < 0.1  # of a few steps, where a network of its own would differ by more than 1
    assert isinstance(model.mixture.ngrams, NGramPair)
    assert model.mixture.ngrams.base.to_arrays().keys() == before.mixture.ngrams.to_arrays().keys()


def test_the_result_needs_no_base_any_more_and_is_stored_in_eight_bits(new_text, request_for, trained_model, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained_model, copy)
    train(request_for(config=from_base(copy)))
    shutil.rmtree(copy)
    sizes = [(path / "weights.safetensors").stat().st_size for path in (tmp_path / "model", trained_model)]
    assert sizes[0] < sizes[1] / 2
    assert load_model(tmp_path / "model").mixture is not None


def test_the_text_of_a_base_goes_on_to_be_known(new_text, request_for, trained_model, tmp_path):
    train(request_for("first", config=from_base(trained_model)))
    new_text.write_text(small_text(seed=6).replace("dog", "emu"))
    train(request_for("second", config=from_base(tmp_path / "first")))
    first, second = (load_model(tmp_path / name).mixture.ngrams for name in ("first", "second"))
    encode = load_model(trained_model).tokenizer.encode

    def cost(ngrams, text):
        return -np.log(ngrams.score_stream(np.array([0, *encode(text.encode())])).probabilities).mean()

    ox, emu = small_text(30, seed=8).replace("cat", "ox"), small_text(30, seed=9).replace("dog", "emu")
    assert cost(second, emu) < cost(first, emu) - 0.2
    assert cost(second, ox) < cost(first, ox) + 0.1
    for mine, theirs in zip(second.base.to_arrays().values(), first.base.to_arrays().values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_killed_and_resumed_it_ends_with_the_same_bits(new_text, request_for, trained_model, tmp_path):
    train(request_for("at once", config=from_base(trained_model)))
    interrupt(request_for("twice", config=from_base(trained_model)), 3)
    train(request_for("twice", config=from_base(trained_model)))
    assert weights_sha256(tmp_path / "at once") == weights_sha256(tmp_path / "twice")


def test_a_base_that_was_replaced_meanwhile_is_noticed(new_text, request_for, trained_model, tmp_path, tiny_config):
    train(request_for("base"))
    config = from_base(tmp_path / "base")
    interrupt(request_for(config=config), 3)
    shutil.rmtree(tmp_path / "base")
    shutil.copytree(trained_model, tmp_path / "base")
    with pytest.raises(UsageError, match="to start from") as caught:
        train(request_for(config=config))
    assert "--replace" in caught.value.hint


@pytest.mark.parametrize(
    "setting", ["model.hidden_size=32", "model.cell=lstm", "model.num_layers=2", "tokenizer.vocab_size=300"]
)
def test_a_setting_that_the_base_contradicts_is_refused(request_for, trained_model, setting):
    with pytest.raises(ConfigError, match=setting.split("=")[0]) as caught:
        train(request_for(config=from_base(trained_model, setting)))
    assert "--base none" in caught.value.hint


def test_a_base_that_is_not_there_is_refused_before_any_work(request_for, tmp_path):
    with pytest.raises(ModelError, match="no model named"):
        train(request_for(config=from_base(tmp_path / "nothing")))
    assert not (tmp_path / "model").exists()


def test_a_model_is_its_own_base_where_it_is_replaced(new_text, request_for, trained_model, tmp_path):
    shutil.copytree(trained_model, tmp_path / "model")
    train(request_for(config=from_base(tmp_path / "model"), replace=True))
    assert load_model(tmp_path / "model").manifest.base.fingerprint == load_model(trained_model).fingerprint


# ------------------------------------------------------------------------------- the automatic choice


@pytest.mark.parametrize(("base_bits", "is_taken"), [(1.0, True), (9.0, False)])
def test_the_built_in_base_is_taken_if_it_suits_the_text(
    new_text, request_for, built_in, tmp_path, monkeypatch, base_bits, is_taken
):
    monkeypatch.setattr(base, "choose_base", lambda *_: BaseChoice(base_bits, counts_bits=3.0))
    train(request_for(config=from_base("auto")))
    plan, manifest = read_plan(RunDir.beside(tmp_path / "model")), load_model(tmp_path / "model").manifest
    assert (plan.base_bits, plan.counts_bits) == (base_bits, 3.0)
    assert plan.config.training.base == ("english" if is_taken else "none")
    assert (manifest.base is not None) == is_taken


def test_a_choice_is_kept_when_the_run_is_resumed(new_text, request_for, built_in, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "choose_base", lambda *_: BaseChoice(9.0, counts_bits=3.0))
    interrupt(request_for(config=from_base("auto")), 3)
    monkeypatch.setattr(base, "choose_base", lambda *_: pytest.fail("chosen again"))
    train(request_for(config=from_base("auto")))
    assert load_model(tmp_path / "model").manifest.base is None


def test_settings_that_the_built_in_base_contradicts_start_from_nothing(request_for, built_in, tmp_path, tiny_config):
    assert tiny_config.training.base == "auto"
    seen = train(request_for(config=load_config(None, [*FEW_STEPS, "model.hidden_size=32"])))
    assert load_model(tmp_path / "model").manifest.base is None
    assert of_type(seen, events.Planned)[0].plan.base_bits is None
