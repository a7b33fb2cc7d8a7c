"""Tokens per second of each cell's layer, forward and backward, beside torch's own layers and bare matrix products.

A round runs every candidate once, in turn, so that what slows the machine for a while slows all of them; the medians
over the rounds are shown, and the ratios between them are what to quote. ``gru, torch`` is the default cell without the
compiled kernel, ``gru, bfloat16`` as it trains on processors that multiply bfloat16 faster; on others there is no such
row. ``bare products`` are the default cell's matrix products by ``torch.mm`` and nothing else, in float32. GFLOP/s
count the products of each candidate; those of the peaks are of one large square product.

    python benchmarks/sequence_speed.py [--rounds 20] [--json]
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import parse_arguments

from gru_complete.nn import bfloat16, kernel
from gru_complete.nn.cells import CELL_CLASSES
from gru_complete.nn.sequence import run_sequence

PEAK_SIZE = 2048
PEAKS = {"sgemm peak": torch.float32, "bfloat16 peak": torch.bfloat16}


class Shape(NamedTuple):
    """T time steps, B rows, I input_size, H hidden_size."""

    T: int
    B: int
    I: int  # noqa: E741  (the letters of nn/sequence.py)
    H: int


class Candidate(NamedTuple):
    """Something to measure: ``run`` once, and the floating-point operations of the products in it."""

    run: Callable[[], object]
    operations: float


SHAPES = [Shape(64, 16, 256, 384), Shape(64, 32, 256, 512)]


def shape(text: str) -> Shape:
    """A shape from the command line, e.g. "64,16,256,384"."""
    return Shape(*map(int, text.split(",")))


def layer_operations(shape: Shape, num_gates: int) -> float:
    """Two for each weight and token in the forward pass, and twice that in the backward pass."""
    return 6.0 * num_gates * shape.H * (shape.I + shape.H) * shape.T * shape.B


def our_layer(name: str, shape: Shape, dtype: torch.dtype = torch.float32) -> Candidate:
    cell = CELL_CLASSES[name](shape.I, shape.H)
    x = torch.randn(shape.T, shape.B, shape.I, requires_grad=True).transpose(0, 1)
    state = torch.zeros(cell.state_rows, shape.B, shape.H)
    grad = torch.randn(shape.T, shape.B, shape.H).transpose(0, 1)
    return Candidate(
        lambda: torch.autograd.grad(run_sequence(cell, x, state, dtype=dtype)[0], [x, *cell.parameters()], grad),
        layer_operations(shape, cell.num_gates),
    )


def our_layer_in_torch(name: str, shape: Shape) -> Candidate:
    """The same without the compiled kernel."""
    inside, operations = our_layer(name, shape)

    def run() -> None:
        with kernel.paused():
            inside()

    return Candidate(run, operations)


def torch_layer(kind: type[torch.nn.GRU] | type[torch.nn.LSTM], num_gates: int, shape: Shape) -> Candidate:
    layer = kind(shape.I, shape.H)
    x = torch.randn(shape.T, shape.B, shape.I, requires_grad=True)
    grad = torch.randn(shape.T, shape.B, shape.H)
    return Candidate(
        lambda: torch.autograd.grad(layer(x)[0], [x, *layer.parameters()], grad), layer_operations(shape, num_gates)
    )


def bare_products(shape: Shape) -> Candidate:
    """The products that the default cell cannot do without."""
    tokens, size = shape.T * shape.B, shape.H
    x, hidden, grad = torch.randn(tokens, shape.I), torch.randn(tokens, size), torch.randn(tokens, 3 * size)
    weight_x, weight_gates, weight_candidate = (
        torch.randn(*sizes) for sizes in [(shape.I, 3 * size), (size, 2 * size), (size, size)]
    )
    state, grad_gates = torch.randn(shape.B, size), torch.randn(shape.B, 2 * size)

    def run() -> None:
        torch.mm(x, weight_x)
        for _ in range(shape.T):
            torch.mm(state, weight_gates)
            torch.mm(state, weight_candidate)
        for _ in range(shape.T):
            torch.mm(grad_gates, weight_gates.t())
            torch.mm(state, weight_candidate.t())
        torch.mm(grad.t(), x)
        torch.mm(grad[:, : 2 * size].t(), hidden)
        torch.mm(grad[:, 2 * size :].t(), hidden)
        torch.mm(grad, weight_x.t())

    return Candidate(run, layer_operations(shape, 3))


def peak(dtype: torch.dtype) -> Candidate:
    left, right = torch.randn(2, PEAK_SIZE, PEAK_SIZE).to(dtype)
    return Candidate(lambda: torch.mm(left, right), 2.0 * PEAK_SIZE**3)


def candidates(shape: Shape) -> dict[str, Candidate]:
    found = {name: our_layer(name, shape) for name in CELL_CLASSES}
    has_bfloat16 = bfloat16.is_available(torch.device("cpu")) and bfloat16.fits(shape.B, shape.H)
    if has_bfloat16:
        found["gru, bfloat16"] = our_layer("gru", shape, torch.bfloat16)
    found["gru, torch"] = our_layer_in_torch("gru", shape)
    found["nn.GRU"] = torch_layer(torch.nn.GRU, 3, shape)
    found["nn.LSTM"] = torch_layer(torch.nn.LSTM, 4, shape)
    found["bare products"] = bare_products(shape)
    peaks = {name: peak(dtype) for name, dtype in PEAKS.items() if has_bfloat16 or dtype == torch.float32}
    return {**found, **peaks}


def median_seconds(runs: dict[str, Candidate], rounds: int) -> dict[str, float]:
    """Median over the rounds, the first of which warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(rounds + 1):
        for name, candidate in runs.items():
            start = time.perf_counter()
            candidate.run()
            if round_number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure(shape: Shape, rounds: int) -> dict[str, dict[str, float | None]]:
    """For each candidate tokens per second (none for the peaks) and GFLOP/s."""
    runs = candidates(shape)
    return {
        name: {
            "tokens_per_second": None if name in PEAKS else round(shape.T * shape.B / seconds),
            "gflops": round(runs[name].operations / seconds / 1e9, 1),
        }
        for name, seconds in median_seconds(runs, rounds).items()
    }


def machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    models = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    )
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "loops": kernel.description(),
    }


def as_markdown(report: dict[str, Any]) -> str:
    lines = ["; ".join(f"{key} {value}" for key, value in report["machine"].items())]
    for layer in report["layers"]:
        results = layer["results"]
        bare = results["bare products"]["tokens_per_second"]
        lines += [
            "",
            f"{Shape(**layer['shape'])}",
            "",
            "| | tokens/s | GFLOP/s | of bare products |",
            "|---|---|---|---|",
        ]
        for name, result in results.items():
            speed = result["tokens_per_second"]
            shown = ("", "") if speed is None else (f"{speed:,}", f"{speed / bare:.0%}")
            lines.append(f"| {name} | {shown[0]} | {result['gflops']:.0f} | {shown[1]} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--shapes", type=shape, nargs="+", default=SHAPES, metavar="T,B,I,H", help="sizes of the layers"
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of Markdown tables")
    options = parse_arguments(parser, smoke="--rounds 1 --shapes 4,2,16,16")
    kernel.enable()
    layers = [{"shape": sizes._asdict(), "results": measure(sizes, options.rounds)} for sizes in options.shapes]
    report = {"machine": machine(), "rounds": options.rounds, "layers": layers}
    print(json.dumps(report, indent=1) if options.json else as_markdown(report))


if __name__ == "__main__":
    main()
