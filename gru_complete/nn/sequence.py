"""Recurrent cells over a whole sequence: the time loops.

The equations are in ``cells``. ``run_by_steps`` is the plain loop, which works for every cell. Every cell also has a
faster way:

- ``gru``, ``gru-simple``, ``rnn`` and ``rnn-relu`` are one autograd node for the whole sequence instead of a dozen for
  each step (``_Sequence``). Everything that does not wait for the previous step is done for all steps in one matrix
  product (input products, weight gradients, input gradient); the rest, inside the loop, writes into memory reserved
  beforehand. On a CPU the loops of ``gru`` can be those of ``kernel``, once it is enabled.
- ``lstm`` and ``gru-reset-after`` are torch's own layers with the gates in another order, unless a row's state is reset
  within the sequence.

Inside, everything is time-major ``(T, B, ...)`` and contiguous, so that a step is one block of memory. An argument
``(B, T, ...)`` that is a transposed view of such memory is read without a copy, and the results are such views.

Shapes: T time steps, B rows, I inputs of a cell, H hidden_size, S state_rows, G gates of a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gru_complete.nn import bfloat16, kernel
from gru_complete.nn.cells import (
    GRUCell,
    GRUResetAfterCell,
    LSTMCell,
    RecurrentCell,
    ReLURNNCell,
    SimpleRNNCell,
    SimplifiedGRUCell,
)


def run_sequence(
    cell: RecurrentCell, x: Tensor, state: Tensor, keep: Tensor | None = None, *, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Let a cell read a sequence.

    Args:
        cell: any of the cells.
        x: inputs, ``(B, T, I)`` with T at least 1.
        state: where the previous chunk ended, ``(S, B, H)``.
        keep: 1 or 0 for each position, ``(B, T)``; where it is 0 the row's state is zeroed before that step (a
            document starts there). None if there is no 0.
        dtype: bfloat16 to round the operands of products to it where cell and shapes allow it; only valid where
            ``bfloat16.is_available``. The inputs may then be in it.

    Returns:
        The cell's outputs ``(B, T, H)`` and the state after the last step ``(S, B, H)``.
    """
    hidden: Tensor
    keep_by_step = None if keep is None else keep.t().to(state.dtype).contiguous()
    if dtype == torch.bfloat16 and isinstance(cell, GRUCell) and bfloat16.fits(len(x), cell.hidden_size):
        time_major, start = x.transpose(0, 1).contiguous(), state[0].contiguous()
        hidden = _GRUSequenceBFloat16.apply(  # type: ignore[no-untyped-call]
            time_major, start, keep_by_step, cell.weight_x, cell.weight_h, cell.bias
        )
        return hidden.transpose(0, 1), hidden[-1:]
    x = x.to(state.dtype)
    if loops := _LOOPS.get(type(cell)):
        hidden = _Sequence.apply(  # type: ignore[no-untyped-call]
            loops,
            x.transpose(0, 1).contiguous(),
            state[0].contiguous(),
            keep_by_step,
            cell.weight_x,
            cell.weight_h,
            cell.bias,
        )
        return hidden.transpose(0, 1), hidden[-1:]
    # torch's layers cannot reset a row within the sequence, and on a GPU they copy the weights with a warning.
    if x.device.type == "cpu" and (keep is None or bool(keep.all())):
        if isinstance(cell, LSTMCell):
            return _torch_lstm(cell, x, state)
        if isinstance(cell, GRUResetAfterCell):
            return _torch_gru(cell, x, state)
    return run_by_steps(cell, x, state, keep)


def run_by_steps(cell: RecurrentCell, x: Tensor, state: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The same as ``run_sequence``, step by step through autograd: slow, and the reference for every cell.

    Args:
        cell: any of the cells.
        x: inputs, ``(B, T, I)``.
        state: before the first step, ``(S, B, H)``.
        keep: see ``run_sequence``.

    Returns:
        As ``run_sequence``.
    """
    products = cell.input_products(x.transpose(0, 1))
    outputs = []
    for step, products_t in enumerate(products.unbind(0)):
        if keep is not None:
            state = state * keep[:, step].unsqueeze(-1).to(state.dtype)
        state = cell.step(products_t, state)
        outputs.append(state[0])
    return torch.stack(outputs).transpose(0, 1), state


class _Loops(NamedTuple):
    """A cell's loops over time, forward and backward, without autograd and without the inputs.

    Attributes:
        forward: called with ``weight_h`` ``(G*H, H)``, ``keep`` ``(T, B)`` or None, the states ``(T + 1, B, H)`` of
            which only the first is set, and the input products ``(T, B, G*H)``. It fills in the other states and
            overwrites the products with gates and candidates. It returns r*h ``(T, B, H)`` if the candidate sees that
            instead of the state, else None.
        backward: called with ``weight_h``, ``keep``, the states, the gates and the gradient of every step's output
            ``(T, B, H)``. It returns the gradients of the input products ``(T, B, G*H)`` and of the first state
            ``(B, H)``.
    """

    forward: Callable[[Tensor, Tensor | None, Tensor, Tensor], Tensor | None]
    backward: Callable[[Tensor, Tensor | None, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class _Sequence(torch.autograd.Function):
    """A cell over a whole sequence as one autograd node.

    The tensors are time-major: x ``(T, B, I)``, start ``(B, H)``, keep ``(T, B)`` or None, ``weight_x`` ``(G*H, I)``,
    ``weight_h`` ``(G*H, H)``, bias ``(G*H,)``; the result is the output of every step ``(T, B, H)``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        loops: _Loops,
        x: Tensor,
        start: Tensor,
        keep: Tensor | None,
        weight_x: Tensor,
        weight_h: Tensor,
        bias: Tensor,
    ) -> Tensor:
        num_steps, num_rows, _ = x.shape
        gates = torch.addmm(bias, x.view(num_steps * num_rows, -1), weight_x.t()).view(num_steps, num_rows, -1)
        states = x.new_empty(num_steps + 1, *start.shape)
        states[0] = start
        reset_states = loops.forward(weight_h.contiguous(), keep, states, gates)
        ctx.loops = loops
        ctx.save_for_backward(x, keep, weight_x, weight_h, states, gates, reset_states)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor) -> tuple[Tensor | None, ...]:
        x, keep, weight_x, weight_h, states, gates, reset_states = ctx.saved_tensors
        d_products, d_start = ctx.loops.backward(weight_h.contiguous(), keep, states, gates, grad_hidden.contiguous())
        flat = d_products.flatten(0, 1)
        _, needs_x, needs_start, _, needs_weight_x, needs_weight_h, needs_bias = ctx.needs_input_grad
        return (
            None,
            (flat @ weight_x).view_as(x) if needs_x else None,
            d_start if needs_start else None,
            None,
            flat.t() @ x.flatten(0, 1) if needs_weight_x else None,
            _recurrent_gradient(flat, keep, states, reset_states) if needs_weight_h else None,
            flat.sum(0) if needs_bias else None,
        )


class _GRUSequenceBFloat16(torch.autograd.Function):
    """``_Sequence`` of a GRU with the operands of all products in bfloat16, as x may be; gradients are converted."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, start: Tensor, keep: Tensor | None, weight_x: Tensor, weight_h: Tensor, bias: Tensor
    ) -> Tensor:
        flat, weight_x = x.flatten(0, 1).to(torch.bfloat16), weight_x.to(torch.bfloat16)
        gates = bfloat16.product(flat, weight_x.t()).view(*x.shape[:2], -1)
        states, seen, reset_states = bfloat16.gru_forward(gates, bias, start, keep, weight_h)
        ctx.save_for_backward(flat, keep, weight_x, weight_h, gates, seen, reset_states)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor) -> tuple[Tensor | None, ...]:
        flat, keep, weight_x, weight_h, gates, seen, reset_states = ctx.saved_tensors
        d_products, d_bias, d_start = bfloat16.gru_backward(grad_hidden.contiguous(), gates, keep, weight_h, seen)
        d_flat, size = d_products.flatten(0, 1), weight_h.shape[1]
        d_x, d_weight_x = bfloat16.product(d_flat, weight_x), bfloat16.product(d_flat.t(), flat)
        d_weight_gates = bfloat16.product(d_flat[:, : 2 * size].t(), seen.flatten(0, 1))
        d_weight_candidate = bfloat16.product(d_flat[:, 2 * size :].t(), reset_states.flatten(0, 1))
        return (
            d_x.view(*grad_hidden.shape[:2], -1),
            d_start,
            None,
            d_weight_x,
            torch.cat([d_weight_gates, d_weight_candidate]),
            d_bias,
        )


def _recurrent_gradient(d_products: Tensor, keep: Tensor | None, states: Tensor, reset_states: Tensor | None) -> Tensor:
    """Gradient of the recurrent weights ``(G*H, H)``; ``d_products`` is ``(T*B, G*H)``."""
    size = states.shape[-1]
    previous = (states[:-1] if keep is None else states[:-1] * keep.unsqueeze(-1)).flatten(0, 1)
    if reset_states is None:
        return d_products.t() @ previous
    grad = d_products.new_empty(d_products.shape[1], size)
    torch.mm(d_products[:, :-size].t(), previous, out=grad[:-size])
    torch.mm(d_products[:, -size:].t(), reset_states.flatten(0, 1), out=grad[-size:])
    return grad


def _gru_forward(weight_h: Tensor, keep: Tensor | None, states: Tensor, gates: Tensor) -> Tensor:
    """Gates u, r, c: see ``_Loops`` and ``GRUCell``."""
    reset_states = torch.empty_like(states[1:])
    if compiled := kernel.active_for(gates):
        compiled.forward(weight_h, keep, states, gates, reset_states)
        return reset_states
    size = states.shape[-1]
    # A product of few rows is up to twice as fast when its right side lies in the order in which it is read.
    gates_weight = weight_h[: 2 * size].t().contiguous()
    candidate_weight = weight_h[2 * size :].t().contiguous()
    # Views of all steps at once: slicing inside the loop would cost as much as the arithmetic.
    steps = zip(
        states[:-1].unbind(0),
        states[1:].unbind(0),
        gates[..., : 2 * size].unbind(0),
        *_each_gate(gates, 3),
        reset_states.unbind(0),
        _resets(keep, len(gates)),
        strict=True,
    )
    for previous, following, gate, update, reset, candidate, reset_state, kept in steps:
        if kept is not None:
            previous = previous * kept
        gate.addmm_(previous, gates_weight).sigmoid_()
        torch.mul(reset, previous, out=reset_state)
        candidate.addmm_(reset_state, candidate_weight).tanh_()
        torch.lerp(previous, candidate, update, out=following)
    return reset_states


def _gru_backward(
    weight_h: Tensor, keep: Tensor | None, states: Tensor, gates: Tensor, grad_hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """See ``_Loops``."""
    if compiled := kernel.active_for(gates):
        return compiled.backward(weight_h, keep, states, gates, grad_hidden)
    size = states.shape[-1]
    previous = states[:-1] if keep is None else states[:-1] * keep.unsqueeze(-1)
    update, reset, candidate = gates.chunk(3, dim=-1)
    # With d the gradient of h' = u*c + (1-u)*h, each gradient below is d (or that of r*h) times a factor known now.
    update_slope = torch.ops.aten.sigmoid_backward(candidate - previous, update)
    candidate_slope = torch.ops.aten.tanh_backward(update, candidate)
    reset_slope = torch.ops.aten.sigmoid_backward(previous, reset)
    carry_share = 1 - update

    d_products = torch.empty_like(gates)
    d_state = torch.zeros_like(previous[0])
    d_reset_state = torch.empty_like(d_state)
    gates_weight, candidate_weight = weight_h[: 2 * size], weight_h[2 * size :]
    steps = zip(
        grad_hidden.unbind(0),
        update_slope.unbind(0),
        candidate_slope.unbind(0),
        reset_slope.unbind(0),
        carry_share.unbind(0),
        reset.unbind(0),
        d_products[..., : 2 * size].unbind(0),
        *_each_gate(d_products, 3),
        _resets(keep, len(gates)),
        strict=True,
    )
    for grad, slope_u, slope_c, slope_r, share, r, d_gate, d_u, d_r, d_c, kept in reversed(list(steps)):
        d_state.add_(grad)
        torch.mul(d_state, slope_u, out=d_u)
        torch.mul(d_state, slope_c, out=d_c)
        torch.mm(d_c, candidate_weight, out=d_reset_state)
        torch.mul(d_reset_state, slope_r, out=d_r)
        d_state.mul_(share).addcmul_(d_reset_state, r).addmm_(d_gate, gates_weight)
        if kept is not None:
            d_state.mul_(kept)
    return d_products, d_state


def _simplified_forward(weight_h: Tensor, keep: Tensor | None, states: Tensor, gates: Tensor) -> None:
    """Gates u, c: see ``_Loops`` and ``SimplifiedGRUCell``."""
    weight = weight_h.t().contiguous()
    steps = zip(
        states[:-1].unbind(0),
        states[1:].unbind(0),
        gates.unbind(0),
        *_each_gate(gates, 2),
        _resets(keep, len(gates)),
        strict=True,
    )
    for previous, following, gate, update, candidate, kept in steps:
        if kept is not None:
            previous = previous * kept
        gate.addmm_(previous, weight)
        torch.lerp(previous, candidate.tanh_(), update.sigmoid_(), out=following)


def _simplified_backward(
    weight_h: Tensor, keep: Tensor | None, states: Tensor, gates: Tensor, grad_hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """See ``_Loops``."""
    previous = states[:-1] if keep is None else states[:-1] * keep.unsqueeze(-1)
    update, candidate = gates.chunk(2, dim=-1)
    update_slope = torch.ops.aten.sigmoid_backward(candidate - previous, update)
    candidate_slope = torch.ops.aten.tanh_backward(update, candidate)
    d_products = torch.empty_like(gates)
    d_state = torch.zeros_like(previous[0])
    steps = zip(
        grad_hidden.unbind(0),
        update_slope.unbind(0),
        candidate_slope.unbind(0),
        (1 - update).unbind(0),
        d_products.unbind(0),
        *_each_gate(d_products, 2),
        _resets(keep, len(gates)),
        strict=True,
    )
    for grad, slope_u, slope_c, share, d_gate, d_u, d_c, kept in reversed(list(steps)):
        d_state.add_(grad)
        torch.mul(d_state, slope_u, out=d_u)
        torch.mul(d_state, slope_c, out=d_c)
        d_state.mul_(share).addmm_(d_gate, weight_h)
        if kept is not None:
            d_state.mul_(kept)
    return d_products, d_state


def _rnn_forward(weight_h: Tensor, keep: Tensor | None, states: Tensor, gates: Tensor) -> None:
    """No gates, the candidate is the state: see ``_Loops`` and ``SimpleRNNCell``."""
    _ungated_forward(torch.tanh_, weight_h, keep, states, gates)


def _relu_forward(weight_h: Tensor, keep: Tensor | None, states: Tensor, gates: Tensor) -> None:
    """See ``_Loops`` and ``ReLURNNCell``."""
    _ungated_forward(torch.relu_, weight_h, keep, states, gates)


def _ungated_forward(
    activate_: Callable[[Tensor], Tensor], weight_h: Tensor, keep: Tensor | None, states: Tensor, gates: Tensor
) -> None:
    """The loop of cells without gates; ``activate_`` is the nonlinearity, in place. See ``_Loops``."""
    weight = weight_h.t().contiguous()
    steps = zip(states[:-1].unbind(0), states[1:].unbind(0), gates.unbind(0), _resets(keep, len(gates)), strict=True)
    for previous, following, products, kept in steps:
        if kept is not None:
            previous = previous * kept
        activate_(torch.addmm(products, previous, weight, out=following))


def _rnn_backward(
    weight_h: Tensor, keep: Tensor | None, states: Tensor, gates: Tensor, grad_hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """See ``_Loops``."""
    return _ungated_backward(1 - states[1:].square(), weight_h, keep, states, gates, grad_hidden)


def _relu_backward(
    weight_h: Tensor, keep: Tensor | None, states: Tensor, gates: Tensor, grad_hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """See ``_Loops``."""
    return _ungated_backward((states[1:] > 0).to(states.dtype), weight_h, keep, states, gates, grad_hidden)


def _ungated_backward(
    slopes: Tensor, weight_h: Tensor, keep: Tensor | None, states: Tensor, gates: Tensor, grad_hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """The loop of cells without gates, backward; see ``_Loops``.

    Args:
        slopes: the derivative of the nonlinearity at every output, ``(T, B, H)``.
        weight_h: ``(H, H)``.
        keep: ``(T, B)`` or None.
        states: ``(T + 1, B, H)``.
        gates: ``(T, B, H)``; only its shape matters.
        grad_hidden: gradient of every step's output, ``(T, B, H)``.
    """
    d_products = torch.empty_like(gates)
    d_state = torch.zeros_like(states[0])
    steps = zip(grad_hidden.unbind(0), slopes.unbind(0), d_products.unbind(0), _resets(keep, len(gates)), strict=True)
    for grad, slope, d_product, kept in reversed(list(steps)):
        torch.mul(d_state.add_(grad), slope, out=d_product)
        torch.mm(d_product, weight_h, out=d_state)
        if kept is not None:
            d_state.mul_(kept)
    return d_products, d_state


_LOOPS: dict[type[RecurrentCell], _Loops] = {
    SimpleRNNCell: _Loops(_rnn_forward, _rnn_backward),
    ReLURNNCell: _Loops(_relu_forward, _relu_backward),
    SimplifiedGRUCell: _Loops(_simplified_forward, _simplified_backward),
    GRUCell: _Loops(_gru_forward, _gru_backward),
}


def _each_gate(gates: Tensor, number: int) -> list[tuple[Tensor, ...]]:
    """For each gate, its part in every step, ``(B, H)`` each."""
    return [gate.unbind(0) for gate in gates.chunk(number, dim=-1)]


def _resets(keep: Tensor | None, num_steps: int) -> list[Tensor | None]:
    """For each step ``keep`` of the rows ``(B, 1)``, or None where no row is reset, as in nearly every step."""
    if keep is None:
        return [None] * num_steps
    keeps_all = keep.all(1).tolist()
    return [None if keeps else kept for keeps, kept in zip(keeps_all, keep.unsqueeze(-1).unbind(0), strict=True)]


def _torch_lstm(cell: LSTMCell, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The LSTM by the function behind ``torch.nn.LSTM``, whose gates are i, f, g, o."""

    def reorder(parameter: Tensor) -> Tensor:
        i, f, o, g = parameter.chunk(4)
        return torch.cat([i, f, g, o])

    bias = reorder(cell.bias)
    weights = [reorder(cell.weight_x), reorder(cell.weight_h), bias, torch.zeros_like(bias)]
    start = [row.unsqueeze(0).contiguous() for row in state]
    hidden, end_hidden, end_cell = torch.lstm(
        x.transpose(0, 1).contiguous(), start, weights, True, 1, 0.0, torch.is_grad_enabled(), False, False
    )
    return hidden.transpose(0, 1), torch.cat([end_hidden, end_cell])


def _torch_gru(cell: GRUResetAfterCell, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The GRU by the function behind ``torch.nn.GRU``, with gates r, z, c: z = 1 - u, so u's weights are negated."""

    def reorder(parameter: Tensor) -> Tensor:
        u, r, c = parameter.chunk(3)
        return torch.cat([r, -u, c])

    bias_hidden = torch.cat([cell.bias_hidden.new_zeros(2 * cell.hidden_size), cell.bias_hidden])
    weights = [reorder(cell.weight_x), reorder(cell.weight_h), reorder(cell.bias), bias_hidden]
    hidden, end = torch.gru(
        x.transpose(0, 1).contiguous(), state.contiguous(), weights, True, 1, 0.0, torch.is_grad_enabled(), False, False
    )
    return hidden.transpose(0, 1), end
