"""The numpy runtime computes what the torch model computes."""

import numpy as np
import pytest
import torch

from gru_complete.model.architecture import CELLS
from gru_complete.nn.language_model import LanguageModel
from gru_complete.runtime.stepper import Stepper

TOKENS = [0, 5, 17, 5, 300, 2, 2, 99, 1, 256, 44, 17]


def both_logits(cell, num_layers, embedding_size, dtype):
    torch.manual_seed(0)
    model = LanguageModel(
        301, cell=cell, embedding_size=embedding_size, hidden_size=48, num_layers=num_layers, update_bias=0.5
    )
    with torch.no_grad():
        for parameter in model.parameters():  # biases as well, and gates that are not all half open
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    model = model.to(dtype).eval()
    with torch.no_grad():
        expected, _ = model(torch.tensor([TOKENS]))
    weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    stepper = Stepper(model.architecture, weights, dtype=expected.numpy().dtype)
    state = stepper.initial_state()
    actual = []
    for token in TOKENS:
        hidden, state = stepper.step(token, state)
        actual.append(stepper.logits(hidden))
    return np.array(actual), expected[0].numpy()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("embedding_size", [32, 48])  # with a projection and without
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_a_step_scores_as_the_trained_model_does(cell, num_layers, embedding_size, dtype, tolerance):
    actual, expected = both_logits(cell, num_layers, embedding_size, dtype)
    assert abs(expected).max() > 1  # the scores say something
    scale = abs(expected).max() if cell == "rnn-relu" else 1.0  # its state, and so its scores, have no bound
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)
