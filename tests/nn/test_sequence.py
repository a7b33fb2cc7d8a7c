import pytest
import torch

from gru_complete.nn.cells import CELL_CLASSES, GRUCell
from gru_complete.nn.sequence import run_by_steps, run_sequence

every_cell = pytest.mark.parametrize("name", CELL_CLASSES)
with_and_without_document_starts = pytest.mark.parametrize("starts", [[], [(0, 2), (1, 0), (1, 4), (2, 3), (0, 3)]])
SHAPE = {"batch": 3, "time": 5, "input": 4, "hidden": 6}


def make_case(name="gru", starts=(), dtype=torch.float64):
    cell = CELL_CLASSES[name](SHAPE["input"], SHAPE["hidden"]).to(dtype)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(torch.randn_like(parameter) / 2)
    x = torch.randn(SHAPE["batch"], SHAPE["time"], SHAPE["input"], dtype=dtype, requires_grad=True)
    state = torch.randn(cell.state_rows, SHAPE["batch"], SHAPE["hidden"], dtype=dtype, requires_grad=True)
    keep = None
    if starts:
        keep = torch.ones(SHAPE["batch"], SHAPE["time"], dtype=dtype)
        for row, step in starts:
            keep[row, step] = 0
    return cell, x, state, keep


def values_and_gradients(run, cell, x, state, keep):
    """Outputs and the gradients of an uneven sum over all outputs and the final state."""
    hidden, end = run(cell, x, state, keep)
    torch.manual_seed(1)
    total = (hidden * torch.randn_like(hidden)).sum() + (end * torch.randn_like(end)).sum()
    return hidden, end, *torch.autograd.grad(total, [x, state, *cell.parameters()])


@every_cell
@with_and_without_document_starts
def test_a_sequence_is_its_steps_one_after_the_other(name, starts):
    cell, x, state, keep = make_case(name, starts)
    hidden, end = run_sequence(cell, x, state, keep)
    for step in range(SHAPE["time"]):
        if keep is not None:
            state = state * keep[:, step, None]
        state = cell(x[:, step], state)
        torch.testing.assert_close(hidden[:, step], state[0])
    torch.testing.assert_close(end, state)


@every_cell
@with_and_without_document_starts
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_fast_way_has_the_values_and_gradients_of_the_slow_one(name, starts, dtype, tolerance):
    case = make_case(name, starts, dtype)
    fast, slow = values_and_gradients(run_sequence, *case), values_and_gradients(run_by_steps, *case)
    for ours, expected in zip(fast, slow, strict=True):
        torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


@every_cell
@with_and_without_document_starts
def test_gradients_of_the_fast_way_are_those_of_finite_differences(name, starts):
    cell, x, state, keep = make_case(name, starts)
    names, parameters = zip(*cell.named_parameters(), strict=True)

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, x, state):
            return run_sequence(self.cell, x, state, keep)

    def run(x, state, *values):
        named = {f"cell.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(Whole(), named, (x, state))

    assert torch.autograd.gradcheck(run, (x, state, *parameters))


@every_cell
@with_and_without_document_starts
@pytest.mark.parametrize("chunk_len", [1, 2, 4])
def test_reading_in_chunks_equals_reading_at_once(name, starts, chunk_len):
    cell, x, state, keep = make_case(name, starts)
    expected, expected_end = run_sequence(cell, x, state, keep)
    parts = []
    for start in range(0, SHAPE["time"], chunk_len):
        chunk = slice(start, start + chunk_len)
        hidden, state = run_sequence(cell, x[:, chunk], state, None if keep is None else keep[:, chunk])
        parts.append(hidden)
    torch.testing.assert_close(torch.cat(parts, dim=1), expected)
    torch.testing.assert_close(state, expected_end)


@every_cell
def test_a_document_start_forgets_everything_before_it(name):
    cell, x, state, keep = make_case(name, starts=[(0, 2), (1, 2), (2, 2)])
    hidden, _ = run_sequence(cell, x, state, keep)
    alone, _ = run_sequence(cell, x[:, 2:], torch.zeros_like(state))
    torch.testing.assert_close(hidden[:, 2:], alone)
    gradient, *_ = torch.autograd.grad(hidden[:, 2:].sum(), [x])
    assert gradient[:, :2].eq(0).all()
    assert gradient[:, 2:].ne(0).any()


@every_cell
@pytest.mark.parametrize("frozen", ["x", "state", "weight_x", "weight_h", "bias"])
def test_what_needs_no_gradient_gets_none_and_changes_no_other(name, frozen):
    cell, x, state, keep = make_case(name)
    everything = {"x": x, "state": state, **dict(cell.named_parameters())}
    run_sequence(cell, x, state, keep)[0].sum().backward()
    expected = {key: tensor.grad for key, tensor in everything.items()}
    for tensor in everything.values():
        tensor.grad = None
    everything[frozen].requires_grad_(False)
    run_sequence(cell, x, state, keep)[0].sum().backward()
    assert everything[frozen].grad is None
    for other in everything.keys() - {frozen}:
        assert torch.equal(everything[other].grad, expected[other])


@every_cell
def test_the_memory_order_of_the_input_does_not_matter(name):
    cell, x, state, keep = make_case(name)
    time_major = x.detach().transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(run_sequence(cell, x, state, keep)[0], run_sequence(cell, time_major, state, keep)[0])


@every_cell
def test_the_fast_way_is_the_same_to_the_last_bit_each_time(name):
    cell, x, state, keep = make_case(name, dtype=torch.float32)
    first, second = (values_and_gradients(run_sequence, cell, x, state, keep) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@every_cell
def test_arguments_are_left_as_they_were(name):
    cell, x, state, keep = make_case(name, starts=[(0, 0), (1, 3)])
    before = [tensor.detach().clone() for tensor in (x, state, keep, *cell.parameters())]
    values_and_gradients(run_sequence, cell, x, state, keep)
    for tensor, copy in zip((x, state, keep, *cell.parameters()), before, strict=True):
        assert torch.equal(tensor, copy)


@every_cell
def test_without_gradients_nothing_is_kept_for_a_backward_pass(name):
    cell, x, state, keep = make_case(name)
    with torch.inference_mode():
        hidden, end = run_sequence(cell, x, state, keep)
    assert hidden.grad_fn is None
    assert end.grad_fn is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@with_and_without_document_starts
def test_a_gpu_computes_the_same(starts):
    cell, x, state, keep = make_case(starts=starts)
    expected = values_and_gradients(run_by_steps, cell, x, state, keep)
    on_gpu = [tensor.detach().cuda().requires_grad_() for tensor in (x, state)]
    there = GRUCell(SHAPE["input"], SHAPE["hidden"]).double().cuda()
    there.load_state_dict(cell.state_dict())
    hidden, end = run_sequence(there, *on_gpu, None if keep is None else keep.cuda())
    torch.testing.assert_close(hidden.cpu(), expected[0])
    torch.testing.assert_close(end.cpu(), expected[1])
