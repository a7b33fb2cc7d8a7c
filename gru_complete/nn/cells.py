"""The recurrent cells, one class each, as equations: the only place where they are explained.

A cell reads one input x at a time and carries a state h along. The default, the gated recurrent unit (Cho et al. 2014,
arXiv:1406.1078v3), computes two gates and a candidate at each step::

    u, r = sigma(W_ur [h, x] + b_ur)    gates, between 0 and 1: how much to update, how much of h to use
    c    = tanh(W_c [r*h, x] + b_c)     candidate for the new state
    h'   = u*c + (1 - u)*h              where u is near 0 the state is kept, where u is near 1 it is replaced

``[h, x]`` is concatenation, so ``W [h, x]`` is ``weight_h @ h + weight_x @ x``; ``*`` is elementwise. Half of the
literature writes ``h' = z*h + (1 - z)*c``: the same cell with z = 1 - u, that is, with the update gate's weights
negated.

All cells share one layout: ``weight_x`` ``(G*H, I)``, ``weight_h`` ``(G*H, H)`` and ``bias`` ``(G*H,)``, where gate
number k owns the rows from ``k*H`` to ``(k+1)*H`` and the candidate counts as a gate. The order of the gates is given
in each class and is part of the model file.

``RecurrentCell.step`` of each class is the equation. Five other implementations do the same faster or elsewhere, and
tests compare them with these: ``sequence`` (a whole sequence in torch), ``kernel.c`` and ``bfloat16.c`` (in C),
``runtime/stepper`` (numpy, for completions) and ``inspection/trace`` (which shows the gates).

Shapes: B rows, I inputs of a cell, H hidden_size, G gates of a cell, S state_rows (2 for the LSTM, else 1).
"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RecurrentCell(nn.Module):
    """What the cells have in common: the layout of the parameters, their initial values, and a step in two parts.

    Only the second part of a step has to wait for the previous state: ``input_products`` depends on x alone, so a
    sequence computes all of them in one matrix product, and ``step`` does the rest.

    Args:
        input_size: I.
        hidden_size: H.
    """

    num_gates: ClassVar[int]
    state_rows: ClassVar[int] = 1
    update_gate: ClassVar[int | None] = None
    """The number of the gate that says how much of the state is replaced; None in cells without gates."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        rows = self.num_gates * hidden_size
        self.weight_x = nn.Parameter(torch.empty(rows, input_size))
        self.weight_h = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias = nn.Parameter(torch.empty(rows))
        self.reset_parameters()

    def with_recurrent_weights(self, weight_h: Tensor) -> RecurrentCell:
        """A copy of the cell with other recurrent weights ``(G*H, H)``, through which gradients flow."""
        twin = copy.copy(self)
        twin._parameters = {name: value for name, value in self._parameters.items() if name != "weight_h"}
        twin.weight_h = weight_h  # type: ignore[assignment]
        return twin

    @torch.no_grad()
    def reset_parameters(
        self,
        update_bias: float = -1.0,
        chrono_length: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw fresh weights: a function of the generator's seed alone.

        Each gate is treated as a matrix of its own: input weights by Glorot and Bengio 2010 (uniform), recurrent
        weights orthogonal (Saxe et al. 2014, arXiv:1312.6120), biases zero except the update gate's.

        Args:
            update_bias: bias of the update gate; negative, so that a fresh cell keeps most of its state.
            chrono_length: if given, the update gate's biases are ``-log Uniform(1, chrono_length - 1)`` instead, so
                that the units keep their state over up to that many steps (Tallec and Ollivier 2018, arXiv:1804.11188).
            generator: source of randomness; torch's global one if omitted.

        Raises:
            ValueError: ``chrono_length`` is below 3.
        """
        for gate in self._gates_of(self.weight_x):
            nn.init.xavier_uniform_(gate, generator=generator)
        for gate in self._gates_of(self.weight_h):
            nn.init.orthogonal_(gate, generator=generator)
        for bias in (parameter for parameter in self.parameters() if parameter.ndim == 1):
            bias.zero_()
        if chrono_length is not None and chrono_length < 3:
            message = f"chrono_length={chrono_length} is below 3"
            raise ValueError(message)
        if self.update_gate is None:
            return
        update = self._gates_of(self.bias)[self.update_gate]
        if chrono_length is None:
            update.fill_(update_bias)
        else:
            update.uniform_(1.0, chrono_length - 1.0, generator=generator).log_().neg_()

    def _gates_of(self, parameter: Tensor) -> tuple[Tensor, ...]:
        """The parameter's rows, one view for each gate."""
        return parameter.view(self.num_gates, self.hidden_size, *parameter.shape[1:]).unbind(0)

    def input_products(self, x: Tensor) -> Tensor:
        """What the input adds to every gate before the nonlinearity, ``W_x x + b``: ``(..., I)`` to ``(..., G*H)``."""
        return F.linear(x, self.weight_x, self.bias)

    def step(self, products: Tensor, state: Tensor) -> Tensor:
        """Finish one step: ``products`` ``(B, G*H)`` from ``input_products``, ``state`` and result ``(S, B, H)``."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Read one input.

        Args:
            x: input of this step, ``(B, I)``.
            state: where the previous step ended, ``(S, B, H)``.

        Returns:
            The state after this step, ``(S, B, H)``; row 0 is the cell's output.
        """
        return self.step(self.input_products(x), state)


class SimpleRNNCell(RecurrentCell):
    """h' = tanh(W [h, x] + b) (Elman 1990)."""

    num_gates = 1

    def step(self, products: Tensor, state: Tensor) -> Tensor:
        """See the class for the equation."""
        return torch.tanh(products + F.linear(state[0], self.weight_h)).unsqueeze(0)


class ReLURNNCell(RecurrentCell):
    """h' = relu(W [h, x] + b), initialised to keep its state (Le et al. 2015, arXiv:1504.00941)."""

    num_gates = 1

    @torch.no_grad()
    def reset_parameters(
        self,
        update_bias: float = -1.0,
        chrono_length: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """As in the other cells, except for the recurrent weights: the identity.

        So gradients neither vanish nor explode at first. With relu, a random orthogonal matrix would halve the squared
        state at each step.
        """
        super().reset_parameters(update_bias, chrono_length, generator)
        nn.init.eye_(self.weight_h)

    def step(self, products: Tensor, state: Tensor) -> Tensor:
        """See the class for the equation."""
        return torch.relu(products + F.linear(state[0], self.weight_h)).unsqueeze(0)


class SimplifiedGRUCell(RecurrentCell):
    """The GRU without its reset gate; gates u, c.

    u = sigma(W_u [h, x] + b_u);  c = tanh(W_c [h, x] + b_c);  h' = u*c + (1 - u)*h.
    """

    num_gates = 2
    update_gate = 0

    def step(self, products: Tensor, state: Tensor) -> Tensor:
        """See the class for the equations."""
        hidden = state[0]
        update, candidate = (products + F.linear(hidden, self.weight_h)).chunk(2, dim=-1)
        return torch.lerp(hidden, torch.tanh(candidate), torch.sigmoid(update)).unsqueeze(0)


class GRUCell(RecurrentCell):
    """The gated recurrent unit, reset before the hidden-to-hidden product: the default, explained above.

    Gates u, r, c:
    u, r = sigma(W_ur [h, x] + b_ur);  c = tanh(W_c [r*h, x] + b_c);  h' = u*c + (1 - u)*h.
    """

    num_gates = 3
    update_gate = 0

    def step(self, products: Tensor, state: Tensor) -> Tensor:
        """See the class for the equations."""
        hidden = state[0]
        size = self.hidden_size
        gates = torch.sigmoid(products[:, : 2 * size] + F.linear(hidden, self.weight_h[: 2 * size]))
        update, reset = gates.chunk(2, dim=-1)
        candidate = torch.tanh(products[:, 2 * size :] + F.linear(reset * hidden, self.weight_h[2 * size :]))
        return torch.lerp(hidden, candidate, update).unsqueeze(0)


class GRUResetAfterCell(RecurrentCell):
    """The GRU as ``torch.nn.GRU`` and cuDNN compute it: reset after the product (arXiv:1406.1078v1).

    Gates u, r, c; ``bias_hidden`` is b_ch:
    u, r = sigma(W_ur [h, x] + b_ur);  c = tanh(W_cx x + b_cx + r*(W_ch h + b_ch));  h' = u*c + (1 - u)*h.
    """

    num_gates = 3
    update_gate = 0

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.bias_hidden = nn.Parameter(torch.zeros(hidden_size))

    def step(self, products: Tensor, state: Tensor) -> Tensor:
        """See the class for the equations."""
        hidden = state[0]
        size = self.hidden_size
        recurrent = F.linear(hidden, self.weight_h)
        update, reset = torch.sigmoid(products[:, : 2 * size] + recurrent[:, : 2 * size]).chunk(2, dim=-1)
        candidate = torch.tanh(products[:, 2 * size :] + reset * (recurrent[:, 2 * size :] + self.bias_hidden))
        return torch.lerp(hidden, candidate, update).unsqueeze(0)


class LSTMCell(RecurrentCell):
    """Long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    Gates i, f, o, g; the state's row 0 is h, its row 1 the cell:
    i, f, o = sigma(W_ifo [h, x] + b_ifo);  g = tanh(W_g [h, x] + b_g);  cell' = f*cell + i*g;  h' = o*tanh(cell').
    """

    num_gates = 4
    state_rows = 2
    update_gate = 0

    @torch.no_grad()
    def reset_parameters(
        self,
        update_bias: float = -1.0,
        chrono_length: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """As in the other cells, with the input gate as update gate and the forget gate's bias its negative.

        So a fresh cell forgets little (Jozefowicz et al. 2015), and i + f = 1, which makes cell' = f*cell + i*g the
        GRU's interpolation at the start (as in Tallec and Ollivier 2018).
        """
        super().reset_parameters(update_bias, chrono_length, generator)
        input_gate, forget_gate, _, _ = self._gates_of(self.bias)
        forget_gate.copy_(-input_gate)

    def step(self, products: Tensor, state: Tensor) -> Tensor:
        """See the class for the equations."""
        hidden, cell = state.unbind(0)
        preactivations = products + F.linear(hidden, self.weight_h)
        size = self.hidden_size
        input_gate, forget_gate, output_gate = torch.sigmoid(preactivations[:, : 3 * size]).chunk(3, dim=-1)
        cell = forget_gate * cell + input_gate * torch.tanh(preactivations[:, 3 * size :])
        return torch.stack([output_gate * torch.tanh(cell), cell])


CELL_CLASSES: dict[str, type[RecurrentCell]] = {
    "rnn": SimpleRNNCell,
    "rnn-relu": ReLURNNCell,
    "gru-simple": SimplifiedGRUCell,
    "gru": GRUCell,
    "gru-reset-after": GRUResetAfterCell,
    "lstm": LSTMCell,
}
