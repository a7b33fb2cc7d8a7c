import shutil

import pytest
import torch
from torch.nn import functional as F

from gru_complete.nn import bfloat16, kernel
from gru_complete.nn.cells import CELL_CLASSES, GRUCell
from gru_complete.nn.cross_entropy import linear_cross_entropy
from gru_complete.nn.language_model import LanguageModel
from gru_complete.nn.sequence import run_by_steps, run_sequence

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a compiler")


@pytest.fixture(scope="module", autouse=True, params=bfloat16.INSTRUCTIONS, ids=lambda flags: flags[0])
def _compiled(request):
    """The library with matrix units and with vectors, whichever the processor has."""
    flags = bfloat16.INSTRUCTIONS[request.param]
    if flags not in bfloat16.available_instructions():
        pytest.skip(f"needs {request.param[0]}")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(kernel.SWITCH, raising=False)
        patch.setattr(bfloat16, "available_instructions", lambda: [flags])
        bfloat16.library.cache_clear()
        assert bfloat16.library() is not None
        yield
    bfloat16.library.cache_clear()


TOLERANCE = 1e-2
"""Relative length of the difference; the operands' rounding errors are up to 2^-9 each."""


def assert_about_equal(ours, expected):
    for our, its in zip(ours, expected, strict=True):
        assert (our - its).norm() <= TOLERANCE * its.norm()


def make_case(batch, hidden, *, document_starts, steps=7, inputs=24):
    torch.manual_seed(0)
    cell = GRUCell(inputs, hidden)
    x = torch.randn(batch, steps, inputs, requires_grad=True)
    state = torch.randn(1, batch, hidden, requires_grad=True)
    keep = (torch.rand(batch, steps) > 0.2).float() if document_starts else None
    return cell, x, state, keep


def values_and_gradients(run, cell, x, state, keep, **options):
    hidden, end = run(cell, x, state, keep, **options)
    weights = torch.linspace(-1, 1, hidden.numel()).sin().view_as(hidden)
    return (
        hidden,
        end,
        *torch.autograd.grad((hidden * weights).sum() + end.square().sum(), [x, state, *cell.parameters()]),
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("document_starts", [False, True])
@pytest.mark.parametrize(("batch", "hidden"), [(16, 32), (16, 96), (32, 64), (48, 64), (64, 160)])
def test_values_and_gradients_are_those_of_the_equations_as_far_as_rounding_allows(
    batch, hidden, document_starts, threads
):
    case = make_case(batch, hidden, document_starts=document_starts)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours, again = (values_and_gradients(run_sequence, *case, dtype=torch.bfloat16) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert_about_equal(ours, values_and_gradients(run_by_steps, *case))
    assert all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))


@pytest.mark.parametrize(("batch", "hidden"), [(16, 32), (32, 64), (48, 160), (16, 224)])
def test_loops_have_the_same_bits_with_any_number_of_threads(batch, hidden):
    torch.manual_seed(0)
    cell, _, state, keep = make_case(batch, hidden, document_starts=True)
    products, grad = torch.randn(2, 7, batch, 3 * hidden)
    keep_by_step, grad = keep.t().contiguous(), grad[..., :hidden].contiguous()
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            gates = products.to(torch.bfloat16)
            forward = bfloat16.gru_forward(gates, cell.bias, state[0].detach(), keep_by_step, cell.weight_h)
            found.append(
                [gates, *forward, *bfloat16.gru_backward(grad, gates, keep_by_step, cell.weight_h, forward[1])]
            )
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(ours, one) for ours, one in zip(others, found[0], strict=True))


@pytest.mark.parametrize(("batch", "hidden"), [(15, 32), (16, 48)])
def test_shapes_that_do_not_fill_tiles_are_computed_in_float32(batch, hidden):
    case = make_case(batch, hidden, document_starts=False)
    ours = values_and_gradients(run_sequence, *case, dtype=torch.bfloat16)
    assert all(torch.equal(a, b) for a, b in zip(ours, values_and_gradients(run_sequence, *case), strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_passed_on(value):
    cell, x, state, keep = make_case(16, 32, document_starts=False)
    with torch.no_grad():
        x[3, 4, 5] = value
        cell.weight_x[64, 5] = 0.0  # infinity * 0
    hidden, *gradients = values_and_gradients(run_sequence, cell, x, state, keep, dtype=torch.bfloat16)
    assert hidden[3, 4:, 0].isnan().all()
    assert hidden[3, :4].isfinite().all()
    assert hidden[:3].isfinite().all()
    assert gradients[-1].isnan().any()


@pytest.mark.parametrize("vocab_size", [5, 16, 77])
def test_loss_and_gradients_are_those_of_cross_entropy_as_far_as_rounding_allows(vocab_size):
    torch.manual_seed(0)
    arguments = [torch.randn(*shape, requires_grad=True) for shape in [(50, 12), (vocab_size, 12), (vocab_size,)]]
    targets = torch.randint(vocab_size, (50,))
    loss = linear_cross_entropy(*arguments, targets, dtype=torch.bfloat16)
    expected = F.cross_entropy(F.linear(*arguments), targets)
    assert_about_equal([loss], [expected])
    assert_about_equal(torch.autograd.grad(3 * loss, arguments), torch.autograd.grad(3 * expected, arguments))


def test_a_score_that_is_not_a_number_makes_the_loss_none():
    features, weight = torch.tensor([[float("nan")]]), torch.ones(3, 1)
    assert linear_cross_entropy(features, weight, torch.zeros(3), torch.tensor([1]), dtype=torch.bfloat16).isnan()


def test_only_the_training_loss_is_rounded():
    torch.manual_seed(0)
    model = LanguageModel(40, embedding_size=32, hidden_size=64)
    tokens = torch.randint(1, 40, (16, 6))
    exact_loss, exact_logits = model.loss(tokens, tokens)[0], model(tokens)[0]
    model.training_dtype = torch.bfloat16
    loss = model.loss(tokens, tokens)[0]
    assert_about_equal([loss], [exact_loss])
    assert loss != exact_loss
    assert torch.equal(model(tokens)[0], exact_logits)


@pytest.mark.parametrize("size", [1, 16, 77, 40_000])
def test_dropout_drops_the_same_features_on_the_way_back_and_keeps_the_scale(size):
    x = torch.rand(3, size).add_(1).requires_grad_()
    torch.manual_seed(0)
    dropped = bfloat16.drop(x, 64)
    stays = dropped != 0
    assert torch.equal(dropped, (x * stays * (256 / 192)).to(torch.bfloat16))
    weights = torch.rand(3, size).to(torch.bfloat16)
    (gradient,) = torch.autograd.grad((dropped * weights).sum(), x)
    torch.testing.assert_close(gradient, weights.float() * stays * (256 / 192))


def test_dropout_drops_its_share_and_other_features_with_another_seed():
    masks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        masks.append(bfloat16.drop(torch.ones(400, 250), 64) == 0)
    assert torch.equal(masks[0], masks[1])
    for mask in masks:
        assert abs(mask.double().mean() - 0.25) < 0.01  # seven standard deviations
    assert abs((masks[0] & masks[2]).double().mean() - 0.0625) < 0.006
    assert abs((masks[0][1:] & masks[0][:-1]).double().mean() - 0.0625) < 0.006


@pytest.mark.parametrize("cell", CELL_CLASSES)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_every_model_trains_with_about_the_gradients_of_float32(cell, num_layers):
    torch.manual_seed(0)
    model = LanguageModel(40, cell=cell, embedding_size=32, hidden_size=64, num_layers=num_layers)
    tokens = torch.randint(0, 40, (16, 6))
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        model.training_dtype = dtype
        loss = model.loss(tokens, tokens)[0]
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    assert_about_equal(found[1], found[0])
