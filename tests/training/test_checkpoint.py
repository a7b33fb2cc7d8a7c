import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

from gru_complete.errors import (
    ModelError,
)
from gru_complete.model.directory import load_model
from gru_complete.model.home import remove_model
from gru_complete.storage import untrusted
from gru_complete.training import events
from gru_complete.training.checkpoint import LoopState
from tests.training.runs import interrupt, of_type, train, weights_sha256


def test_a_damaged_newest_checkpoint_is_skipped_with_a_note(request_for, tmp_path):
    train(request_for("straight"))
    interrupt(request_for("damaged"), 15)
    newest = tmp_path / "damaged.run/checkpoints/step-00000015/optimizer.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    seen = train(request_for("damaged"))
    assert "the checkpoint of step 15 is damaged" in of_type(seen, events.Note)[0].message
    assert weights_sha256(tmp_path / "straight") == weights_sha256(tmp_path / "damaged")


def test_a_damaged_checkpoint_does_not_disturb_the_next_interruption(request_for, tmp_path):
    interrupt(request_for(), 15)
    (tmp_path / "model.run/checkpoints/step-00000015/loop.json").write_bytes(b"{}")
    error = interrupt(request_for(), 13)
    assert "interrupted at step 13 of 24" in str(error)
    assert load_model(tmp_path / "model").manifest.training["steps"] == 13


def test_a_run_whose_checkpoints_are_all_damaged_does_not_restart_until_it_is_removed(request_for, tmp_path):
    interrupt(request_for(), 15)
    for manifest in (tmp_path / "model.run/checkpoints").glob("*/manifest.json"):
        manifest.write_bytes(b"{}")
    with pytest.raises(ModelError, match="no usable checkpoint") as caught:
        train(request_for())
    assert f"models remove {tmp_path / 'model'} --run" in caught.value.hint
    remove_model(tmp_path / "model", run_only=True)
    assert isinstance(train(request_for(replace=True))[-1], events.Finished)


def test_only_the_best_and_the_last_two_checkpoints_are_kept(request_for, tmp_path):
    train(request_for())
    steps = sorted(path.name for path in (tmp_path / "model.run/checkpoints").iterdir())
    assert steps[-2:] == ["step-00000018", "step-00000024"]
    assert len(steps) <= 3


def test_the_state_of_the_loop_comes_back_from_its_file_with_the_keys_of_the_format():
    state = LoopState(
        step=5, max_steps=9, progress=0.5, best_step=4, best_loss=2.5, evaluations_since_best=1, train_loss=3.0
    )
    raw = json.loads(state.to_json())
    assert set(raw) == {
        "step", "max_steps", "progress", "rate_scale", "best_step", "best_loss", "looks_since_best", "step_seconds",
        "train_loss",
    }  # fmt: skip
    assert (raw["looks_since_best"], LoopState.from_json(raw)) == (1, state)
    assert LoopState.from_json(json.loads(LoopState().to_json())) == LoopState()


@pytest.mark.parametrize("replanned", [False, True])
def test_a_loop_file_from_before_there_was_progress_has_made_its_share_of_the_steps(replanned):
    raw = json.loads(LoopState(step=3, max_steps=12).to_json())
    del raw["progress"]
    assert LoopState.from_json({**raw, "replanned": replanned}).progress == 0.25


def test_only_a_lower_tuning_loss_makes_a_step_the_best():
    state = LoopState(step=3).after_evaluation(2.0)
    assert (state.best_step, state.best_loss, state.evaluations_since_best) == (3, 2.0, 0)
    state = dataclasses.replace(state, step=6).after_evaluation(2.0)
    assert (state.best_step, state.best_loss, state.evaluations_since_best) == (3, 2.0, 1)


@pytest.mark.parametrize("value", [True, "1", [], {}, -1, -0.5, 2**70, 10**400, "null", 1e308])
def test_a_field_of_another_type_or_out_of_range_is_a_model_error(value):
    state = LoopState(step=5, max_steps=9, best_step=4, best_loss=2.5, evaluations_since_best=1, train_loss=3.0)
    raw = json.loads(state.to_json())
    fitting = {"replanned": (True,), "looks_since_best": (2**70, 10**400), "step_seconds": (2**70, 1e308)}
    fitting |= {"train_loss": (2**70, 1e308), "best_loss": (2**70, 1e308)}
    for key in raw:
        if value not in fitting.get(key, ()):
            with pytest.raises(ModelError, match=r"loop\.json cannot be used"):
                LoopState.from_json(raw | {key: value})


@pytest.mark.parametrize("changes", [{"step": 10}, {"best_step": 6}, {"max_steps": 4}])
def test_steps_that_cannot_be_are_a_model_error(changes):
    state = LoopState(step=5, max_steps=9, best_step=4, best_loss=2.5)
    with pytest.raises(ModelError, match=r"loop\.json cannot be used"):
        LoopState.from_json(json.loads(dataclasses.replace(state, **changes).to_json()))


def change_state(tensors):
    tensors["state"] = tensors["state"][..., :-1].copy()


def change_moments(tensors):
    tensors["exp_avg.embedding"] = np.full_like(tensors["exp_avg.embedding"], np.nan)


@pytest.mark.parametrize("change", [change_state, change_moments, dict.clear, lambda tensors: tensors.pop("state")])
def test_a_checkpoint_with_tensors_that_do_not_fit_is_skipped_although_its_checksums_agree(
    request_for, tmp_path, change
):
    interrupt(request_for(), 13)
    newest = tmp_path / "model.run/checkpoints/step-00000013"
    tensors = safetensors.numpy.load((newest / "optimizer.safetensors").read_bytes())
    change(tensors)
    (newest / "optimizer.safetensors").write_bytes(safetensors.numpy.save(tensors))
    list_again(newest)
    seen = train(request_for())
    assert "the checkpoint of step 13 is damaged" in of_type(seen, events.Note)[0].message
    assert isinstance(seen[-1], events.Finished)


def list_again(directory):
    """Make the sizes and checksums of a manifest those of the files."""
    manifest = json.loads((directory / "manifest.json").read_bytes())
    for name, record in manifest["files"].items():
        data = (directory / name).read_bytes()
        record |= {"bytes": len(data), "sha256": untrusted.sha256_hex(data)}
    (directory / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("raw", [{}, {"best_loss": None, "unknown": 1}])
def test_a_damaged_loop_file_is_a_model_error(raw):
    with pytest.raises(ModelError, match=r"loop\.json cannot be used"):
        LoopState.from_json(raw)
