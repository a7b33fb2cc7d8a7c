"""Recurrent cells over a whole sequence: the time loops.

Shapes: T time steps, B rows, I input_size, H hidden_size, S state_rows, G num_gates.

``run_by_steps`` is the plain loop, right for every cell. The default cell has a faster way, ``_GRUSequence``: one
autograd node for the whole sequence instead of a dozen for each step. All that does not wait for the previous step is
done for all steps in one matrix product (input products, weight gradients, input gradient); what is left inside the
loop writes into memory reserved beforehand.

Inside, everything is time-major ``(T, B, ...)`` and contiguous, so that a step is one block of memory. An argument
``(B, T, ...)`` that is a transposed view of such memory is read without a copy, and the results are such views.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gru_complete.nn.cells import GRUCell, RecurrentCell


def run_sequence(cell: RecurrentCell, x: Tensor, state: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Let a cell read a sequence.

    Args:
        cell: any of the cells.
        x: inputs, ``(B, T, I)`` with T at least 1.
        state: where the previous chunk ended, ``(S, B, H)``.
        keep: 1 or 0 for each position, ``(B, T)``; where it is 0 the row's state is zeroed before that step (a
            document starts there). None: no such position.

    Returns:
        The cell's outputs ``(B, T, H)`` and the state after the last step ``(S, B, H)``.
    """
    if not isinstance(cell, GRUCell):
        return run_by_steps(cell, x, state, keep)
    hidden: Tensor = _GRUSequence.apply(  # type: ignore[no-untyped-call]
        x.transpose(0, 1).contiguous(),
        state[0].contiguous(),
        None if keep is None else keep.t().unsqueeze(-1).to(x.dtype),
        cell.weight_x,
        cell.weight_h,
        cell.bias,
    )
    return hidden.transpose(0, 1), hidden[-1:]


def run_by_steps(cell: RecurrentCell, x: Tensor, state: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The same as ``run_sequence``, one step after the other through autograd: slow, and right for every cell."""
    products = cell.input_products(x.transpose(0, 1))
    outputs = []
    for step, products_t in enumerate(products.unbind(0)):
        if keep is not None:
            state = state * keep[:, step].unsqueeze(-1).to(state.dtype)
        state = cell.step(products_t, state)
        outputs.append(state[0])
    return torch.stack(outputs).transpose(0, 1), state


class _GRUSequence(torch.autograd.Function):
    """The default cell over a whole sequence as one node of the graph.

    The arithmetic is in ``_gru_forward`` and ``_gru_backward``, which know nothing of autograd, so that a fused kernel
    may take their place.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, start: Tensor, keep: Tensor | None, weight_x: Tensor, weight_h: Tensor, bias: Tensor
    ) -> Tensor:
        states, gates, candidates, reset_states = _gru_forward(x, start, keep, weight_x, weight_h, bias)
        ctx.save_for_backward(x, keep, weight_x, weight_h, states, gates, candidates, reset_states)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor) -> tuple[Tensor | None, ...]:
        x, keep, weight_x, weight_h, states, gates, candidates, reset_states = ctx.saved_tensors
        previous = states[:-1] if keep is None else states[:-1] * keep
        d_gates, d_candidates, d_start = _gru_backward(
            grad_hidden.contiguous(), previous, keep, weight_h, gates, candidates
        )
        needs_x, needs_start, _, needs_weight_x, needs_weight_h, needs_bias = ctx.needs_input_grad
        return (
            _input_gradient(d_gates, d_candidates, weight_x) if needs_x else None,
            d_start if needs_start else None,
            None,
            _weight_gradient(d_gates, x, d_candidates, x) if needs_weight_x else None,
            _weight_gradient(d_gates, previous, d_candidates, reset_states) if needs_weight_h else None,
            torch.cat([d_gates.sum((0, 1)), d_candidates.sum((0, 1))]) if needs_bias else None,
        )


def _gru_forward(
    x: Tensor, start: Tensor, keep: Tensor | None, weight_x: Tensor, weight_h: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the cell's equations forward.

    Args:
        x: inputs, ``(T, B, I)``.
        start: state before the first step, ``(B, H)``.
        keep: ``(T, B, 1)`` or None.
        weight_x: ``(3H, I)``, gates u, r, c.
        weight_h: ``(3H, H)``.
        bias: ``(3H,)``.

    Returns:
        States h ``(T + 1, B, H)`` with the start first, gates u and r ``(T, B, 2H)``, candidates c ``(T, B, H)``, and
        what the candidates' product has seen, r*h, ``(T, B, H)``.
    """
    num_steps, num_rows, _ = x.shape
    size = weight_h.shape[1]
    flat = x.view(num_steps * num_rows, -1)
    gates = torch.addmm(bias[: 2 * size], flat, weight_x[: 2 * size].t()).view(num_steps, num_rows, 2 * size)
    candidates = torch.addmm(bias[2 * size :], flat, weight_x[2 * size :].t()).view(num_steps, num_rows, size)
    states = x.new_empty(num_steps + 1, num_rows, size)
    states[0] = start
    reset_states = x.new_empty(num_steps, num_rows, size)
    # A product of few rows is up to twice as quick when its right side lies in the order it is read.
    gates_weight = weight_h[: 2 * size].t().contiguous()
    candidate_weight = weight_h[2 * size :].t().contiguous()

    # Views of all steps at once: slicing inside the loop would cost as much as the arithmetic.
    steps = zip(
        states[:-1].unbind(0),
        states[1:].unbind(0),
        gates.unbind(0),
        gates[..., :size].unbind(0),
        gates[..., size:].unbind(0),
        candidates.unbind(0),
        reset_states.unbind(0),
        _interruptions(keep, num_steps),
        strict=True,
    )
    for previous, following, gate, update, reset, candidate, reset_state, kept in steps:
        if kept is not None:
            previous = previous * kept
        gate.addmm_(previous, gates_weight).sigmoid_()
        torch.mul(reset, previous, out=reset_state)
        candidate.addmm_(reset_state, candidate_weight).tanh_()
        torch.lerp(previous, candidate, update, out=following)
    return states, gates, candidates, reset_states


def _gru_backward(
    grad_hidden: Tensor, previous: Tensor, keep: Tensor | None, weight_h: Tensor, gates: Tensor, candidates: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Run back through time.

    Args:
        grad_hidden: gradient of every step's output, ``(T, B, H)``.
        previous: the state that each step started from, ``(T, B, H)``, after ``keep``.
        keep: ``(T, B, 1)`` or None.
        weight_h: ``(3H, H)``.
        gates: u and r, ``(T, B, 2H)``.
        candidates: c, ``(T, B, H)``.

    Returns:
        Gradients before the nonlinearities, for the gates ``(T, B, 2H)`` and the candidates ``(T, B, H)``, and the
        gradient of the start state ``(B, H)``.
    """
    num_steps, num_rows, size = previous.shape
    update, reset = gates[..., :size], gates[..., size:]
    # With d the gradient of h' = u*c + (1-u)*h, each gradient below is d (or that of r*h) times a factor known now.
    update_slope = torch.ops.aten.sigmoid_backward(candidates - previous, update)
    candidate_slope = torch.ops.aten.tanh_backward(update, candidates)
    reset_slope = torch.ops.aten.sigmoid_backward(previous, reset)
    carry_share = 1 - update

    d_gates = torch.empty_like(gates)
    d_candidates = torch.empty_like(candidates)
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
        d_gates.unbind(0),
        d_gates[..., :size].unbind(0),
        d_gates[..., size:].unbind(0),
        d_candidates.unbind(0),
        _interruptions(keep, num_steps),
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
    return d_gates, d_candidates, d_state


def _interruptions(keep: Tensor | None, num_steps: int) -> list[Tensor | None]:
    """For each step the rows' ``keep`` ``(B, 1)``, or None where all rows go on: nearly everywhere."""
    if keep is None:
        return [None] * num_steps
    all_go_on = keep.flatten(1).all(1).tolist()
    return [None if going_on else kept for going_on, kept in zip(all_go_on, keep.unbind(0), strict=True)]


def _input_gradient(d_gates: Tensor, d_candidates: Tensor, weight_x: Tensor) -> Tensor:
    """Gradient of the inputs, ``(T, B, I)``."""
    num_steps, num_rows, size = d_candidates.shape
    grad = d_gates.view(-1, 2 * size) @ weight_x[: 2 * size]
    return grad.addmm_(d_candidates.view(-1, size), weight_x[2 * size :]).view(num_steps, num_rows, -1)


def _weight_gradient(d_gates: Tensor, gates_seen: Tensor, d_candidates: Tensor, candidates_seen: Tensor) -> Tensor:
    """Gradient of a weight ``(3H, K)``, given what its products have seen, ``(T, B, K)`` each."""
    size = d_candidates.shape[-1]
    seen_size = gates_seen.shape[-1]
    grad = d_gates.new_empty(3 * size, seen_size)
    torch.mm(d_gates.view(-1, 2 * size).t(), gates_seen.reshape(-1, seen_size), out=grad[: 2 * size])
    torch.mm(d_candidates.view(-1, size).t(), candidates_seen.reshape(-1, seen_size), out=grad[2 * size :])
    return grad
