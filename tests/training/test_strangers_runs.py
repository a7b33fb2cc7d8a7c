"""Run directories changed at random: they are resumed or refused. benchmarks/attacks.py tries a thousand."""

import random
import shutil

import pytest

from gru_complete.errors import ModelError, UsageError
from gru_complete.training.events import Stepped
from gru_complete.training.run import run_training
from tests import mutations


@pytest.fixture
def unfinished(request_for, tmp_path):
    """The run directory of a training that was killed."""
    training = run_training(request_for(), stop_signal=lambda: None)
    for event in training:
        if isinstance(event, Stepped) and event.step == 13:
            break
    training.close()
    return tmp_path / "model.run"


def test_a_strangers_run_directory_is_resumed_or_refused(request_for, unfinished, tmp_path):
    original = {
        str(path.relative_to(unfinished)): path.read_bytes() for path in unfinished.rglob("*") if path.is_file()
    }
    num_refused = 0
    for seed, (_, attack) in enumerate([*mutations.RUN_DIRECTORY.items()] * 2):
        files = dict(original)
        attack(files, random.Random(seed))
        shutil.copytree(unfinished, tmp_path / "copy.run")
        for name, data in files.items():
            (tmp_path / "copy.run" / name).write_bytes(data)
        training = run_training(request_for("copy"), stop_signal=lambda: None)
        try:
            next(event for event in training if isinstance(event, Stepped))
        except (ModelError, UsageError):
            num_refused += 1
        training.close()
        shutil.rmtree(tmp_path / "copy.run", ignore_errors=True)
    assert num_refused > len(mutations.RUN_DIRECTORY) // 2
