"""Tokens per second of each cell's layer, forward and backward, beside torch's own GRU and LSTM and bare products.

All alternate in one run; the ratios are what to quote.

    python benchmarks/training_speed.py [--rounds 10]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from gru_complete.nn.cells import CELL_CLASSES
from gru_complete.nn.sequence import run_sequence

SHAPES = [(64, 16, 256, 384), (64, 32, 256, 512)]  # T, B, I, H


def layer_step(name: str, x: torch.Tensor, hidden_size: int) -> Callable[[], None]:
    """One forward and backward pass of our layer; x is (B, T, I)."""
    cell = CELL_CLASSES[name](x.shape[2], hidden_size)
    state = torch.zeros(cell.state_rows, x.shape[0], hidden_size)

    def step() -> None:
        hidden, _ = run_sequence(cell, x, state)
        hidden.sum().backward()

    return step


def torch_step(kind: type[torch.nn.RNNBase], x: torch.Tensor, hidden_size: int) -> Callable[[], None]:
    layer = kind(x.shape[2], hidden_size, batch_first=True)

    def step() -> None:
        layer(x)[0].sum().backward()

    return step


def products_step(x: torch.Tensor, hidden_size: int) -> Callable[[], None]:
    """The matrix products that a gated layer cannot do without, and nothing else."""
    rows, length, inputs = x.shape
    flat, weight_x = torch.randn(length * rows, inputs), torch.randn(inputs, 3 * hidden_size)
    state, grad = torch.randn(rows, hidden_size), torch.randn(length * rows, 3 * hidden_size)
    weight_gates, weight_candidate = torch.randn(hidden_size, 2 * hidden_size), torch.randn(hidden_size, hidden_size)
    grad_gates, hidden = torch.randn(rows, 2 * hidden_size), torch.randn(length * rows, hidden_size)

    def step() -> None:
        torch.mm(flat, weight_x)
        for _ in range(length):
            torch.mm(state, weight_gates)
            torch.mm(state, weight_candidate)
            torch.mm(grad_gates, weight_gates.t())
            torch.mm(state, weight_candidate.t())
        torch.mm(grad.t(), flat)
        torch.mm(grad.t(), hidden)
        torch.mm(grad, weight_x.t())

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    results = []
    for length, rows, inputs, hidden_size in SHAPES:
        x = torch.randn(rows, length, inputs, requires_grad=True)
        steps = {name: layer_step(name, x, hidden_size) for name in CELL_CLASSES}
        steps |= {
            "nn.GRU": torch_step(torch.nn.GRU, x, hidden_size),
            "nn.LSTM": torch_step(torch.nn.LSTM, x, hidden_size),
        }
        steps["bare products"] = products_step(x, hidden_size)
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for round_number in range(rounds + 1):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                if round_number:
                    seconds[name].append(time.perf_counter() - start)
        speeds = {name: rows * length / statistics.median(values) for name, values in seconds.items()}
        shape = {"T": length, "B": rows, "I": inputs, "H": hidden_size}
        results.append({**shape, "tokens_per_second": {name: round(speed) for name, speed in speeds.items()}})
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "layers": results}, indent=1))


if __name__ == "__main__":
    main()
