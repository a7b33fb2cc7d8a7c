import pytest
import torch

from gru_complete.nn.language_model import LanguageModel


@pytest.fixture
def tiny_model():
    """A network with random weights, the same in every test."""
    torch.manual_seed(0)
    return LanguageModel(11, embedding_size=5, hidden_size=7, num_layers=2).eval()
