import pytest
import torch

from gru_complete.nn.language_model import LanguageModel


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def tiny_model():
    return LanguageModel(11, embedding_size=5, hidden_size=7, num_layers=2).eval()
