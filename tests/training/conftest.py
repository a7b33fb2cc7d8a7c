import dataclasses
import time

import pytest
import torch

from gru_complete.nn.language_model import LanguageModel
from gru_complete.training.run import TrainingRequest


@pytest.fixture
def tiny_model():
    """A network with random weights, the same in every test."""
    torch.manual_seed(0)
    return LanguageModel(11, embedding_size=5, hidden_size=7, num_layers=2).eval()


@pytest.fixture
def request_for(corpus_path, tmp_path, tiny_config):
    """Make a request to train ``tmp_path/NAME``; keyword arguments change its fields."""

    def make(name="model", **changes):
        request = TrainingRequest([str(corpus_path)], tmp_path / name, tiny_config, started=time.monotonic())
        return dataclasses.replace(request, **changes)

    return make
