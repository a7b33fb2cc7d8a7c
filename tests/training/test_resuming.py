import pytest

from gru_complete.config import load_config
from gru_complete.errors import (
    ModelError,
    UsageError,
)
from gru_complete.model.directory import load_model
from gru_complete.nn import kernel
from gru_complete.training import events
from gru_complete.training.run import run_training
from tests.training.runs import interrupt, of_type, train, weights_sha256


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_run_interrupted_three_times_ends_with_the_bits_of_one_that_was_not(
    request_for, tmp_path, dropout, tiny_overrides
):
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


def test_a_killed_run_continues_from_its_last_evaluation(request_for, tmp_path):
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


def test_a_damaged_plan_is_discarded_only_with_replace(request_for, tmp_path):
    interrupt(request_for(), 3)
    (tmp_path / "model.run/plan.json").write_bytes(b"{}")
    with pytest.raises(ModelError, match=r"plan\.json") as caught:
        train(request_for())
    assert "--replace" in caught.value.hint
    assert isinstance(train(request_for(replace=True))[-1], events.Finished)


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
