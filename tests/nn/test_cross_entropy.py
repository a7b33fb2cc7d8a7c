import pytest
import torch
from torch.nn import functional as F

from gru_complete.nn import cross_entropy
from gru_complete.nn.cross_entropy import linear_cross_entropy

NUM_TOKENS, EMBEDDING_SIZE, VOCAB_SIZE = 10, 4, 6


def make_case(dtype=torch.float64):
    shapes = [(NUM_TOKENS, EMBEDDING_SIZE), (VOCAB_SIZE, EMBEDDING_SIZE), (VOCAB_SIZE,)]
    arguments = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    return arguments, torch.randint(VOCAB_SIZE, (NUM_TOKENS,))


@pytest.mark.parametrize("rows_at_once", [1, 3, 10, 100])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_loss_and_gradients_are_those_of_the_two_functions_it_joins(monkeypatch, rows_at_once, dtype, tolerance):
    monkeypatch.setattr(cross_entropy, "LOGITS_AT_ONCE", rows_at_once * VOCAB_SIZE)
    arguments, targets = make_case(dtype)
    loss = linear_cross_entropy(*arguments, targets)
    expected = F.cross_entropy(F.linear(*arguments), targets)
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    gradients = torch.autograd.grad(3 * loss, arguments)
    for ours, theirs in zip(gradients, torch.autograd.grad(3 * expected, arguments), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_gradients_are_those_of_finite_differences():
    arguments, targets = make_case()
    assert torch.autograd.gradcheck(lambda *values: linear_cross_entropy(*values, targets), arguments)


def test_scores_far_apart_cost_what_they_differ():
    features, weight = torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0]])
    loss = linear_cross_entropy(features, weight, torch.zeros(2), torch.tensor([1]))
    assert loss.item() == 2000.0
